"""Rows sorted into partitions: each in the order of the source, and the same bytes however many wait in memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import ShardError
from lake.formats.common.hive import NULL
from lake.formats.common.parquet_table import TableEncoding, TableWriter
from lake.storage import store_for
from pipeline.worker import sorted_rows
from pipeline.worker.partitioned_table import PartitionedTable

SCHEMA = pa.schema([("shard", pa.dictionary(pa.int32(), pa.string())), ("index", pa.int64()), ("by", pa.string())])


def write(place: Path, batches: list[pa.RecordBatch]) -> dict[str, pa.Table]:
    def opened(partition: str, schema: pa.Schema) -> TableWriter:
        sink = store_for(str(place)).create(f"{place}/{partition}/u.parquet")
        return TableWriter(sink, f"{partition}/u.parquet", schema, {}, TableEncoding())

    table = PartitionedTable("u", SCHEMA, "by", opened)
    for batch in batches:
        table.write(batch)
    published = table.publish()
    found = {file.name.partition("/")[0]: pq.read_table(place / file.name, partitioning=None) for file in published}
    assert [found[file.name.partition("/")[0]].num_rows for file in published] == [file.rows for file in published]
    return found


def rows(rng: np.random.Generator, start: int, count: int) -> pa.RecordBatch:
    names = [f"s{start}", "t"]
    shard = pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, 2, count).astype(np.int32)), pa.array(names))
    by = [None if value == 3 else f"v{value}" for value in rng.integers(0, 9, count)]
    return pa.RecordBatch.from_arrays([shard, pa.array(range(start, start + count)), pa.array(by)], schema=SCHEMA)


@pytest.mark.parametrize("room", [1 << 30, 20_000, 1])
def test_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """In memory, in a file as well, and all of them there."""
    monkeypatch.setattr(sorted_rows, "_ROOM", room)
    rng = np.random.default_rng(room)
    batches = [rows(rng, 500 * number, 500) for number in range(6)]
    found, wanted = write(tmp_path, batches), dict[str, list[tuple[str, int]]]()
    for batch in batches:
        for row in batch.to_pylist():
            wanted.setdefault(f"by={row['by'] or NULL}", []).append((row["shard"], row["index"]))
    assert {
        name: [(row["shard"], row["index"]) for row in table.to_pylist()] for name, table in found.items()
    } == wanted


def test_no_rows_are_no_files(tmp_path: Path) -> None:
    assert write(tmp_path, [rows(np.random.default_rng(0), 0, 0)]) == {} and list(tmp_path.iterdir()) == []


def test_a_value_that_is_no_name(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_pylist([{"shard": "a", "index": 0, "by": "x" * 300}], schema=SCHEMA)
    with pytest.raises(ShardError, match=r"^u: the value 'xxx.* takes 303 bytes as the name of a directory, and 255"):
        write(tmp_path, [batch])
