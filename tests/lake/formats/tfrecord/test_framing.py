"""TFRecord framing, plain and gzip: what TensorFlow wrote, and every way in which it can be damaged."""

import gzip
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Fault, Reason, Shard
from lake.formats.common.runs import up_to_damage
from lake.formats.tfrecord.framing import Frames
from tests.lake.formats.support import shard_of, write

LIMIT = 3 << 20


def taken(shard: Shard, count: int) -> Iterator[list[bytes]]:
    """All records of a shard without damage."""
    with closing(Frames(shard, LIMIT)) as frames:
        while records := [*frames.take(count)[0].records]:
            yield records


def intact(shard: Shard) -> tuple[list[bytes], ShardError | None]:
    """The records that come before the damage, taken one by one, and the damage."""
    found: list[bytes] = []
    with closing(Frames(shard, LIMIT)) as frames:
        while True:
            run, damage = frames.take(1)
            if damage or not run.records:
                return found, damage
            found += run.records


RECORDS = [b"first record", b"", b"the third"]
EDGES = [0, 28, 44, 69]  # 16 bytes of framing around each


def test_a_shard_cut_at_any_byte(tmp_path: Path) -> None:
    data = Path(write(tmp_path / "a.tfrecord", RECORDS).uri).read_bytes()
    assert len(data) == EDGES[-1]
    for cut in range(len(data)):
        found, error = intact(shard_of(tmp_path / "b.tfrecord", data[:cut]))
        whole = sum(edge <= cut for edge in EDGES) - 1
        assert found == RECORDS[:whole]
        if cut in EDGES:  # the format has nothing that would tell
            assert error is None
        else:
            assert error is not None
            assert (error.offset, error.shard) == (EDGES[whole], "b.tfrecord")
            assert "truncated" in error.problem


def test_any_flipped_bit_is_found(tmp_path: Path) -> None:
    data = Path(write(tmp_path / "a.tfrecord", RECORDS).uri).read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        found, error = intact(shard_of(tmp_path / "b.tfrecord", bytes(flipped)))
        whole = sum(edge <= bit // 8 for edge in EDGES) - 1
        assert found == RECORDS[:whole]
        assert error is not None
        assert error.offset == EDGES[whole]


def test_a_gzip_shard_cut_or_changed_anywhere_never_loses_a_record_in_silence(tmp_path: Path) -> None:
    data = Path(write(tmp_path / "a.tfrecord", RECORDS, "GZIP").uri).read_bytes()
    for cut in range(1, len(data)):
        found, error = intact(shard_of(tmp_path / "b.tfrecord", data[:cut]))
        assert error is not None
        assert found == RECORDS[: len(found)]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        found, error = intact(shard_of(tmp_path / "b.tfrecord", bytes(flipped)))
        assert error is not None or found == RECORDS


def test_intact_records_of_a_batch_come_before_the_damage(tmp_path: Path) -> None:
    data = Path(write(tmp_path / "a.tfrecord", [b"%d" % i for i in range(10)]).uri).read_bytes()
    run, damage = Frames(shard_of(tmp_path / "b", data[:-5] + b"x" + data[-4:]), LIMIT).take(256)
    assert str(damage) == "b: the checksum of a record's data does not match at byte 153"
    assert run.records == [b"%d" % i for i in range(9)]


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (b"garbage", "data after the gzip stream's end"),
        (b"\0" * 700, None),
        (gzip.compress(b"", mtime=0), None),
        (gzip.compress(b"abc", mtime=0), "truncated within a record's header"),
    ],
)
def test_what_follows_a_gzip_member(tmp_path: Path, tail: bytes, words: str | None) -> None:
    data = Path(write(tmp_path / "a.tfrecord", RECORDS, "GZIP").uri).read_bytes()
    found, error = intact(shard_of(tmp_path / "b.tfrecord", data + tail))
    assert found == RECORDS
    assert (error is None) if words is None else (error is not None and words in error.problem)


def test_gzip_members_are_read_one_after_another(tmp_path: Path) -> None:
    data = Path(write(tmp_path / "a.tfrecord", RECORDS).uri).read_bytes()
    found, error = intact(shard_of(tmp_path / "b.gz", gzip.compress(data[:33]) + gzip.compress(data[33:])))
    assert (found, error) == (RECORDS, None)


