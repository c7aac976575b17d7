"""Archives that are cut between samples: the same samples, whatever the cuts, the headers and the index beside."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from lake.core.errors import ShardError
from lake.core.records import Shard
from lake.formats.common import cuts as module
from lake.formats.common.cuts import Cuts
from lake.formats.common.hops import Hops
from lake.formats.reader import ColumnSelection
from tests.lake.formats.sliced import outcome, read_units, stat_of, units_of, wrong
from tests.lake.formats.support import FORMATS, archive, rows, shard_of, special
from tests.lake.formats.webdataset.archives import READER, read

LONG = "d" * 90 + "/" + "e" * 120


def members(count: int = 12, *, links: bool = True) -> list[tuple[str | tarfile.TarInfo, bytes]]:
    """Samples whose headers are of every kind: long names, times, hidden files, directories, links, large members."""
    found: list[tuple[str | tarfile.TarInfo, bytes]] = [(special("top/", tarfile.DIRTYPE), b"")]
    for i in range(count):
        key = f"{LONG}/{i:04d}" if i % 3 == 0 else f"top/{i:04d}"
        image = tarfile.TarInfo(f"{key}.PNG")
        image.mtime = 1e9 + 0.5 if i % 2 else 0  # in pax a header of its own
        found += [(image, b"%d" % i * (700 * i + 1)), (f"{key}.cls", b"%d" % i)]
        found += [(f"{key.rpartition('/')[0]}/._{i:04d}.png", b"hidden"), (special("dir/", tarfile.DIRTYPE), b"")]
        if links and i % 5 == 4:
            found += [(special(f"{key}.link", tarfile.SYMTYPE), b"")]
    return found


def dali_index(data: bytes) -> list[bytes]:
    """The lines of the index of an archive, by Python's tarfile."""
    samples: list[tuple[str, list[str]]] = []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            directory, slash, base = member.name.rpartition("/")
            if not member.isreg() or base.startswith("."):
                continue
            stem, _, extension = base.partition(".")
            if not samples or samples[-1][0] != directory + slash + stem:
                samples.append((directory + slash + stem, []))
            samples[-1][1].append(f"{extension} {member.offset_data} {member.size} {member.name}")
    return [b"v1.2 %d\n" % len(samples), *(" ".join(parts).encode() + b"\n" for _, parts in samples)]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("slice_bytes", [512, 9_000, 40_000])
def test_slices_have_the_samples_of_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, slice_bytes: int
) -> None:
    if format == "ustar":
        monkeypatch.setattr(f"{__name__}.LONG", "d" * 40)
    monkeypatch.setattr(module, "SLICE_BYTES", slice_bytes)
    data = archive(members(), format)
    shard = shard_of(tmp_path / "a.tar", data)
    columns = READER.settle(shard, ColumnSelection())
    whole = rows(read(shard, columns))
    assert [row["index"] for row in whole] == [*range(12)]
    assert [row["fault"] is not None for row in whole] == [i % 5 == 4 for i in range(12)]
    cuts = READER.cuts(shard)
    units = units_of(shard, "webdataset", cuts)
    assert len(units) > (10 if slice_bytes == 512 else 2)
    assert read_units(READER, units, columns) == whole


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("slice_bytes", [512, 9_000, 40_000])
def test_an_index_cuts_as_a_pass_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, slice_bytes: int
) -> None:
    if format == "ustar":
        monkeypatch.setattr(f"{__name__}.LONG", "d" * 40)
    monkeypatch.setattr(module, "SLICE_BYTES", slice_bytes)
    data = archive(members(links=False), format)
    shard, index = shard_of(tmp_path / "a.tar", data), stat_of(tmp_path / "a.idx", b"".join(dali_index(data)))
    assert READER.cuts(shard, index) == READER.cuts(shard)
    columns = READER.settle(shard, ColumnSelection())
    assert outcome(READER, shard, "webdataset", index, columns) == rows(read(shard, columns))


def test_an_index_of_another_number_of_samples_says_how_it_should_begin(tmp_path: Path) -> None:
    data = archive(members(3, links=False), "pax")
    index = stat_of(tmp_path / "a.idx", b"".join([b"v1.1 3\n", *dali_index(data)[1:]]))
    with pytest.raises(ShardError, match=r"begins with 'v1\.1 3'.* of so many samples it begins with 'v1\.2 3'"):
        READER.cuts(shard_of(tmp_path / "a.tar", data), index)


def test_an_index_that_leaves_links_out_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 512)
    data = archive(members(), "pax")
    shard, index = shard_of(tmp_path / "a.tar", data), stat_of(tmp_path / "a.idx", b"".join(dali_index(data)))
    with pytest.raises(ShardError, match="where its index says so"):
        READER.cuts(shard, index)


def test_slices_are_about_equal_and_named_as_those_of_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 10_240)
    shard = shard_of(tmp_path / "a.tar", archive([(f"{i}.png", b"x" * 512) for i in range(98)]))
    units = units_of(shard, "webdataset", READER.cuts(shard))
    assert [unit.id for unit in units] == [f"a-{i:05d}-of-00010" for i in range(10)]
    assert [(unit.start, unit.stop) for unit in units] == [(i * 10, min(i * 10 + 10, 98)) for i in range(10)]
    assert [unit.byte_range.begin for unit in units if unit.byte_range] == [i * 10_240 for i in range(10)]


