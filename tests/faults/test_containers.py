"""Damaged TFRecord and Parquet shards: which records are given, which are lost, what the error says."""

import gzip
import io
import re
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lake.core.errors import ShardError
from lake.core.records import Reason, Unit
from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection
from lake.formats.tfrecord.framing import Frames, framed
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
from tests.lake.formats.support import shard_of

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


@SIZES
@pytest.mark.parametrize("byte", range(12), ids=lambda byte: f"byte{byte}")
def test_tfrecord_with_a_flipped_length(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], byte: int, size: int
) -> None:
    """One record, since the checksum of its data tells where it ends."""
    container, truth = intact["tfrecord"], clean["tfrecord"]
    for record in (30, COUNT - 1):
        at = starts(container.data)
        data = flip(container.data, 8 * (at[record] + byte) + byte % 8)
        found = read(container, tmp_path, settle(container, tmp_path), data, size)
        check(found, truth, record, f"the checksum of a record's length does not match at byte {at[record]}")
        found = read(container, tmp_path, settle(container, tmp_path, salvage=True), data, size)
        assert found.error is None
        assert found.good == {i: values for i, values in truth.good.items() if i != record}
        assert {i: (f.reason, f.data, f.detail) for i, f in found.bad.items()} == {
            record: (
                Reason.CORRUPT_RECORD,
                data[at[record] + 12 : at[record + 1] - 4],
                f"the checksum of the record's length does not match at byte {at[record]}",
            )
        }


def test_tfrecord_with_damage_across_records(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome]
) -> None:
    """How many there were nothing tells, so that the numbers of those after them are not known."""
    container = intact["tfrecord"]
    at = starts(container.data)
    columns = settle(container, tmp_path, salvage=True)
    for first, last in ((at[30] + 2, at[30] + 40), (at[30] + 2, at[31] + 20), (at[30] + 2, at[33] + 2)):
        data = container.data[:first] + bytes(last - first) + container.data[last:]
        found = read(container, tmp_path, columns, data)
        check(found, clean["tfrecord"], 30, f"the checksum of a record's length does not match at byte {at[30]}")


def test_tfrecord_of_tfrecords_with_a_flipped_length(tmp_path: Path) -> None:
    """The records in its data, whose lengths and data are right, are none of its own."""
    inner = [framed([bytes([at]) * 30]) * 3 for at in range(4)]
    data = framed([*inner[:2], b"", *inner[2:]])
    at = starts(data)
    for record in range(5):
        shard = shard_of(tmp_path / "a.tfrecord", flip(data, 8 * at[record]))
        with closing(Frames(shard, 1000, salvage=True)) as frames:
            run, damage = frames.take(10)
        assert damage is None
        assert [*run.faults] == [record]
        assert [one for number, one in enumerate(run.records) if number != record] == [
            one for number, one in enumerate([*inner[:2], b"", *inner[2:]]) if number != record
        ]


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
    container = replace(intact["tfrecord"], request=ColumnSelection(max_record_bytes=1 << 20))
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
        format="tfrecord", name="a.tfrecord", data=packed(data), request=ColumnSelection(max_record_bytes=10_000)
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
    request = ColumnSelection(max_record_bytes=10_000, salvage=True, whole=True)
    reader = FORMATS["tfrecord"].reader
    columns = reader.settle(shard, request)
    parts = [raw.records() for raw in reader.read(Unit(id="u", format="tfrecord", shards=(shard,)), columns, 16)]
    kept = [part.source[at] for part in parts for at in range(len(part)) if at not in part.faults]
    assert kept == [record for at, record in enumerate(records) if at not in (3, 9)]


# ---- Parquet


@SIZES
def test_parquet_with_a_corrupt_page(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], size: int
) -> None:
    """Four rows in a page, sixteen in a row group. PNG images have checksums of their own."""
    container, truth = intact["parquet plain"], clean["parquet plain"]
    data = flip(container.data, 8 * (container.data.index(truth.good[21][1]) + 50))
    found = read(container, tmp_path, settle(container, tmp_path), data, size)
    assert found.good == begin(truth, found.lost)
    assert found.lost <= 20
    assert "rows 16 to 31 (row group 1) and what follows cannot be read: could not verify page" in str(found.error)
    found = read(container, tmp_path, settle(container, tmp_path, salvage=True), data, size)
    assert found.error is None
    assert found.good == {at: values for at, values in truth.good.items() if at != 21}
    assert {at: fault.reason for at, fault in found.bad.items()} == {21: Reason.CORRUPT_RECORD}
    assert re.fullmatch(
        r"the row is lost: the page of column 'image.bytes' at byte \d+ does not match its checksum",
        found.bad[21].detail,
    )


def test_parquet_with_a_page_that_says_another_number_of_values_gives_nothing_that_is_shifted(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome]
) -> None:
    """Headers of pages have no checksum. Every bit of one of the second row group, one after another."""
    container, truth = intact["parquet plain"], clean["parquet plain"]
    columns = settle(container, tmp_path, salvage=True)
    end = container.data.index(truth.good[16][1])
    outcomes = set()
    for bit in range(8 * (end - 30), 8 * end):
        found = read(container, tmp_path, columns, flip(container.data, bit))
        assert (found.error, found.lost) == (None, COUNT)
        assert found.good.items() <= truth.good.items(), bit
        assert found.bad.keys() <= set(range(12, 32)), bit  # the page before ends within the first bytes
        outcomes.add(len(found.bad))
    assert 16 in outcomes


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


# ---- Arrow


@MODES
@SIZES
@pytest.mark.parametrize("left", [0, 4, 40, 600])
def test_an_arrow_stream_that_is_cut(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], left: int, size: int, salvage: bool
) -> None:
    """Record batches of sixteen rows: those before the cut are given."""
    container = intact["arrow"]
    at = container.data.index(clean["arrow"].good[16][1])
    found = read(container, tmp_path, settle(container, tmp_path, salvage=salvage), container.data[: at + left], size)
    assert (found.good, found.bad) == (begin(clean["arrow"], 16), {})
    assert "record batch 1, from row 16 on, and what follows cannot be read: it is cut" in str(found.error)


@MODES
def test_an_arrow_file_without_its_index(tmp_path: Path, intact: dict[str, Container], salvage: bool) -> None:
    container = intact["arrow file"]
    for cut in (1, 8, 100, 3000):
        found = read(container, tmp_path, settle(container, tmp_path, salvage=salvage), container.data[:-cut])
        assert found.lost == 0
        assert "its index is damaged or cut" in str(found.error)
