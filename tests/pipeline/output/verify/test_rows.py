"""Rows of several tables of one unit."""

import pyarrow as pa

from pipeline.output.verify.rows import repeated


def batch(*records: tuple[str, int]) -> pa.RecordBatch:
    shards, index = zip(*records, strict=True)
    return pa.RecordBatch.from_pydict({"shard": pa.array(shards).dictionary_encode(), "index": pa.array(index)})


def test_a_record_has_one_row_in_all_tables() -> None:
    tables = [batch(("a", 0), ("a", 3), ("b", 1)), batch(("a", 1), ("b", 0)), batch(("a", 2))]
    assert repeated(tables) is None
    assert repeated([*tables, batch(("b", 2), ("b", 1))]) == "record 1 of 'b' has several rows"
