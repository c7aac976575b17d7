"""Parquet shards written by pyarrow, pandas, polars, DuckDB and Hugging Face datasets, read back and compared."""

import io
import tracemalloc
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import NoRecordsError, ShardError, UnreadableError
from lake.core.records import Reason, Shard, Unit
from lake.formats.reader import ColumnSelection
from tests.lake.formats.parquet.tables import (
    READER,
    STRUCT,
    batches,
    expected,
    faults_of,
    files,
    image_table,
    rows_of,
    shard_of,
    written,
)


@pytest.mark.parametrize("group", [1, 7, 100, 10_000])
@pytest.mark.parametrize("size", [1, 7, 64, 256, 1000])
def test_batches_have_the_asked_size_and_every_row_in_order(tmp_path: Path, group: int, size: int) -> None:
    table = image_table(500)
    shard = written(tmp_path / "a.parquet", table, row_group_size=group)
    parts = batches(shard, READER.settle(shard, ColumnSelection()), size)
    assert [len(part) for part in parts] == [min(size, 500 - at) for at in range(0, 500, size)]
    assert rows_of(parts) == expected(table)
    assert not faults_of(parts)


@pytest.mark.parametrize("group", [1, 7, 100])
def test_a_batch_ends_with_the_record_that_fills_its_room(tmp_path: Path, group: int) -> None:
    sizes = [10, 10, 95, 300, 0, 40, 40, 40, 1, 1, 1, 1, 1, 1, 100]
    table = pa.table({"image": [bytes([at]) * size for at, size in enumerate(sizes)]})
    shard = written(tmp_path / "a.parquet", table, row_group_size=group)
    parts = batches(shard, READER.settle(shard, ColumnSelection(carry=())), 5, room=100)
    assert [len(part) for part in parts] == [3, 1, 4, 5, 2]
    assert [row[2] for row in rows_of(parts)] == [bytes([at]) * size for at, size in enumerate(sizes)]


def test_what_whole_records_keep_counts_for_room(tmp_path: Path) -> None:
    table = pa.table({"image": [b"x"] * 8, "wide": [bytes(1000)] * 8})
    shard = written(tmp_path / "a.parquet", table, use_dictionary=False)
    for whole, sizes in ((False, [8]), (True, [3, 3, 2])):
        columns = READER.settle(shard, ColumnSelection(whole=whole))
        assert [len(part) for part in batches(shard, columns, 8, room=3000)] == sizes


def test_no_more_is_read_at_once_than_fits(tmp_path: Path) -> None:
    """Arrow's pool holds a batch of 1 MiB and the parts of the next, not 64 rows of 256 KiB."""
    table = pa.table({"image": [bytes([at]) * (1 << 18) for at in range(64)]})
    shard = written(tmp_path / "a.parquet", table, compression="none", use_dictionary=False, write_batch_size=4)
    del table
    columns, before, peak = READER.settle(shard, ColumnSelection()), pa.total_allocated_bytes(), 0
    for part in READER.read(Unit(id="u", format="parquet", shards=(shard,)), columns, 64, 1 << 20):
        peak = max(peak, pa.total_allocated_bytes() - before)
        assert len(part) == 4
    assert peak < 6 << 20


def test_whole_records_have_every_column(tmp_path: Path) -> None:
    table = pa.table(
        {
            "word": pa.array(["a", None, "b", "a"] * 5).dictionary_encode(),
            "image": pa.array([{"path": f"{at}", "bytes": b"x", "more": [at]} for at in range(20)]),
            "nested": pa.array([[{"a": at}] * (at % 3) for at in range(20)]),
        }
    ).replace_schema_metadata({"huggingface": "{}"})
    shard = written(tmp_path / "a.parquet", table, row_group_size=6)
    columns = READER.settle(shard, ColumnSelection(whole=True))
    sources = [part.source for part in batches(shard, columns, 7)]
    assert [len(source) for source in sources] == [7, 7, 6]
    found = pa.Table.from_batches(sources)
    assert found.schema.equals(pq.read_schema(tmp_path / "a.parquet"), check_metadata=True)
    without = [row | {"image": row["image"] | {"bytes": None}} for row in table.to_pylist()]
    assert found.to_pylist() == without
    assert all(part.source is None for part in batches(shard, READER.settle(shard, ColumnSelection())))


