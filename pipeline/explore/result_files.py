"""Results of the questions about an output, as files."""

import json

import pyarrow as pa

from lake.storage import store_for


def write_result(table: pa.Table, file: str) -> None:
    """Write a result as a Parquet table.

    Args:
      table: the result.
      file: local path, or URI in a store.

    Raises:
      OSError: it cannot be written.
    """
    import pyarrow.parquet as pq

    with store_for(file).create(file) as sink:
        pq.write_table(table, sink, compression="zstd")


def write_dropped(dropped: pa.Table, file: str) -> None:
    """Write which records to drop: a line of JSON with shard, index and key for each.

    Args:
      dropped: what ``Duplicates.dropped`` returned.
      file: local path, or URI in a store.

    Raises:
      OSError: it cannot be written.
    """
    with store_for(file).create(file) as sink:
        for row in dropped.select(["shard", "index", "key"]).to_pylist():
            sink.write(json.dumps(row).encode() + b"\n")
