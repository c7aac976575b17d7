"""The length of a record whose own is damaged: the one by which everything else is right.

The next record must begin behind it with a length whose checksum is right, or the shard must end there, and the
checksum of the data in between must be right. A few such places are tried, since what is no record passes for one with
a chance of 2^-32 for each. Where damage took more than a length none fits: how many records it took is then unknown,
and so is the number of the next.
"""

from collections.abc import Iterator
from itertools import islice

import google_crc32c
import numpy as np

from lake.formats.common.byte_stream import BLOCK, Window
from lake.formats.tfrecord.lengths import FOOTER, FRAME, HEADER, begins, masked

_TRIED = 16  # places; more than one only where the data itself holds what looks like records
_UPPER = range(4, 8)  # bytes of a length that are 0 below 4 GiB
_OTHERS = (*range(4), *range(8, HEADER))  # the other ones of a header
_MOST = 64 << 20  # bytes of a record that are looked through: they are held, and each takes its time


def lost_length(window: Window, limit: int) -> int | None:
    """The length of the record at the window's position, whose header is damaged; None if nothing tells it.

    Args:
      window: over the shard; what is searched is held.
      limit: the most that the length can be; at most 64 MiB are looked through.

    Raises:
      ShardError: the (compressed) shard is damaged further on.
      UnreadableError: the store failed.
    """
    crc = seen = 0
    for end in islice(_ends(window, limit), _TRIED):
        start = window.pos + HEADER
        crc, seen = google_crc32c.extend(crc, window.data[start + seen : start + end]), end
        if _is_of(crc, window.data[start + end : start + end + FOOTER]):
            return end
    return None


def _is_of(crc: int, stored: bytes) -> bool:
    """Whether four bytes are the checksum that stands behind data of this CRC-32C."""
    return bytes(masked(np.uint32(crc)).astype("<u4").tobytes()) == stored


def _ends(window: Window, limit: int) -> Iterator[int]:
    """Lengths behind which a record begins or the shard ends, ascending."""
    size, done, limit = BLOCK, 0, min(limit, _MOST)
    while done <= limit:
        more = window.need(size)
        have = len(window.data) - window.pos
        stop = min(have - FRAME - HEADER + 1, limit + 1)
        for piece in range(done, stop, BLOCK):
            at = window.pos + FRAME + piece
            part = window.data[at : at + min(BLOCK, stop - piece) + HEADER - 1]
            yield from (piece + end for end in _candidates(part) if begins(part[end : end + HEADER]))
        done = max(done, stop)
        if not more:
            if FRAME <= have <= limit + FRAME:
                yield have - FRAME
            return
        size = min(4 * size, FRAME + limit + HEADER)


def _candidates(data: bytes) -> Iterator[int]:
    """Places at which the upper half of a length is 0 and not all else, which are few."""
    zero = np.frombuffer(data, np.uint8) == 0
    count = max(0, len(data) - HEADER + 1)
    upper, others = (np.logical_and.reduce([zero[at : at + count] for at in places]) for places in (_UPPER, _OTHERS))
    # No checksum of a length of 0 is 0: a shard with a hole may have millions of such places.
    return iter(np.flatnonzero(upper & ~others).tolist())
