"""TFRecord framing: records cut out of a stream, both checksums of each one checked; and put into one.

Format (tensorflow/core/lib/io/record_writer.h): uint64 length, uint32 masked crc32c of these 8 bytes, the data, uint32
masked crc32c of the data; all little-endian, nothing before, between or after.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import inf
from struct import pack, unpack

import google_crc32c
import numpy as np

from pipeline.errors import ShardError
from pipeline.readers.stream import Window
from pipeline.records import Shard

HEADER = 12  # length and its checksum
_FOOTER = 4
_MASK = 0xA282EAD8


class Frames:
    """The records of one shard, in order."""

    def __init__(self, shard: Shard, limit: int) -> None:
        self._window, self._limit = Window(shard), limit
        self._damage: ShardError | None = None

    def take(self, count: int, room: float = inf) -> tuple[list[bytes], ShardError | None]:
        """The next ``count`` records, or those by which ``room`` bytes of the shard are reached.

        Fewer at the end, or where damage is: then all intact ones before it, and it.
        """
        start = self._window.offset
        records: list[bytes] = []
        sums: list[bytes] = []
        try:
            while len(records) < count and (left := start + room - self._window.offset) > 0 and self._ready():
                self._cut(records, sums, count, left)
        except ShardError as damage:
            self._damage = damage
        intact = _intact(records, sums)
        if intact < len(records):
            start += sum(HEADER + len(record) + _FOOTER for record in records[:intact])
            self._damage = self._window.damage("the checksum of a record's data does not match", start)
        return records[:intact], self._damage

    def close(self) -> None:
        """Let go of the shard."""
        self._window.close()

    def _ready(self) -> bool:
        """Have one whole record in the window; False at the shard's proper end."""
        window = self._window
        if not window.need(HEADER):
            if len(window.data) > window.pos:
                raise window.damage("truncated within a record's header")
            return False
        length = record_length(window.data[window.pos : window.pos + HEADER])
        if length is None:
            raise window.damage("the checksum of a record's length does not match")
        if length > self._limit:
            raise window.damage(f"a record of {length} bytes, and at most {self._limit} are allowed,")
        if not window.need(HEADER + length + _FOOTER):
            raise window.damage(f"truncated within a record of {length} bytes")
        return True

    def _cut(self, records: list[bytes], sums: list[bytes], count: int, room: float) -> None:
        """Cut what is whole in the window; the hot loop, so it checks no more than it must to go on safely."""
        data, pos = self._window.data, self._window.pos
        size, limit, stop = len(data), self._limit, pos + room
        while len(records) < count and pos < stop:
            length = record_length(data[pos : pos + HEADER])
            if length is None or length > limit:
                break
            end = pos + HEADER + length
            if end + _FOOTER > size:
                break
            records.append(data[pos + HEADER : end])
            pos = end + _FOOTER
            sums.append(data[end:pos])
        self._window.pos = pos


# Most shards hold few different lengths, so the checksum of a header is worked out once for each.
@lru_cache(maxsize=1 << 14)
def record_length(header: bytes) -> int | None:
    """The length that 12 bytes announce; None where they are fewer or their checksum does not match."""
    if len(header) < HEADER:
        return None
    length, crc = unpack("<QI", header)
    return int(length) if _masked(np.uint32(google_crc32c.value(header[:8]))) == crc else None


def framed(records: Sequence[bytes]) -> bytes:
    """Records as a shard has them, with both checksums of each."""
    sums = _masked(np.array(list(map(google_crc32c.value, records)), np.uint32)).astype("<u4").tobytes()
    parts = [b""] * (3 * len(records))
    parts[0::3] = [_header(len(record)) for record in records]
    parts[1::3] = records
    parts[2::3] = [sums[at : at + _FOOTER] for at in range(0, len(sums), _FOOTER)]
    return b"".join(parts)


@lru_cache(maxsize=1 << 14)
def _header(length: int) -> bytes:
    """The 12 bytes that announce a record of this length."""
    stated = pack("<Q", length)
    return stated + pack("<I", int(_masked(np.uint32(google_crc32c.value(stated)))))


def _intact(records: list[bytes], sums: list[bytes]) -> int:
    """How many records come before the first whose data does not match its checksum."""
    stored = np.frombuffer(b"".join(sums), "<u4")
    wrong = _masked(np.array(list(map(google_crc32c.value, records)), np.uint32)) != stored
    return int(wrong.argmax()) if wrong.any() else len(records)


def _masked(crc: np.ndarray | np.uint32) -> np.ndarray:
    # Rotated by 15 bits plus a constant, modulo 2**32: checksums of data that holds checksums stay sound.
    with np.errstate(over="ignore"):
        return np.asarray((crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(_MASK))