def framed(length: int) -> bytes:
    """A header that announces ``length`` bytes, its checksum right, by the definition of crc32c bit for bit."""
    crc = 0xFFFFFFFF
    for byte in struct.pack("<Q", length):
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<QI", length, ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@pytest.mark.parametrize("length", [LIMIT + 1, 1 << 40, (1 << 64) - 1])
def test_a_length_beyond_the_end_is_damage(tmp_path: Path, length: int) -> None:
    data = Path(write(tmp_path / "a.tfrecord", RECORDS).uri).read_bytes() + framed(length) + bytes(100)
    found, error = intact(shard_of(tmp_path / "b.tfrecord", data))
    assert found == RECORDS
    assert str(error) == f"b.tfrecord: truncated within a record of {length} bytes at byte {EDGES[-1]}"


@pytest.mark.parametrize("count", [1, 2, 256])
def test_a_record_over_the_limit_is_a_fault_of_its_own(tmp_path: Path, count: int) -> None:
    records = [b"12345", b"123456", b"1", bytes(3 << 20), b"", bytes(6), b"last"]
    found, faults = all_of(Frames(write(tmp_path / "a.tfrecord", records), 5), count)
    assert found == [b"12345", b"", b"1", b"", b"", b"", b"last"]
    assert {at: fault.detail for at, fault in faults.items()} == {
        at: f"{len(records[at])} bytes; the most is 5" for at in (1, 3, 5)
    }
    assert {fault.reason for fault in faults.values()} == {Reason.RECORD_TOO_LARGE}


def all_of(frames: Frames, count: int) -> tuple[list[bytes], dict[int, Fault]]:
    """Records and faults of a shard without damage, by their position in it."""
    found: list[bytes] = []
    faults: dict[int, Fault] = {}
    with closing(frames):
        for run in up_to_damage(partial(frames.take, count)):
            faults |= {len(found) + at: fault for at, fault in run.faults.items()}
            found += run.records
    return found, faults


@pytest.mark.parametrize("count", [1, 3, 256])
def test_the_data_of_any_record_may_be_salvaged_around(tmp_path: Path, count: int) -> None:
    records = [b"first", bytes(9), b"third", b"4", b"the fifth one"]
    data = Path(write(tmp_path / "a.tfrecord", records).uri).read_bytes()
    for at in (b"first", b"third"):
        data = data.replace(at, at.upper())
    found, faults = all_of(Frames(shard_of(tmp_path / "a.tfrecord", data), 8, salvage=True), count)
    assert found == [b"", b"", b"", b"4", b""]
    assert {at: (fault.reason, fault.data, fault.detail) for at, fault in faults.items()} == {
        0: (Reason.CORRUPT_RECORD, b"FIRST", "the checksum of the record's data does not match at byte 0"),
        1: (Reason.RECORD_TOO_LARGE, None, "9 bytes; the most is 8"),
        2: (Reason.CORRUPT_RECORD, b"THIRD", "the checksum of the record's data does not match at byte 46"),
        4: (Reason.RECORD_TOO_LARGE, None, "13 bytes; the most is 8"),
    }


def test_damage_behind_a_record_over_the_limit_is_found_where_it_is(tmp_path: Path) -> None:
    data = Path(write(tmp_path / "a.tfrecord", [b"1", bytes(99), b"good", b"evil"]).uri).read_bytes()
    shard = shard_of(tmp_path / "b", data.replace(b"evil", b"devl"))
    run, damage = Frames(shard, 8).take(256)
    assert (run.records, list(run.faults)) == ([b"1", b"", b"good"], [1])
    assert str(damage) == "b: the checksum of a record's data does not match at byte 152"


def test_a_store_that_fails_is_named(tmp_path: Path) -> None:
    shard = Shard(uri=str(tmp_path / "none"), path="p/none", size=1, identity="1")
    run, damage = Frames(shard, LIMIT).take(1)
    assert run.records == []
    assert str(damage).startswith("p/none: the store failed")
    assert isinstance(damage, UnreadableError)
    assert isinstance(damage.__cause__, FileNotFoundError)


def test_a_record_over_the_limit_is_never_held(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tfrecord", [b"a", bytes(100 << 20), b"b"], "GZIP")
    tracemalloc.start()
    try:
        assert all_of(Frames(shard, 1 << 20), 8)[0] == [b"a", b"", b"b"]
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_memory_does_not_grow_with_the_shard(tmp_path: Path, compression: str) -> None:
    shard = write(tmp_path / "a.tfrecord", [bytes(60_000)] * 1000, compression)
    tracemalloc.start()
    try:
        assert sum(map(len, taken(shard, 8))) == 1000
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_records_larger_than_a_block(tmp_path: Path) -> None:
    records = [np.random.default_rng(i).bytes(size) for i, size in enumerate([5, 3 << 20, 1 << 20, 0, 2_000_000, 9])]
    shard = write(tmp_path / "a.tfrecord", records)
    assert [record for batch in taken(shard, 4) for record in batch] == records
