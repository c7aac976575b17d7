"""Shards that TensorFlow compressed by zlib, which have no magic number."""

import zlib
from pathlib import Path

import pytest

from lake.core.errors import ShardError
from lake.formats.common.byte_stream import ZLIB_WINDOW
from lake.formats.common.gzip_sink import GzipSink
from lake.formats.reader import ColumnSelection
from lake.formats.tfrecord.framing import framed
from lake.formats.tfrecord.lengths import begins
from lake.formats.tfrecord.writer import _sink_like
from lake.inputs.discover import find_shards
from lake.storage import store_for
from tests.lake.formats.support import shard_of, write
from tests.lake.formats.tfrecord.examples import READER, example, read

RECORDS = [example(image=b"file %d" % at, label=at) for at in range(300)]


@pytest.mark.parametrize("salvage", [False, True])
def test_a_shard_of_zlib_is_read(tmp_path: Path, salvage: bool) -> None:
    shard = write(tmp_path / "a.tfrecord", RECORDS, "ZLIB")
    columns = READER.settle(shard, ColumnSelection(salvage=salvage))
    parts = read(shard, columns)
    assert [value for part in parts for value in part.payload.to_pylist()] == [b"file %d" % at for at in range(300)]
    assert not any(part.faults for part in parts)


def test_it_is_recognised_by_content(tmp_path: Path) -> None:
    write(tmp_path / "shard", RECORDS, "ZLIB")
    assert find_shards([str(tmp_path / "shard")]).format == "tfrecord"


def test_a_plain_shard_that_begins_like_zlib_stays_plain(tmp_path: Path) -> None:
    """Its first record has 0x0178 bytes, and 78 01 is a header of zlib."""
    record = next(found for size in range(0x178) if len(found := example(image=bytes(size))) == 0x178)
    assert framed([record]).startswith(b"\x78\x01")
    assert begins(framed([record]))
    shard = write(tmp_path / "a.tfrecord", [record])
    assert len(read(shard, READER.settle(shard, ColumnSelection()))[0]) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:-9], "the zlib stream is truncated"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "the zlib stream is damaged"),
        (lambda data: data + b"more", "data after the zlib stream's end"),
    ],
    ids=["cut", "checksum", "more"],
)
def test_damage_is_named(tmp_path: Path, change: object, says: str) -> None:
    shard = write(tmp_path / "a.tfrecord", RECORDS, "ZLIB")
    columns = READER.settle(shard, ColumnSelection())
    shard = shard_of(tmp_path / "a.tfrecord", change((tmp_path / "a.tfrecord").read_bytes()))
    with pytest.raises(ShardError, match=says):
        read(shard, columns)


def test_a_rewritten_shard_is_zlib_again(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tfrecord", RECORDS, "ZLIB")
    sink = _sink_like(shard, lambda name: store_for("").create(str(tmp_path / "out" / name)))
    assert isinstance(sink, GzipSink)
    sink.write(framed(RECORDS))
    sink.finish()
    assert zlib.decompress((tmp_path / "out/a.tfrecord").read_bytes(), ZLIB_WINDOW) == framed(RECORDS)