def test_slices_between_row_groups_make_the_whole(tmp_path: Path) -> None:
    table = image_table(100)
    shard = written(tmp_path / "a.parquet", table, row_group_size=30)
    columns = READER.settle(shard, ColumnSelection())
    assert READER.rows(shard) == (30, 30, 30, 10)
    edges = [0, *accumulate((30, 30, 30, 10))]
    parts = [part for a, b in pairwise(edges) for part in batches(shard, columns, 8, a, b)]
    assert rows_of(parts) == expected(table)
    assert rows_of(batches(shard, columns, 8, 30, 90)) == expected(table)[30:90]
    with pytest.raises(UnreadableError, match="no row groups at rows 30 to 80"):
        batches(shard, columns, 8, 30, 80)


def test_datasets_writes_what_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    pixels = [np.full((4, 5, 3), at, np.uint8) for at in range(20)]
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = {"img": pixels, "label": [at % 2 for at in range(20)]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    shard = shard_of(tmp_path / "a.parquet")
    read = rows_of(batches(shard, READER.settle(shard, ColumnSelection())))
    image = pytest.importorskip("PIL.Image")
    for at, (index, key, data, label) in enumerate(read):
        assert (index, key, label) == (at, str(at), at % 2)  # an array has no path
        assert np.array_equal(np.asarray(image.open(io.BytesIO(data))), pixels[at])
    assert len(read) == 20


def test_pandas_polars_and_duckdb_write_what_is_read(tmp_path: Path) -> None:
    pandas, polars, duckdb = (pytest.importorskip(name) for name in ("pandas", "polars", "duckdb"))
    data, names = files(50), [f"é{at}" for at in range(50)]
    columns = {"filename": names, "content": data, "label": list(range(50))}
    pandas.DataFrame(columns).astype({"label": "category"}).to_parquet(tmp_path / "pandas.parquet")
    polars.DataFrame(columns).write_parquet(tmp_path / "polars.parquet")
    duckdb.from_arrow(pa.table(columns)).write_parquet(str(tmp_path / "duckdb.parquet"))
    for path in sorted(tmp_path.iterdir()):
        shard = shard_of(path)
        assert rows_of(batches(shard, READER.settle(shard, ColumnSelection()))) == list(
            zip(range(50), names, data, range(50), strict=True)
        )


def test_a_null_struct_and_null_bytes_are_missing_images(tmp_path: Path) -> None:
    images = [{"bytes": b"x", "path": "a"}, None, {"bytes": None, "path": "c"}, {"bytes": b"y", "path": None}]
    shard = written(tmp_path / "a.parquet", pa.table({"image": pa.array(images, STRUCT)}))
    parts = batches(shard, READER.settle(shard, ColumnSelection()), 3)
    assert rows_of(parts) == [(0, "a", b"x"), (1, "1", None), (2, "c", None), (3, "3", b"y")]
    assert {at: fault.reason for at, fault in faults_of(parts).items()} == dict.fromkeys([1, 2], Reason.MISSING_IMAGE)


def test_an_image_over_the_limit_is_one_fault(tmp_path: Path) -> None:
    data = [b"a" * 10, b"b" * 101, None, b"c" * 100]
    shard = written(tmp_path / "a.parquet", pa.table({"image": data}))
    found = faults_of(batches(shard, READER.settle(shard, ColumnSelection(max_record_bytes=100)), 4))
    assert {at: fault.reason for at, fault in found.items()} == {1: Reason.RECORD_TOO_LARGE, 2: Reason.MISSING_IMAGE}
    assert found[1].detail == "101 bytes; the most is 100"


def test_a_shard_that_is_gone_is_named(tmp_path: Path) -> None:
    shard = written(tmp_path / "a.parquet", image_table(3))
    columns = READER.settle(shard, ColumnSelection())
    (tmp_path / "a.parquet").unlink()
    for attempt in (
        READER.rows,
        lambda gone: READER.settle(gone, ColumnSelection()),
        lambda gone: batches(gone, columns),
    ):
        with pytest.raises(ShardError, match=r"a\.parquet: "):
            attempt(shard)


def test_memory_does_not_grow_with_a_row_group(tmp_path: Path) -> None:
    """Arrow's own pool and Python's, while one group passes: a few batches and pages, whatever the group's size."""
    peaks = []
    for count in (2_000, 16_000):
        table = pa.table({"image": [bytes([at % 251]) * 2_000 + at.to_bytes(4) for at in range(count)]})
        shard = written(tmp_path / f"{count}.parquet", table, row_group_size=count, compression="none")
        del table
        peaks.append(peak_of_reading(shard))
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 8 << 20


def peak_of_reading(shard: Shard) -> int:
    columns, before, peak = READER.settle(shard, ColumnSelection()), pa.total_allocated_bytes(), 0
    tracemalloc.start()
    try:
        for _ in READER.read(Unit(id="u", format="parquet", shards=(shard,)), columns, 256):
            peak = max(peak, pa.total_allocated_bytes() - before)
        return peak + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_recognises_by_name_and_magic() -> None:
    assert READER.recognises("a/B.PARQUET", b"")
    assert READER.recognises("part-0", b"PAR1\x15\x04")
    assert not READER.recognises("a.png", b"\x89PNG\r\n\x1a\n")


def test_a_shard_without_rows_needs_no_columns(tmp_path: Path) -> None:
    """A writer does not know the type of a column without values, and may write none of the columns."""
    some = written(tmp_path / "a.parquet", image_table(3))
    columns = READER.settle(some, ColumnSelection())
    for number, table in enumerate(
        (
            pa.table({"image": pa.nulls(0), "label": pa.nulls(0)}),
            pa.table({"other": pa.array([], pa.int8())}),
            pa.table({}),
        )
    ):
        empty = written(tmp_path / f"empty{number}.parquet", table)
        for asked in (columns, replace(columns, whole=True), replace(columns, salvage=True)):
            assert list(batches(empty, asked, 16)) == []
        with pytest.raises(NoRecordsError, match=r"empty\d\.parquet: it has no rows"):
            READER.settle(empty, ColumnSelection(carry=("label",)))


@pytest.mark.parametrize("whole", [False, True])
def test_a_column_of_images_without_values_has_no_type(tmp_path: Path, whole: bool) -> None:
    columns = READER.settle(written(tmp_path / "a.parquet", image_table(3)), ColumnSelection(whole=whole))
    table = image_table(3)
    at = table.schema.get_field_index(columns.image)
    shard = written(tmp_path / "b.parquet", table.set_column(at, columns.image, pa.nulls(3)))
    (records,) = batches(shard, columns, 16)
    assert (records.payload.to_pylist(), records.key.to_pylist()) == ([None] * 3, ["0", "1", "2"])
    assert {fault.reason for fault in records.faults.values()} == {Reason.MISSING_IMAGE}
    assert len(records.faults) == 3


def test_row_groups_without_rows(tmp_path: Path) -> None:
    """As a writer leaves them that writes what it has gathered, at the end of a loop."""
    table = pa.table({"image": [b"one", b"two", b"three"], "label": [1, 2, 3]})
    for number, cuts in enumerate([(0, 0, 2, 2, 3, 3), (0, 3, 3), (0, 0, 0, 1, 3)]):
        file = tmp_path / f"{number}.parquet"
        with pq.ParquetWriter(file, table.schema) as writer:
            for start, stop in pairwise(cuts):
                writer.write_table(table.slice(start, stop - start))
        assert 0 in [pq.read_metadata(file).row_group(at).num_rows for at in range(len(cuts) - 1)]
        shard = shard_of(file)
        columns = READER.settle(shard, ColumnSelection(carry=("label",)))
        found = list(batches(shard, columns, 2))
        assert [data for part in found for data in part.payload.to_pylist()] == [b"one", b"two", b"three"]
        assert [label for part in found for label in part.carried["label"].to_pylist()] == [1, 2, 3]
