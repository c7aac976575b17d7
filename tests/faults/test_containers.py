"""Every way in which a container is damaged: which records are given, which are lost, and what the error says."""

import errno
import gzip
import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ShardError, UnreadableError
from pipeline.readers import Columns, Request, reader_for
from pipeline.readers.damage import damage
from pipeline.records import Reason, Unit
from tests.faults import damaged
from tests.faults.damaged import COUNT, Container, Outcome, containers, flip, member, read, read_shard, settle
from tests.pipeline.readers.support import archive, shard_of, special

MODES = pytest.mark.parametrize("salvage", [False, True], ids=["fail", "reject"])
SIZES = pytest.mark.parametrize("size", [1, 7, 16, 256])


@pytest.fixture(scope="module")
def intact(digits: Any) -> dict[str, Container]:
    return containers(digits)


@pytest.fixture(scope="module")
def clean(intact: dict[str, Container], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What an intact container of each kind gives."""
    folder = tmp_path_factory.mktemp("clean")
    return {kind: read(container, folder, settle(container, folder)) for kind, container in intact.items()}


def begin(outcome: Outcome, count: int) -> dict[int, tuple[Any, ...]]:
    """The first records of a clean run."""
    return {at: values for at, values in outcome.good.items() if at < count}


def check(found: Outcome, clean: Outcome, count: int, says: str) -> None:
    """The first ``count`` records as in a clean run, nothing after them, and an error that ends in these words."""
    assert (found.good, found.bad) == (begin(clean, count), {})
    assert type(found.error) is ShardError
    assert str(found.error).endswith(says)


# ---- TFRecord


def starts(data: bytes) -> list[int]:
    """Where the records of an intact shard begin, and where the last one ends."""
    found = [0]
    while found[-1] < len(data):
        found.append(found[-1] + 16 + struct.unpack_from("<Q", data, found[-1])[0])
    return found


def masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def forged(data: bytes, at: int, length: int) -> bytes:
    """The record at byte ``at`` says that it has another length, and its checksum agrees."""
    header = struct.pack("<Q", length)
    return data[:at] + header + masked(header) + data[at + 12 :]


@SIZES
def test_tfrecord_with_flipped_data(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], size: int
) -> None:
    """One record of which the shard, or only itself, is the price."""
    container, truth = intact["tfrecord"], clean["tfrecord"]
    at = starts(container.data)
    data = flip(container.data, 8 * (at[21] + 40))
    found = read(container, tmp_path, settle(container, tmp_path), data, size)
    check(found, truth, 21, f"a.tfrecord: the checksum of a record's data does not match at byte {at[21]}")
    found = read(container, tmp_path, settle(container, tmp_path, salvage=True), data, size)
    assert found.error is None
    assert found.good == {i: values for i, values in truth.good.items() if i != 21}
    assert {i: (f.reason, f.data, f.detail) for i, f in found.bad.items()} == {
        21: (
            Reason.CORRUPT_RECORD,
            data[at[21] + 12 : at[22] - 4],
            f"the checksum of the record's data does not match at byte {at[21]}",
        )
    }


@MODES
@SIZES
@pytest.mark.parametrize("byte", range(12), ids=lambda byte: f"byte{byte}")
def test_tfrecord_with_a_flipped_length(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], byte: int, size: int, salvage: bool
) -> None:
    container = intact["tfrecord"]
    at = starts(container.data)[30]
    columns = settle(container, tmp_path, salvage=salvage)
    found = read(container, tmp_path, columns, flip(container.data, 8 * (at + byte) + byte % 8), size)
    check(found, clean["tfrecord"], 30, f"the checksum of a record's length does not match at byte {at}")


@MODES
@pytest.mark.parametrize("left", [1, 11, 12, 13, 60, -1])
def test_tfrecord_cut_in_mid_record(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], left: int, salvage: bool
) -> None:
    container = intact["tfrecord"]
    at = starts(container.data)
    cut = at[25] + left if left > 0 else at[26] + left
    found = read(container, tmp_path, settle(container, tmp_path, salvage=salvage), container.data[:cut])
    what = "header" if 0 < left < 12 else f"of {at[26] - at[25] - 16} bytes"
    assert "truncated within a record" in str(found.error)
    assert what in str(found.error)
    check(found, clean["tfrecord"], 25, f" at byte {at[25]}")


@MODES
@pytest.mark.parametrize("length", [100_000, 1 << 21, 1 << 40, (1 << 64) - 1])
def test_tfrecord_with_a_forged_length_beyond_its_end(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], length: int, salvage: bool
) -> None:
    container = replace(intact["tfrecord"], request=Request(max_record_bytes=1 << 20))
    at = starts(container.data)[17]
    columns, data = settle(container, tmp_path, salvage=salvage), forged(container.data, at, length)
    tracemalloc.start()
    try:
        found = read(container, tmp_path, columns, data)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    check(found, clean["tfrecord"], 17, f"truncated within a record of {length} bytes at byte {at}")


def test_tfrecord_with_a_forged_length_within_it(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome]
) -> None:
    """A record that ends early: its checksum is none, and what follows it is no record."""
    container, at = intact["tfrecord"], starts(intact["tfrecord"].data)[17]
    data = forged(container.data, at, 50)
    found = read(container, tmp_path, settle(container, tmp_path), data)
    check(found, clean["tfrecord"], 17, f"the checksum of a record's data does not match at byte {at}")
    found = read(container, tmp_path, settle(container, tmp_path, salvage=True), data)
    assert (found.good, [*found.bad]) == (begin(clean["tfrecord"], 17), [17])
    assert str(found.error).endswith(f"the checksum of a record's length does not match at byte {at + 66}")


@MODES
@SIZES
@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_tfrecord_with_records_that_are_too_large(
    tmp_path: Path, digits: Any, packed: Callable[[bytes], bytes], size: int, salvage: bool
) -> None:
    """They cost themselves, and nothing of them is held."""
    files = damaged.images(digits)
    files[3], files[39] = bytes(3 << 20), bytes(1 << 20)
    data = damaged.tfrecord(damaged.examples(files))
    container = Container(
        format="tfrecord", name="a.tfrecord", data=packed(data), request=Request(max_record_bytes=10_000)
    )
    columns = settle(container, tmp_path, salvage=salvage)
    found = read(container, tmp_path, columns, size=size)
    assert found.error is None
    assert {at: values[1] for at, values in found.good.items()} == {
        at: file for at, file in enumerate(files) if at not in (3, 39)
    }
    sizes = np.diff(starts(data)) - 16
    assert {at: (fault.reason, fault.data, fault.detail) for at, fault in found.bad.items()} == {
        at: (Reason.RECORD_TOO_LARGE, None, f"{sizes[at]} bytes; the most is 10000") for at in (3, 39)
    }


def test_tfrecord_that_is_written_again_lacks_bad_records_only(tmp_path: Path, digits: Any) -> None:
    files = damaged.images(digits)
    files[3] = bytes(20_000)
    records = damaged.examples(files)
    data = damaged.tfrecord(records)
    data = flip(data, 8 * (starts(data)[9] + 30))
    shard = shard_of(tmp_path / "a.tfrecord", data)
    request = Request(max_record_bytes=10_000, salvage=True, whole=True)
    reader = reader_for("tfrecord")
    columns = reader.settle(shard, request)
    parts = [raw.records() for raw in reader.read(Unit(id="u", format="tfrecord", shards=(shard,)), columns, 16)]
    kept = [part.source[at] for part in parts for at in range(len(part)) if at not in part.faults]  # type: ignore[index]
    assert kept == [record for at, record in enumerate(records) if at not in (3, 9)]


# ---- gzip


GZIPPED = pytest.mark.parametrize("kind", ["tfrecord", "tar"])


@MODES
@GZIPPED
def test_gzip_that_is_cut(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], kind: str, salvage: bool
) -> None:
    """All that can be decompressed is there; the checksum would come last."""
    packed = intact[f"{kind}.gz"]
    columns = settle(packed, tmp_path, salvage=salvage)
    for cut in (len(packed.data) // 2, len(packed.data) - 8, len(packed.data) - 1):
        found = read(packed, tmp_path, columns, packed.data[:cut])
        assert found.good == begin(clean[kind], found.lost)
        assert str(found.error).endswith(f"the gzip stream is truncated at byte {cut}")
    assert found.lost == COUNT - (kind == "tar")  # whose last sample might go on


@MODES
@GZIPPED
def test_gzip_with_something_behind_it(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], kind: str, salvage: bool
) -> None:
    packed = intact[f"{kind}.gz"]
    columns = settle(packed, tmp_path, salvage=salvage)
    for gap in (0, 100):
        found = read(packed, tmp_path, columns, packed.data + bytes(gap) + b"garbage")
        count = COUNT - (kind == "tar")  # whose last sample might go on
        check(found, clean[kind], count, f"data after the gzip stream's end at byte {len(packed.data) + gap}")
    found = read(packed, tmp_path, columns, packed.data + bytes(1000))
    assert (found.good, found.error) == (clean[kind].good, None)


@MODES
@GZIPPED
def test_gzip_of_several_members(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], kind: str, salvage: bool
) -> None:
    """Cut between two of them, nothing of gzip tells; the format that is inside does where it can."""
    packed, data = intact[f"{kind}.gz"], intact[kind].data
    columns = settle(packed, tmp_path, salvage=salvage)
    third = len(data) // 3
    parts = [gzip.compress(data[at : at + third], mtime=0) for at in range(0, len(data), third)]
    found = read(packed, tmp_path, columns, b"".join(parts))
    assert (found.good, found.error) == (clean[kind].good, None)
    found = read(packed, tmp_path, columns, b"".join(parts[:2]))
    assert found.good == begin(clean[kind], found.lost)
    assert found.error is not None
    # A wrong checksum in the second member takes nothing from the first.
    wrong = bytearray(parts[1])
    wrong[-8] ^= 1
    found = read(packed, tmp_path, columns, b"".join([parts[0], bytes(wrong), *parts[2:]]))
    assert "the gzip stream is damaged (incorrect data check)" in str(found.error)
    assert found.good == begin(clean[kind], found.lost)
    assert found.lost > COUNT // 3 - 4


@pytest.mark.parametrize("at", [2000, -6], ids=["data", "checksum"])
def test_gzip_whose_checksum_is_wrong_is_kept_only_as_far_as_another_one_proves_it(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], at: int
) -> None:
    """TFRecord has its own checksums; of a tar archive nobody knows where the damage is."""
    for kind in ("tfrecord", "tar"):
        packed = intact[f"{kind}.gz"]
        data = flip(packed.data, 8 * (at % len(packed.data)) + 3)
        found = read(packed, tmp_path, settle(packed, tmp_path, salvage=True), data)
        assert "the gzip stream is damaged" in str(found.error)
        assert all(clean[kind].good[index] == values for index, values in found.good.items())
        assert (len(found.good) > 0) == (kind == "tfrecord")
        assert at > 0 or kind == "tar" or found.lost == COUNT


def test_the_place_where_gzip_finds_the_damage_is_named(tmp_path: Path, intact: dict[str, Container]) -> None:
    packed = intact["tfrecord.gz"]
    found = read(packed, tmp_path, settle(packed, tmp_path), flip(packed.data, 8 * (len(packed.data) - 8)))
    assert found.lost == COUNT
    # The last byte of the CRC, the first of the trailer's two numbers, completes it.
    assert str(found.error).endswith(
        "the gzip stream is damaged (incorrect data check), which shows in the compressed file"
        f" at byte {len(packed.data) - 5}"
    )


def bomb(head: bytes, zeros: int, tail: bytes = b"") -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
        file.write(head)
        for _ in range(zeros >> 20):
            file.write(bytes(1 << 20))
        file.write(tail)
    return out.getvalue()


BIG = 128 << 20


def endless(data: bytes) -> bytes:
    """An archive without its end."""
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        last = opened.getmembers()[-1]
    return data[: last.offset_data + last.size + -last.size % 512]


def large_member() -> bytes:
    info = tarfile.TarInfo("9999.png")
    info.size = BIG
    return info.tobuf()


def large_record() -> bytes:
    length = struct.pack("<Q", BIG)
    return length + masked(length)


# of a kind, what is added to the shard before very many zeros and what after them; and the error where there is one
BOMBS: dict[str, tuple[str, Callable[[bytes], bytes], bytes, str | None]] = {
    "end": ("tar", bytes, b"", None),
    "member": ("tar", lambda data: endless(data) + large_member(), bytes(1024), None),
    "no record": ("tfrecord", bytes, b"", "the checksum of a record's length does not match"),
    "record": ("tfrecord", lambda data: data + large_record(), b"crc!", None),
    "rows": ("npy", bytes, b"", "more bytes follow the last of its 40 rows"),
}


@pytest.mark.parametrize("which", BOMBS)
def test_gzip_that_unpacks_to_very_much(tmp_path: Path, intact: dict[str, Container], which: str) -> None:
    """It is walked through in constant memory, at the speed of decompression, and never held."""
    kind, head, tail, says = BOMBS[which]
    container = replace(intact[f"{kind}.gz"], request=Request(max_record_bytes=1 << 20))
    columns, data = settle(container, tmp_path), bomb(head(intact[kind].data), BIG, tail)
    assert len(data) < BIG // 900
    tracemalloc.start()
    try:
        found = read(container, tmp_path, columns, data)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    assert len(found.good) == COUNT
    assert (found.error is None) if says is None else says in str(found.error)
    assert [fault.reason for fault in found.bad.values()] == [Reason.RECORD_TOO_LARGE] * (which in ("member", "record"))


# ---- tar


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
            says = f"the checksum of a member's header does not match at byte {at}"
            check(found, clean["tar"], count, says)


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
    columns = replace(settle(container, tmp_path, salvage=salvage), carry=damaged.pa.schema([]))
    before = sorted(os.listdir(tmp_path))  # noqa: PTH208
    found = read(container, tmp_path, columns, archive(members, "pax"))
    assert found.error is None
    assert found.good == {at: (name.rpartition(".png")[0], b"%d" % at) for at, name in enumerate(HOSTILE)}
    assert sorted(os.listdir(tmp_path)) == before  # noqa: PTH208


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
    columns = replace(settle(container, tmp_path), carry=damaged.pa.schema([]))
    shard = shard_of(tmp_path / "b.tar", archive(members, "pax"))
    unit = Unit(id="u", format="webdataset", shards=(shard,))
    parts = [raw.records() for raw in reader_for("webdataset").read(unit, columns, 256, 3_000_000)]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert [value for part in parts for value in part.payload.to_pylist()] == [b"%d" % at for at in range(12)]


# ---- Parquet


@MODES
@SIZES
def test_parquet_with_a_corrupt_page(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], size: int, salvage: bool
) -> None:
    """Sixteen rows in each row group: the one with the damage is lost, and what follows."""
    container, truth = intact["parquet plain"], clean["parquet plain"]
    at = container.data.index(truth.good[21][1])
    found = read(container, tmp_path, settle(container, tmp_path, salvage=salvage), flip(container.data, 8 * at), size)
    assert found.good == begin(truth, found.lost)
    assert found.lost == 16 if salvage else found.lost <= 20
    assert "rows 16 to 31 (row group 1) and what follows cannot be read: could not verify page" in str(found.error)


def test_parquet_with_a_page_that_says_another_number_of_values_gives_nothing_that_is_shifted(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome]
) -> None:
    """Headers of pages have no checksum. Every bit of those of the second row group, one after another."""
    container, truth = intact["parquet plain"], clean["parquet plain"]
    columns = settle(container, tmp_path, salvage=True)
    start = container.data.index(truth.good[16][1]) - 60
    headers = [at for at in range(start, start + 60) if at < container.data.index(truth.good[16][1])]
    lost = set()
    for bit in (8 * at + bit for at in headers for bit in range(8)):
        found = read(container, tmp_path, columns, flip(container.data, bit))
        assert found.good == begin(truth, found.lost), bit
        lost.add(found.lost)
    assert lost >= {16, COUNT}


@MODES
@pytest.mark.parametrize("cut", [1, 8, 100, 5000])
def test_parquet_without_its_whole_footer(
    tmp_path: Path, intact: dict[str, Container], cut: int, salvage: bool
) -> None:
    container = intact["parquet"]
    found = read(container, tmp_path, settle(container, tmp_path, salvage=salvage), container.data[:-cut])
    assert (found.lost, type(found.error)) == (0, ShardError)


@MODES
def test_parquet_with_another_schema(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], salvage: bool
) -> None:
    container = intact["parquet"]
    table = pq.read_table(io.BytesIO(container.data)).rename_columns(["image", "other"])
    out = io.BytesIO()
    pq.write_table(table, out)
    found = read(container, tmp_path, settle(container, tmp_path, salvage=salvage), out.getvalue())
    check(found, clean["parquet"], 0, "there are: image: struct<bytes: binary, path: string>, other: int64")


# ---- arrays


ARRAYS = ("npz", "npz stored", "npy", "npy.gz", "idx.gz")


@MODES
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_that_are_cut(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], kind: str, salvage: bool
) -> None:
    """Numbers have no framing that tells how far they are right: to be kept, an array must be whole."""
    container = intact[kind]
    columns = settle(container, tmp_path, salvage=salvage)
    for cut in (1, 9, len(container.data) // 2, len(container.data) - 20):
        found = read(container, tmp_path, columns, container.data[:-cut])
        assert type(found.error) is ShardError
        assert found.good == begin(clean[kind], found.lost)
        assert found.lost == 0 or not salvage


@pytest.mark.parametrize("kind", ["npz", "npz stored", "npy.gz", "idx.gz"])
def test_arrays_whose_checksum_is_wrong(tmp_path: Path, intact: dict[str, Container], kind: str) -> None:
    """With one number changed all else is right, and nobody can know. More than any library decompresses at once."""
    numbers = np.random.default_rng(1).integers(0, 256, (20_000, 8, 8), np.uint8)
    packed = {
        "npz": lambda: damaged.npz(x=numbers),
        "npz stored": lambda: damaged.npz(np.savez, x=numbers),
        "npy.gz": lambda: gzip.compress(damaged.npy(numbers), 1),
        "idx.gz": lambda: gzip.compress(damaged.idx(numbers), 1),
    }
    container = replace(intact[kind], data=packed[kind]())
    at = len(container.data) - 8 if kind.endswith(".gz") else container.data.index(b"PK\1\2") + 16  # the CRC-32
    data = flip(container.data, 8 * at)
    found = read(container, tmp_path, settle(container, tmp_path), data, 256)
    assert ("CRC" in str(found.error), found.lost > 10_000) == (True, True)
    found = read(container, tmp_path, settle(container, tmp_path, salvage=True), data, 256)
    assert ("CRC" in str(found.error), found.lost) == (True, 0)


HEADERS = {
    "shape": (b"(40, 8, 8)", b"(41, 8, 8)", "asks for 2752 bytes and there are 2688"),
    "huge": (b"(40, 8, 8), ", b"(9999999,8),", "asks for 80000120 bytes and there are 2688"),
    "objects": (b"'|u1'", b"'|O' ", "holds |O, not numbers"),
    "structure": (b"'|u1', 'f", b"[('a',8)f", "not a .npy header"),
    "words": (b"'shape'", b"'sharp'", "not a .npy header"),
    "order": (b"False", b"Falsy", "not a .npy header"),
}


@MODES
@pytest.mark.parametrize("what", HEADERS)
def test_npy_with_a_forged_header(tmp_path: Path, intact: dict[str, Container], what: str, salvage: bool) -> None:
    old, new, says = HEADERS[what]
    container = intact["npy"]
    data = container.data.replace(old, new)
    assert len(data) == len(container.data)
    found = read(container, tmp_path, settle(container, tmp_path, salvage=salvage), data)
    assert (found.lost, type(found.error), says in str(found.error)) == (0, ShardError, True)


@MODES
def test_idx_whose_counts_are_wrong(tmp_path: Path, digits: Any, salvage: bool) -> None:
    whole = damaged.idx(digits[:COUNT])
    container = Container(format="array", name="a.idx3-ubyte", data=whole)
    columns = settle(container, tmp_path, salvage=salvage)
    for count in (COUNT - 1, COUNT + 1, 0xFFFFFFFF):
        found = read(container, tmp_path, columns, whole[:4] + count.to_bytes(4, "big") + whole[8:])
        assert (found.lost, found.error.problem if found.error else "") == (
            0,
            f"its header asks for {16 + 64 * count} bytes and there are {len(whole)}; it is damaged",
        )


@MODES
def test_npz_that_unpacks_to_more_than_it_says(tmp_path: Path, intact: dict[str, Container], salvage: bool) -> None:
    """300 MB of zeros behind a header of 40 rows, and a directory that agrees with the header."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("y.npy", damaged.npy(np.arange(COUNT)))
        file.writestr("x.npy", damaged.npy(np.zeros((COUNT, 8, 8), np.uint8)) + bytes(300 << 20))
    data = bytearray(out.getvalue())
    at = data.rindex(b"PK\1\2") + 24
    data[at : at + 4] = struct.pack("<I", 128 + 64 * COUNT)
    container = intact["npz"]
    columns = settle(container, tmp_path, salvage=salvage)
    tracemalloc.start()
    try:
        found = read(container, tmp_path, columns, bytes(data))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert found.error is not None
    assert found.lost == 0 or not salvage


def test_npz_of_a_directory_that_is_too_large_is_not_opened(tmp_path: Path, intact: dict[str, Container]) -> None:
    container = intact["npz"]
    columns = settle(container, tmp_path)
    at = container.data.rindex(b"PK\5\6") + 12
    for comment in (b"", b"a comment"):
        size = struct.pack("<I", (8 << 20) + 1)
        data = container.data[:at] + size + container.data[at + 4 : -2] + struct.pack("<H", len(comment)) + comment
        found = read(container, tmp_path, columns, data)
        assert "an archive whose directory has 8388609 bytes; the most is 8388608" in str(found.error)


# ---- a store that fails, and a shard that is not the planned one


ANY = pytest.mark.parametrize("kind", ["tfrecord", "tfrecord.gz", "tar", "tar.gz", "parquet", "npz", "npy", "idx.gz"])


@ANY
@MODES
def test_a_shard_that_is_gone_or_cannot_be_read_is_no_damage(
    tmp_path: Path, intact: dict[str, Container], kind: str, salvage: bool
) -> None:
    container = intact[kind]
    columns = settle(container, tmp_path, salvage=salvage)
    path = tmp_path / container.name
    shard = shard_of(path)
    path.unlink()
    assert_unreadable(read_shard(container.format, shard, columns), str(errno.ENOENT))
    path.mkdir()
    assert_unreadable(read_shard(container.format, shard, columns), str(errno.EISDIR))
    path.rmdir()
    path.symlink_to("/proc/self/mem")  # whose first byte no one can read, and which has no end
    assert_unreadable(read_shard(container.format, shard, columns), "the store failed: [Errno")


def assert_unreadable(found: Outcome, says: str) -> None:
    assert found.lost == 0
    assert isinstance(found.error, UnreadableError)
    assert says in str(found.error)


def changes() -> dict[str, Callable[[bytes], bytes]]:
    return {
        "longer": lambda data: data + data,
        "shorter": lambda data: data[: len(data) // 2],
        "empty": lambda data: b"",
        "other": lambda data: bytes(len(data)),
        "touched": bytes,
    }


@ANY
@MODES
@pytest.mark.parametrize("change", changes())
def test_a_shard_that_changed_since_it_was_planned_is_no_damage(
    tmp_path: Path, intact: dict[str, Container], kind: str, salvage: bool, change: str
) -> None:
    container = intact[kind]
    columns = settle(container, tmp_path, salvage=salvage)
    path = tmp_path / container.name
    shard = shard_of(path)
    path.write_bytes(changes()[change](container.data))
    os.utime(path, ns=(0, 0))
    error = read_shard(container.format, shard, columns).error
    assert isinstance(error, UnreadableError)
    now = len(changes()[change](container.data))
    assert error.problem == f"changed since it was planned ({shard.size} bytes then, {now} now); run again"


@pytest.mark.parametrize("kind", ["tfrecord", "tar", "parquet", "npy"])
def test_a_shard_that_changes_while_it_is_read_is_found_out(
    tmp_path: Path, intact: dict[str, Container], kind: str
) -> None:
    container = intact[kind]
    columns: Columns = settle(container, tmp_path)
    path = tmp_path / container.name
    shard = shard_of(path)
    reading = reader_for(container.format).read(Unit(id="u", format="x", shards=(shard,)), columns, 16)
    assert len(next(reading).records()) == 16
    os.utime(path, ns=(0, 0))
    with pytest.raises(UnreadableError, match="changed since it was planned"):
        list(reading)


class Failing(io.BytesIO):
    """A store's stream whose connection breaks in the middle."""

    def __init__(self, data: bytes, error: OSError) -> None:
        super().__init__(data)
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() < len(self.getbuffer()) // 2:
            raise self._error
        return super().read(size)


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "no"), ConnectionError("reset"), TimeoutError("late"), OSError(5, "x")], ids=repr
)
@pytest.mark.parametrize("through", ["parquet", "npz", "gzip"])
def test_a_stores_error_stays_one_when_it_passes_through_a_library(
    tmp_path: Path, intact: dict[str, Container], through: str, error: OSError
) -> None:
    def read_all(stream: io.BytesIO) -> None:
        if through == "parquet":
            list(pq.ParquetFile(stream, buffer_size=1 << 10, pre_buffer=False).iter_batches())
        elif through == "npz":
            zipfile.ZipFile(stream).read("x.npy")
        else:
            gzip.GzipFile(fileobj=stream).read()

    data = intact[{"gzip": "npy.gz"}.get(through, through)].data
    shard = shard_of(tmp_path / "a", data)
    with damage(shard):
        read_all(io.BytesIO(data))
    with pytest.raises(UnreadableError, match="a: the store failed"), damage(shard):
        read_all(Failing(data, error))
    with pytest.raises(ShardError) as caught, damage(shard):
        read_all(io.BytesIO(data[: len(data) // 2]))
    assert type(caught.value) is ShardError


def test_memory_that_runs_out_is_no_damage(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a", b"")
    with pytest.raises(UnreadableError, match="a: memory ran out"), damage(shard):
        damaged.pa.allocate_buffer(1 << 62)


@MODES
def test_a_file_of_a_folder_that_is_gone_or_changed_fails_its_group(tmp_path: Path, digits: Any, salvage: bool) -> None:
    reader = reader_for("folder")
    shards = [shard_of(tmp_path / f"{at}.png", data) for at, data in enumerate(damaged.images(digits))]
    columns = reader.settle(shards[0], Request(salvage=salvage))
    unit = Unit(id="u", format="folder", shards=shards)
    Path(shards[7].uri).write_bytes(b"x")
    with pytest.raises(UnreadableError, match=r"^7\.png: has no longer the \d+ bytes"):
        list(reader.read(unit, columns, 16))
    Path(shards[7].uri).unlink()
    with pytest.raises(UnreadableError, match=r"^7\.png: cannot be read: .*No such file"):
        list(reader.read(unit, columns, 16))
