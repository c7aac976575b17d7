from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.formats.common import parquet_table as tables
from lake.formats.common.parquet_table import TableEncoding, TableWriter
from lake.storage import store_for
from pipeline.output.units.latent_columns import LatentColumns
from pipeline.output.units.tables import latent_schema

SCHEMA = pa.schema([("name", pa.string()), ("value", pa.float32())])


def batch(start: int, count: int) -> pa.RecordBatch:
    values = np.arange(start, start + count, dtype=np.float32)
    return pa.RecordBatch.from_arrays([pa.array(["x"] * count), pa.array(values)], schema=SCHEMA)


def writer(path: Path) -> TableWriter:
    return TableWriter(
        store_for(str(path)).create(str(path)), path.name, SCHEMA, {"made": "here"}, TableEncoding(dictionary=("name",))
    )


def test_rows_come_back_in_order_with_checksums_and_metadata(tmp_path: Path) -> None:
    table = writer(tmp_path / "t.parquet")
    for start in range(0, 100, 10):
        table.write(batch(start, 10))
    output = table.publish()
    read = pq.read_table(tmp_path / "t.parquet", page_checksum_verification=True)
    assert read["value"].to_pylist() == list(range(100))
    assert read.schema.metadata[b"made"] == b"here"
    assert (output.rows, output.size) == (100, (tmp_path / "t.parquet").stat().st_size)
    column = pq.read_metadata(tmp_path / "t.parquet").row_group(0).column(0)
    assert column.compression == "ZSTD"


def test_batches_without_rows_make_no_row_group(tmp_path: Path) -> None:
    sizes = list[list[int]]()
    for counts in ([0], [0, 3, 0]):
        table = writer(tmp_path / "t.parquet")
        for count in counts:
            table.write(batch(0, count))
        assert table.publish().rows == sum(counts)
        footer = pq.read_metadata(tmp_path / "t.parquet")
        sizes.append([footer.row_group(i).num_rows for i in range(footer.num_row_groups)])
        assert pq.read_table(tmp_path / "t.parquet").schema == SCHEMA.with_metadata({"made": "here"})
    assert sizes == [[], [3]]


def test_an_aborted_table_leaves_nothing(tmp_path: Path) -> None:
    table = writer(tmp_path / "t.parquet")
    table.write(batch(0, 10))
    table.abort()
    del table
    assert list(tmp_path.iterdir()) == []


def test_row_groups_follow_from_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_ROW_GROUP_BYTES", batch(0, 1000).nbytes)
    table = writer(tmp_path / "t.parquet")
    for _ in range(7):
        table.write(batch(0, 500))
    table.publish()
    footer = pq.read_metadata(tmp_path / "t.parquet")
    assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [1000, 1000, 1000, 500]


def test_latents_are_a_fixed_size_list_of_the_same_numbers() -> None:
    latents = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    columns = LatentColumns(dimension=7)
    (column,), clipped = columns.arrays([latents])
    assert clipped == 0
    assert column.type == latent_schema(columns, False, pa.schema([])).field("latent").type
    np.testing.assert_array_equal(np.array(column.to_pylist(), np.float32), latents)


def test_carried_names_never_clash() -> None:
    carry = pa.schema([("key", pa.string()), ("source_key", pa.string()), ("label", pa.int64())])
    names = latent_schema(LatentColumns(dimension=3), True, carry).names
    assert names == ["key", "shard", "index", "latent", "mse", "psnr", "source_source_key", "source_key", "label"]
    assert len(set(names)) == len(names)
