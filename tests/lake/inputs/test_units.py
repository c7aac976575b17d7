import zlib
from pathlib import Path

import pytest

from lake.core.records import Shard
from lake.formats import MIXED
from lake.inputs import units as units_of
from lake.inputs.discover import Found
from lake.inputs.shard_list import Builder
from lake.inputs.units import WholeShards, all_units, input_bytes, make_units


def shard(path: str, size: int = 10) -> Shard:
    return Shard(uri=f"/in/{path}", path=path, size=size, identity="1")


def found(format: str, *shards: Shard) -> Found:
    return Found(root="/in", format=format, shards=shards)


@pytest.mark.parametrize(
    ("format", "path", "unit"),
    [
        ("tfrecord", "a/b/train-00003.tfrecord", "a/b/train-00003"),
        ("tfrecord", "train.tfrecord.gz", "train"),
        ("tfrecord", "mnist.tfrecord-00003-of-00010", "mnist.tfrecord-00003-of-00010"),
        ("webdataset", "dt=2026-11-22/x.TAR", "dt=2026-11-22/x"),
        ("webdataset", "x.tar.gz", "x"),
        ("array", "train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"),
        ("parquet", "v1.5/x.parquet", "v1.5/x"),
    ],
)
def test_a_unit_is_named_after_its_shard(format: str, path: str, unit: str) -> None:
    assert [u.id for u in make_units(found(format, shard(path)))] == [unit]


def test_files_of_a_directory_are_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units_of, "GROUP_FILES", 2)
    names = ["a/1.png", "a/2.png", "a/3.png", "a/b/4.png", "c.png"]
    units = list(make_units(found("folder", *map(shard, names))))
    assert {u.id: [s.path for s in u.shards] for u in units} == {
        "part-00000000": ["c.png"],
        "a/part-00000000": ["a/1.png", "a/2.png"],
        "a/part-00000000-1": ["a/3.png"],
        "a/b/part-00000000": ["a/b/4.png"],
    }


def groups(names: list[str]) -> dict[str, list[str]]:
    return {u.id: [s.path for s in u.shards] for u in make_units(found("folder", *map(shard, names)))}


def test_a_new_file_changes_one_group_and_leaves_the_others() -> None:
    names = [f"{number:06d}.png" for number in range(0, 40000, 2)]
    before = groups(names)
    assert [path for paths in before.values() for path in paths] == names
    assert 8 < len(before) < 40
    assert max(map(len, before.values())) <= units_of.GROUP_FILES
    # Nothing of the group but its one file is new, and only it is named after an end of which the checksum says so.
    ends = [int(zlib.crc32(paths[-1].encode())) % 1024 == 0 for paths in before.values()]
    assert sum(ends) >= len(before) - 3
    after = groups(sorted([*names, "020001.png"]))
    changed = {unit for unit in before if before[unit] != after.get(unit)}
    assert len(changed) == 1
    assert set(after) == set(before)


def test_large_files_make_smaller_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units_of, "GROUP_BYTES", 100)
    units = make_units(found("folder", *(shard(f"{i}.png", 60) for i in range(3))))
    assert [len(u.shards) for u in units] == [1, 1, 1]


def test_a_big_splittable_shard_is_cut_on_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.conftest import write_parquet

    path = tmp_path / "x.parquet"
    write_parquet(path, [b"1"] * 1000, range(1000), row_group_size=100)
    monkeypatch.setattr(units_of, "SPLIT_BYTES", path.stat().st_size // 4)
    big = Shard(uri=str(path), path="x.parquet", size=path.stat().st_size, identity="1")
    units = list(make_units(found("parquet", big)))
    assert [u.id for u in units] == [f"x-{i:05d}-of-{len(units):05d}" for i in range(len(units))]
    assert len(units) in (3, 4, 5)
    edges = [u.start for u in units] + [units[-1].stop]
    assert edges[0] == 0
    assert edges[-1] == 1000
    assert [u.stop for u in units] == edges[1:]
    assert all(edge % 100 == 0 for edge in edges if edge is not None)
    assert [input_bytes(u) for u in units] == [big.size * (u.stop - u.start) // 1000 for u in units if u.stop]


def test_units_that_are_whole_shards_are_made_when_they_are_asked_for() -> None:
    builder = Builder()
    for name in ("b", "a", "c"):
        builder.add(f"{name}.tfrecord", 10, "1")
    listed = builder.build("/in")
    mixed = Found(root="/in", format=MIXED, shards=listed, mixed={"tfrecord": listed, "webdataset": listed[:1]})
    units, expected = all_units(mixed), [*make_units(mixed)]
    assert isinstance(units, WholeShards)
    assert [*units] == [*units] == expected
    assert [units[at] for at in range(4)] == expected == units[:]
    assert (units[-1], units[1:3], len(units)) == (expected[-1], expected[1:3], 4)
    with pytest.raises(IndexError):
        units[4]


def test_units_of_large_shards_and_of_groups_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = Builder()
    builder.add("a.png", 10, "1")
    assert isinstance(all_units(Found(root="/in", format="folder", shards=builder.build("/in"))), list)
    monkeypatch.setattr(units_of, "SPLIT_BYTES", 9)
    large = Found(root="/in", format="tfrecord", shards=builder.build("/in"))
    assert isinstance(all_units(large), list)
    assert isinstance(all_units(large, whole=True), WholeShards)
