"""Damaged and hostile tar archives: which samples are given, which are lost, what the error says."""

import tarfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.core.records import Reason, Unit
from lake.formats import FORMATS
from tests.faults.damaged import (
    MODES,
    SIZES,
    Container,
    Outcome,
    check,
    flip,
    member,
    read,
    read_shard,
    settle,
)
from tests.lake.formats.support import archive, shard_of, special


@MODES
def test_tar_cut_in_a_member_or_on_its_edge(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], salvage: bool
) -> None:
    """The sample before the cut is not known to be complete: another member of it may be what is missing."""
    container = intact["tar"]
    columns = settle(container, tmp_path, salvage=salvage)
    image, label = (member(container.data, f"0030.{kind}") for kind in ("png", "cls"))
    cases = [
        (image.offset_data + 5, 29, f"truncated within a member of {image.size} bytes at byte {image.offset_data}"),
        (image.offset + 100, 29, f"the archive is cut: no block of zeros marks its end at byte {image.offset}"),
        (image.offset, 29, f"the archive is cut: no block of zeros marks its end at byte {image.offset}"),
        (label.offset, 30, f"the archive is cut: no block of zeros marks its end at byte {label.offset}"),
    ]
    for cut, count, says in cases:
        check(read(container, tmp_path, columns, container.data[:cut]), clean["tar"], count, says)


@MODES
@SIZES
def test_tar_with_a_flipped_header(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], size: int, salvage: bool
) -> None:
    container = intact["tar"]
    columns = settle(container, tmp_path, salvage=salvage)
    for name, count in (("0020.png", 19), ("0020.cls", 20)):
        at = member(container.data, name).offset
        for field in (0, 104, 124, 156, 257, 345, 500):
            found = read(container, tmp_path, columns, flip(container.data, 8 * (at + field)), size)
            if not salvage:
                says = f"the checksum of a member's header does not match at byte {at}"
                check(found, clean["tar"], count, says)
                continue
            assert found.error is None
            assert found.good == {i: values for i, values in clean["tar"].good.items() if i != 20}
            assert {i: (f.reason, f.detail) for i, f in found.bad.items()} == {
                20: (
                    Reason.CORRUPT_RECORD,
                    f"the checksum of the header of member '{name}' does not match at byte {at}",
                )
            }


SPECIAL = {
    "a hard link": tarfile.LNKTYPE,
    "a symbolic link": tarfile.SYMTYPE,
    "a character device": tarfile.CHRTYPE,
    "a block device": tarfile.BLKTYPE,
    "a FIFO": tarfile.FIFOTYPE,
    "of type b'M'": b"M",
}


@MODES
@pytest.mark.parametrize("what", SPECIAL)
def test_tar_with_a_member_that_is_no_file(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], what: str, salvage: bool
) -> None:
    members: list[tuple[Any, bytes]] = []
    for at, (_, image, label) in clean["tar"].good.items():
        name = f"{at:04d}.png"
        members.append((special(name, SPECIAL[what]), b"") if at == 11 else (name, image))
        members.append((f"{at:04d}.cls", b"%d" % label))
    container = intact["tar"]
    found = read(container, tmp_path, settle(container, tmp_path, salvage=salvage), archive(members, "gnu"))
    assert found.error is None
    assert found.good == {at: values for at, values in clean["tar"].good.items() if at != 11}
    assert {at: (f.reason, f.detail) for at, f in found.bad.items()} == {
        11: (Reason.INVALID_RECORD, f"member '0011.png' is {what}")
    }


def pax_sparse(name: str) -> tuple[tarfile.TarInfo, bytes]:
    """A sparse file of version 1.0, by GNU tar's manual, "Storing Sparse Files": a map, padded, then the data."""
    info = tarfile.TarInfo(f"GNUSparseFile.0/{name}")
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": name,
        "GNU.sparse.realsize": "65536",
    }
    return info, b"1\n0\n512\n".ljust(512, b"\0") + b"x" * 512


def gnu_sparse(name: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = tarfile.GNUTYPE_SPARSE
    return info, b"x" * 512


@pytest.mark.parametrize(("format", "sparse"), [("pax", pax_sparse), ("gnu", gnu_sparse)], ids=["pax", "gnu"])
def test_tar_with_a_sparse_member(
    tmp_path: Path, intact: dict[str, Container], format: str, sparse: Callable[[str], tuple[tarfile.TarInfo, bytes]]
) -> None:
    """It is a reject under its own name, with its class; never an image with holes that are not there."""
    members = [("a.png", b"a"), ("a.cls", b"1"), sparse("b.png"), ("b.cls", b"2"), ("c.png", b"c"), ("c.cls", b"3")]
    container = intact["tar"]
    found = read(container, tmp_path, settle(container, tmp_path), archive(members, format))
    assert (found.good, found.error) == ({0: ("a", b"a", 1), 2: ("c", b"c", 3)}, None)
    assert found.bad[1].detail == "member 'b.png' is a sparse file"


HOSTILE = [
    "../../etc/passwd.png",
    "/etc/shadow.png",
    "C:\\b.png",
    "~/x.png",
    "$(reboot).png",
    "a\nb.png",
    "n" * 300 + ".png",
    "\u202egnp_exe\u202c.png",
    "e\u0301\u0327\u20d7.png",
    "a\0b.png",
    "twice.png",
    "twice.png",
]


@MODES
def test_tar_with_names_that_are_no_paths(tmp_path: Path, intact: dict[str, Container], salvage: bool) -> None:
    members = [(name, b"%d" % at) for at, name in enumerate(HOSTILE)]
    members[9] = (tarfile.TarInfo("x"), b"9")
    members[9][0].pax_headers = {"path": "a\0b.png"}
    container = intact["tar"]
    columns = replace(settle(container, tmp_path, salvage=salvage), carry=pa.schema([]))
    before = sorted(tmp_path.iterdir())
    found = read(container, tmp_path, columns, archive(members, "pax"))
    assert found.error is None
    assert found.good == {at: (name.rpartition(".png")[0], b"%d" % at) for at, name in enumerate(HOSTILE)}
    assert sorted(tmp_path.iterdir()) == before


def test_tar_with_very_many_extension_headers_holds_none_of_them(tmp_path: Path, intact: dict[str, Container]) -> None:
    def header(at: int, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
        record = b"%07d=" % at + b"x" * 999_000
        return special("h", kind), b"%d %s\n" % (len(record) + 8, record)

    bombs = [header(at, kind) for at in range(30) for kind in (b"g", b"x")]
    data = archive([*bombs, ("a.png", b"a"), ("a.cls", b"1")])
    container = intact["tar"]
    columns = settle(container, tmp_path)
    shard = shard_of(tmp_path / "b.tar", data)
    del data, bombs
    tracemalloc.start()
    try:
        found = read_shard("webdataset", shard, columns)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()
    assert (found.good, found.error) == ({0: ("a", b"a", 1)}, None)


def test_tar_with_very_long_names_comes_in_small_batches(tmp_path: Path, intact: dict[str, Container]) -> None:
    members = [(f"{'n' * 1_000_000}{at}.png", b"%d" % at) for at in range(12)]
    container = intact["tar"]
    columns = replace(settle(container, tmp_path), carry=pa.schema([]))
    shard = shard_of(tmp_path / "b.tar", archive(members, "pax"))
    unit = Unit(id="u", format="webdataset", shards=(shard,))
    parts = [raw.records() for raw in FORMATS["webdataset"].reader.read(unit, columns, 256, 3_000_000)]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert [value for part in parts for value in part.payload.to_pylist()] == [b"%d" % at for at in range(12)]
