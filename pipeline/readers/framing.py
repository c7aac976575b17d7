"""TFRecord framing: records cut out of a stream, both checksums of each one checked; and put into one.

A length whose checksum holds says where the next record begins, so one record that is too large is passed over.

Format (tensorflow/core/lib/io/record_writer.h): uint64 length, uint32 masked crc32c of these 8 bytes, the data, uint32
masked crc32c of the data; all little-endian, nothing before, between or after.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import inf
from struct import pack, unpack
from typing import NamedTuple

import google_crc32c
import numpy as np

from pipeline.errors import ShardError
from pipeline.readers.stream import Window
from pipeline.records import Fault, Reason, Shard, Stage

HEADER = 12  # length and its checksum
_FOOTER = 4
_MASK = 0xA282EAD8
_OF_NOTHING = pack("<I", _MASK)  # the checksum of a record without data


class Taken(NamedTuple):
    """Records that follow one another, empty where they have a fault; and the damage that keeps more from coming."""

    records: list[bytes]
    faults: dict[int, Fault]
    damage: ShardError | None


class Frames:
    """The records of one shard, in order.

    Args:
      shard: plain or gzip.
      limit: bytes that a record may have; one with more is a fault.
      salvage: one whose data does not match its checksum is a fault too, and not the shard's damage.
    """

    def __init__(self, shard: Shard, limit: int, *, salvage: bool = False) -> None:
        self._window, self._limit, self._salvage = Window(shard), limit, salvage
        self._damage: ShardError | None = None

    def take(self, count: int, room: float = inf) -> Taken:
        """The next ``count`` records, or those by which ``room`` bytes of the shard are reached.

        Fewer at the end, or where damage is: then all intact ones before it, and it.
        """
        start = self._window.offset
        records: list[bytes] = []
        sums: list[bytes] = []
        large: dict[int, int] = {}
        try:
            while len(records) < count and (left := start + room - self._window.offset) > 0:
                length = self._next()
                if length is None:
                    break
                if length > self._limit:
                    self._pass_over(length, records, sums)
                    large[len(records) - 1] = length
                else:
                    self._cut(records, sums, count, left)
        except ShardError as damage:
            self._damage = damage
        return self._judge(start, records, sums, large)

    def close(self) -> None:
        """Let go of the shard."""
        self._window.close()

    def _judge(self, start: int, records: list[bytes], sums: list[bytes], large: dict[int, int]) -> Taken:
        faults = {at: self._too_large(size) for at, size in large.items()}
        wrong = _wrong(records, sums)
        if len(wrong) and not self._salvage:
            offset = _offset(start, records, large, wrong[0])
            self._damage = self._window.damage("the checksum of a record's data does not match", offset)
            return Taken(records[: wrong[0]], {at: f for at, f in faults.items() if at < wrong[0]}, self._damage)
        faults |= {at: _corrupt(records[at], _offset(start, records, large, at)) for at in wrong}
        for at in wrong:
            records[at] = b""
        return Taken(records, faults, self._damage)

    def _too_large(self, size: int) -> Fault:
        detail = f"{size} bytes; the most is {self._limit}"
        return Fault(stage=Stage.READ, reason=Reason.RECORD_TOO_LARGE, detail=detail)

    def _next(self) -> int | None:
        """Length of the next record, whole in the window unless it is too large; None at the shard's proper end."""
        window = self._window
        if not window.need(HEADER):
            if len(window.data) > window.pos:
                raise window.damage("truncated within a record's header")
            return None
        length = record_length(window.data[window.pos : window.pos + HEADER])
        if length is None:
            raise window.damage("the checksum of a record's length does not match")
        if length <= self._limit and not window.need(HEADER + length + _FOOTER):
            raise window.damage(f"truncated within a record of {length} bytes")
        return length

    def _pass_over(self, length: int, records: list[bytes], sums: list[bytes]) -> None:
        """Put an empty record in the place of one that is too large; its data is never held."""
        start = self._window.offset
        if not self._window.skip(HEADER + length + _FOOTER):
            raise self._window.damage(f"truncated within a record of {length} bytes", start)
        records.append(b"")
        sums.append(_OF_NOTHING)

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


def _wrong(records: list[bytes], sums: list[bytes]) -> list[int]:
    """Which records have data that does not match its checksum."""
    stored = np.frombuffer(b"".join(sums), "<u4")
    found = _masked(np.array(list(map(google_crc32c.value, records)), np.uint32)) != stored
    return np.flatnonzero(found).tolist() if found.any() else []


def _offset(start: int, records: list[bytes], large: dict[int, int], at: int) -> int:
    """Where in the shard the record at a position begins, the first one at ``start``."""
    sizes = sum(map(len, records[:at])) + sum(size for position, size in large.items() if position < at)
    return start + at * (HEADER + _FOOTER) + sizes


def _corrupt(record: bytes, offset: int) -> Fault:
    detail = f"the checksum of the record's data does not match at byte {offset}"
    return Fault(stage=Stage.READ, reason=Reason.CORRUPT_RECORD, detail=detail, data=record)


def _masked(crc: np.ndarray | np.uint32) -> np.ndarray:
    # Rotated by 15 bits plus a constant, modulo 2**32: checksums of data that holds checksums stay sound.
    with np.errstate(over="ignore"):
        return np.asarray((crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(_MASK))
