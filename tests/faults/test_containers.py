"""Damaged TFRecord, Parquet and array shards: which records are given, which are lost, what the error says."""

import gzip
import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ShardError
from pipeline.readers import Request, reader_for
from pipeline.records import Reason, Unit
from tests.faults import damaged
from tests.faults.damaged import (
    COUNT,
    MODES,
    SIZES,
    Container,
    Outcome,
    begin,
    check,
    flip,
    masked,
    read,
    settle,
    starts,
)
from tests.pipeline.readers.support import shard_of

# ---- TFRecord


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
    kept = [part.source[at] for part in parts for at in range(len(part)) if at not in part.faults]
    assert kept == [record for at, record in enumerate(records) if at not in (3, 9)]


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
