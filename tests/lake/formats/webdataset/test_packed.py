"""Tars that are compressed by other programs than gzip; those programs' libraries are the truth."""

import bz2
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from lake.core.errors import ShardError
from lake.core.records import Unit
from lake.formats.common.packing import packing_of
from lake.formats.reader import ColumnSelection
from lake.formats.webdataset.writer import WebDatasetWriter
from lake.inputs.discover import find_shards
from lake.inputs.units import make_units
from lake.storage import store_for
from tests.lake.formats.support import archive, shard_of
from tests.lake.formats.webdataset.archives import READER, read

MEMBERS = [(f"{at:04}.{name}", data) for at in range(300) for name, data in (("png", b"%d" % at * 9), ("cls", b"7"))]


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def unzstd(data: bytes) -> bytes:
    return pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()


PACKINGS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "bz2": (bz2.compress, bz2.decompress),
    "xz": (lzma.compress, lzma.decompress),
    "zst": (zstd, unzstd),
}
ANY = pytest.mark.parametrize("name", PACKINGS)


@ANY
@pytest.mark.parametrize("salvage", [False, True])
def test_a_packed_tar_is_read(tmp_path: Path, name: str, salvage: bool) -> None:
    pack, _ = PACKINGS[name]
    shard = shard_of(tmp_path / f"a.tar.{name}", pack(archive(MEMBERS)))
    parts = read(shard, READER.settle(shard, ColumnSelection(salvage=salvage)))
    assert [data for part in parts for data in part.payload.to_pylist()] == [b"%d" % at * 9 for at in range(300)]
    found = find_shards([str(tmp_path)])
    assert [unit.id for unit in make_units(found)] == ["a"]


@ANY
def test_streams_one_after_another_are_one(tmp_path: Path, name: str) -> None:
    pack, _ = PACKINGS[name]
    data = archive(MEMBERS)
    shard = shard_of(tmp_path / f"a.tar.{name}", pack(data[:5_000]) + pack(data[5_000:]))
    assert sum(map(len, read(shard, READER.settle(shard, ColumnSelection())))) == 300


@ANY
@pytest.mark.parametrize("salvage", [False, True])
@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data[:-20],
        lambda data: data[:300] + bytes([data[300] ^ 255]) + data[301:],
        lambda data: data + b"x",
    ],
    ids=["cut", "flipped", "more"],
)
def test_damage_is_named(tmp_path: Path, name: str, harm: Callable[[bytes], bytes], salvage: bool) -> None:
    pack, _ = PACKINGS[name]
    whole = pack(archive(MEMBERS))
    columns = READER.settle(shard_of(tmp_path / f"a.tar.{name}", whole), ColumnSelection(salvage=salvage))
    with pytest.raises(ShardError, match=rf"a\.tar\.{name}: "):
        read(shard_of(tmp_path / f"a.tar.{name}", harm(whole)), columns)


@ANY
def test_a_rewritten_one_is_packed_again(tmp_path: Path, name: str) -> None:
    pack, unpack = PACKINGS[name]
    shard = shard_of(tmp_path / f"a.tar.{name}", pack(archive(MEMBERS)))
    columns = READER.settle(shard, ColumnSelection(whole=True))
    unit = Unit(id="a", format="webdataset", shards=(shard,))
    writer = WebDatasetWriter(columns, rewrite=True).begin(
        unit, lambda path: store_for("").create(str(tmp_path / "out" / path))
    )
    (output,) = writer.publish()
    data = (tmp_path / "out" / output.name).read_bytes()
    assert (output.name, output.size, unpack(data)) == (shard.path, len(data), bytes(1024))


def test_a_plain_tar_whose_first_name_looks_packed_stays_plain(tmp_path: Path) -> None:
    data = archive([("BZh9.png", b"image")])
    assert packing_of(data) is None
    shard = shard_of(tmp_path / "a.tar", data)
    assert read(shard, READER.settle(shard, ColumnSelection()))[0].payload.to_pylist() == [b"image"]