def test_a_wrong_index_is_refused_or_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 12_000)
    data = archive([(f"{i:02d}.{kind}", b"%d" % i * 300) for i in range(9) for kind in ("png", "cls")])
    shard = shard_of(tmp_path / "a.tar", data)
    columns = READER.settle(shard, ColumnSelection())
    whole, refused = rows(read(shard, columns)), 0
    for lines in wrong(dali_index(data)[1:]):
        text = b"v1.2 %d\n" % lines.count(b"\n") + lines
        found = outcome(READER, shard, "webdataset", stat_of(tmp_path / "a.idx", text), columns)
        refused += isinstance(found, ShardError)
        assert isinstance(found, ShardError) or found == whole, text
    assert refused > 100
    for text in (b"", b"v1.1 0\n", b"\0\xff" * 9, data):
        assert isinstance(outcome(READER, shard, "webdataset", stat_of(tmp_path / "a.idx", text), columns), ShardError)


def test_an_index_that_has_lost_a_sample_fails_the_slice_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 10_240)
    data = archive([(f"{i}.png", b"x" * 512) for i in range(30)])
    shard = shard_of(tmp_path / "a.tar", data)
    _, *lines = dali_index(data)
    index = stat_of(tmp_path / "a.idx", b"".join([b"v1.2 29\n", *lines[:15], *lines[16:]]))
    error = outcome(READER, shard, "webdataset", index, READER.settle(shard, ColumnSelection()))
    assert str(error) == (
        "a.tar: it was cut for records 10 to 18 from byte 10240 on, and there are 10; "
        "a.idx is wrong; remove it, and run again"
    )


@pytest.mark.parametrize(
    "data",
    [
        archive([(f"{i}.png", b"x" * 512) for i in range(30)])[:-20_000],  # cut off
        archive([(f"{i}.png", b"x" * 512) for i in range(30)]).replace(b"17.png\0", b"17.pngx", 1),  # a checksum
        archive([("1.png", b"")]) + archive([(f"{i}.png", b"x" * 512) for i in range(30)]),  # joined by cat
    ],
)
def test_a_damaged_archive_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 4_000)
    with pytest.raises(ShardError):
        READER.cuts(shard_of(tmp_path / "a.tar", data))


def test_archives_that_only_read_well_from_their_start_are_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 1_000)
    plain: list[tuple[str | tarfile.TarInfo, bytes]] = [(f"{i}.png", b"x" * 512) for i in range(9)]
    twice = archive([*plain, ("9.txt", b""), ("9.txt", b"")])
    lasting = archive(plain, "pax", pax_headers={"path": "one.png"})
    for data in (twice, lasting):
        assert READER.cuts(shard_of(tmp_path / "a.tar", data)) == Cuts()
    harmless = archive(plain, "pax", pax_headers={"comment": "of a photographer"})
    assert len(READER.cuts(shard_of(tmp_path / "b.tar", harmless)).rows) == 10


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_a_compressed_archive_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 10)
    with tarfile.open(str(tmp_path / name), f"w:{name.rpartition('.')[2]}") as tar:  # type: ignore[call-overload]
        tar.addfile(tarfile.TarInfo("1.png"))
    assert READER.cuts(shard_of(tmp_path / name)) == Cuts()


def test_long_members_are_hopped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers of members beyond 8 GiB are read, and what is between them is not."""
    sizes = [9 << 30, 3 << 20, 10, 9 << 30]
    path, offset = tmp_path / "a.tar", 0
    with path.open("wb") as file:  # sparse
        for number, size in enumerate(sizes):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = size
            file.seek(offset)
            file.write(info.tobuf(tarfile.GNU_FORMAT))
            offset += 512 + size + -size % 512
        file.truncate(offset + 10_240)
    shard = shard_of(path)
    read_on = Hops.need
    needed: list[int] = []

    def noted(window: Hops, count: int) -> bool:
        needed.append(window.offset)
        return read_on(window, count)

    monkeypatch.setattr(Hops, "need", noted)
    monkeypatch.setattr(module, "SLICE_BYTES", 6 << 30)
    assert READER.cuts(shard) == Cuts(rows=(0, 1, 4), offsets=(0, 512 + (9 << 30)))
    assert len(needed) < 20


def test_a_slice_of_another_shard_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 10_240)
    shard = shard_of(tmp_path / "a.tar", archive([(f"{i:02d}.png", b"x" * 512) for i in range(30)]))
    columns, units = READER.settle(shard, ColumnSelection()), units_of(shard, "webdataset", READER.cuts(shard))
    data = archive([(f"{i - i % 2:02d}.{i % 2}png", b"x" * 512) for i in range(30)])
    other: Shard = shard_of(tmp_path / "a.tar", data)
    same = [replace(unit, shards=(other,)) for unit in units]
    with pytest.raises(ShardError, match="records 0 to 9 from byte 0 on, and there are 5; the shard was changed"):
        read_units(READER, same, columns)
