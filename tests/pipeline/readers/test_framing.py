"""TFRecord framing, plain and gzip: what TensorFlow wrote, and every way in which it can be damaged."""

import gzip
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ShardError
from pipeline.readers.framing import Frames
from pipeline.records import Shard
from tests.pipeline.readers.support import shard_of, write

LIMIT = 3 << 20


def taken(shard: Shard, count: int) -> Iterator[list[bytes]]:
    """All records of a shard without damage."""
    with closing(Frames(shard, LIMIT)) as frames:
        while records := frames.take(count)[0]:
            yield records


def intact(shard: Shard) -> tuple[list[bytes], ShardError | None]:
    """The records that come before the damage, taken one by one, and the damage."""
    found: list[bytes] = []
    with closing(Frames(shard, LIMIT)) as frames:
        while True:
            records, damage = frames.take(1)
            if damage or not records:
                return found, damage
            found += records


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
    found, damage = Frames(shard_of(tmp_path / "b", data[:-5] + b"x" + data[-4:]), LIMIT).take(256)
    assert str(damage) == "b: the checksum of a record's data does not match at byte 153"
    assert found == [b"%d" % i for i in range(9)]


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (b"garbage", "gzip stream is damaged"),
        (b"\0" * 700, None),
        (gzip.compress(b""), None),
        (gzip.compress(b"abc"), "truncated within a record's header"),
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
def test_a_length_over_the_limit_is_damage(tmp_path: Path, length: int) -> None:
    data = Path(write(tmp_path / "a.tfrecord", RECORDS).uri).read_bytes() + framed(length) + bytes(100)
    found, error = intact(shard_of(tmp_path / "b.tfrecord", data))
    assert found == RECORDS
    assert error is not None
    assert (error.offset, f"a record of {length} bytes" in error.problem) == (EDGES[-1], True)


def test_a_record_over_the_limit_is_damage(tmp_path: Path) -> None:
    found, damage = Frames(write(tmp_path / "a.tfrecord", [b"12345", b"123456", b"1"]), 5).take(3)
    assert found == [b"12345"]
    assert str(damage) == "a.tfrecord: a record of 6 bytes, and at most 5 are allowed, at byte 21"


def test_a_store_that_fails_is_named(tmp_path: Path) -> None:
    shard = Shard(uri=str(tmp_path / "none"), path="p/none", size=1, identity="1")
    found, damage = Frames(shard, LIMIT).take(1)
    assert found == []
    assert str(damage).startswith("p/none: the store failed")
    assert isinstance(damage.__cause__, FileNotFoundError)


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
