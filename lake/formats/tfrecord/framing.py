"""TFRecord framing: cut records out of a stream with both checksums verified, and frame records for a file.

A record that is too large is skipped: if the checksum of its length holds, the next record's position is known.

Format (tensorflow/core/lib/io/record_writer.h): uint64 length, uint32 masked CRC-32C of these 8 bytes, the data, uint32
masked CRC-32C of the data. All numbers are little-endian, and nothing stands before, between or after records.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import inf
from struct import pack
from typing import TypeAlias

import google_crc32c
import numpy as np

from lake.core.errors import ShardError
from lake.core.records import ByteRange, Fault, Reason, Shard, Stage
from lake.formats.common.byte_stream import Window
from lake.formats.common.runs import RecordRun
from lake.formats.tfrecord.lengths import FOOTER, FRAME, HEADER, MASK, begins, masked, record_length
from lake.formats.tfrecord.lost_length import lost_length
from lake.formats.tfrecord.weight import too_heavy

_PARSED = 64 << 20  # bytes that a record's values may take in any case, once they are parsed
_OF_NOTHING = pack("<I", MASK)  # the masked checksum of no data


_Taken: TypeAlias = tuple[RecordRun, ShardError | None]  # and what prevents reading on


class Frames:
    """The records of one shard, in order.

    Args:
      shard: plain, gzip or zlib.
      limit: a record with more bytes is a fault, and so is one whose values take more when they are parsed.
      salvage: a record whose data does not match its checksum is a fault too, instead of damage to the shard, and so is
        one whose length does not, if everything else is right by one other length.
      byte_range: the bytes of the records to read; None for all.
    """

    def __init__(self, shard: Shard, limit: int, *, salvage: bool = False, byte_range: ByteRange | None = None) -> None:
        self._window, self._limit, self._salvage = Window(shard, is_plain=begins, byte_range=byte_range), limit, salvage
        self._parsed = max(limit, _PARSED)
        self._damage: ShardError | None = None

    def take(self, count: int, room: float = inf) -> _Taken:
        """The next records, and the damage that follows them, if any.

        There are fewer at the end, and before damage, which comes with all intact records before it.

        Args:
          count: the most records.
          room: stop with the record by which this many bytes of the shard are read.
        """
        start = self._window.offset
        records: list[bytes] = []
        sums: list[bytes] = []
        large, unframed = dict[int, int](), dict[int, int]()
        try:
            while len(records) < count and (left := start + room - self._window.offset) > 0:
                length = self._next()
                if length is None:
                    break
                if length < 0:
                    unframed[len(records)] = self._window.offset
                    self._take_unframed(~length, records, sums)
                elif length > self._limit:
                    self._pass_over(length, records, sums)
                    large[len(records) - 1] = length
                else:
                    self._cut(records, sums, count, left)
        except ShardError as damage:
            self._damage = damage
        return self._judge(start, records, sums, large, unframed)

    def close(self) -> None:
        """Close the shard."""
        self._window.close()

    def _judge(
        self, start: int, records: list[bytes], sums: list[bytes], large: dict[int, int], unframed: dict[int, int]
    ) -> _Taken:
        faults = {at: self._too_large(size) for at, size in large.items()}
        # Checksums are compared for all records at once, which is faster than one by one in the loop that cuts them.
        wrong = _wrong(records, sums)
        if len(wrong) and not self._salvage:
            offset = _offset(start, records, large, wrong[0])
            self._damage = self._window.damage("the checksum of a record's data does not match", offset)
            return RecordRun(records[: wrong[0]], {at: f for at, f in faults.items() if at < wrong[0]}), self._damage
        faults |= {at: _corrupt(records[at], _offset(start, records, large, at), "data") for at in wrong}
        faults |= {at: _corrupt(records[at], offset, "length") for at, offset in unframed.items()}
        faults |= {at: self._too_heavy(record) for at, record in enumerate(records) if too_heavy(record, self._parsed)}
        for at in faults:
            records[at] = b""
        return RecordRun(records, faults), self._damage

    def _too_heavy(self, record: bytes) -> Fault:
        detail = f"{len(record)} bytes whose values take more than {self._parsed} once they are parsed"
        return Fault(stage=Stage.READ, reason=Reason.RECORD_TOO_LARGE, detail=detail)

    def _too_large(self, size: int) -> Fault:
        detail = f"{size} bytes; the most is {self._limit}"
        return Fault(stage=Stage.READ, reason=Reason.RECORD_TOO_LARGE, detail=detail)

    def _next(self) -> int | None:
        """Length of the next record, which is in the window unless it is too large; None at the shard's proper end.

        If the one that it states is damaged, the bits of the number are inverted.
        """
        window = self._window
        if not window.need(HEADER):
            if len(window.data) > window.pos:
                raise window.damage("truncated within a record's header")
            return None
        length = record_length(window.data[window.pos : window.pos + HEADER])
        if length is None:
            found = lost_length(window, self._limit) if self._salvage else None
            if found is None:
                raise window.damage("the checksum of a record's length does not match")
            return ~found
        if length <= self._limit and not window.need(FRAME + length):
            raise window.damage(f"truncated within a record of {length} bytes")
        return length

    def _pass_over(self, length: int, records: list[bytes], sums: list[bytes]) -> None:
        """Skip a record that is too large without holding its data; an empty record takes its place."""
        start = self._window.offset
        if not self._window.skip(FRAME + length):
            raise self._window.damage(f"truncated within a record of {length} bytes", start)
        records.append(b"")
        sums.append(_OF_NOTHING)

    def _take_unframed(self, length: int, records: list[bytes], sums: list[bytes]) -> None:
        """Take a record whose length stands nowhere; it is in the window."""
        window, start = self._window, self._window.pos + HEADER
        records.append(window.data[start : start + length])
        sums.append(window.data[start + length : start + length + FOOTER])
        window.pos = start + length + FOOTER

    def _cut(self, records: list[bytes], sums: list[bytes], count: int, room: float) -> None:
        """Cut the records that are completely in the window. This is the hot loop, so it checks only what it must."""
        data, pos = self._window.data, self._window.pos
        size, limit, stop = len(data), self._limit, pos + room
        while len(records) < count and pos < stop:
            length = record_length(data[pos : pos + HEADER])
            if length is None or length > limit:
                break
            end = pos + HEADER + length
            if end + FOOTER > size:
                break
            records.append(data[pos + HEADER : end])
            pos = end + FOOTER
            sums.append(data[end:pos])
        self._window.pos = pos


def framed(records: Sequence[bytes]) -> bytes:
    """Records with their framing, as a shard holds them.

    >>> data = framed([b"abc"])
    >>> len(data), record_length(data[:HEADER])
    (19, 3)
    """
    sums = masked(np.array(list(map(google_crc32c.value, records)), np.uint32)).astype("<u4").tobytes()
    parts = [b""] * (3 * len(records))
    parts[0::3] = [_header(len(record)) for record in records]
    parts[1::3] = records
    parts[2::3] = [sums[at : at + FOOTER] for at in range(0, len(sums), FOOTER)]
    return b"".join(parts)


@lru_cache(maxsize=1 << 14)
def _header(length: int) -> bytes:
    """The 12-byte header of a record of this length."""
    stated = pack("<Q", length)
    return stated + pack("<I", int(masked(np.uint32(google_crc32c.value(stated)))))


def _wrong(records: list[bytes], sums: list[bytes]) -> list[int]:
    """Positions of the records whose data does not match its checksum."""
    stored = np.frombuffer(b"".join(sums), "<u4")
    found = masked(np.array(list(map(google_crc32c.value, records)), np.uint32)) != stored
    return np.flatnonzero(found).tolist() if found.any() else []


def _offset(start: int, records: list[bytes], large: dict[int, int], at: int) -> int:
    """The offset in the shard of the record at a position, if the first one is at ``start``."""
    sizes = sum(map(len, records[:at])) + sum(size for position, size in large.items() if position < at)
    return start + at * FRAME + sizes


def _corrupt(record: bytes, offset: int, what: str) -> Fault:
    detail = f"the checksum of the record's {what} does not match at byte {offset}"
    return Fault(stage=Stage.READ, reason=Reason.CORRUPT_RECORD, detail=detail, data=record)
