"""Receipts as rows of a Parquet file, each with a checksum: what a manifest, and each of its parts, is made of."""

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.output.units.receipts import Receipt

ROW_SCHEMA = pa.schema(
    [
        ("unit", pa.string()),
        ("fingerprint", pa.string()),
        ("options", pa.string()),
        ("retried", pa.string()),
        ("read", pa.int64()),
        ("results", pa.int64()),
        ("rejects", pa.map_(pa.string(), pa.int64())),
        (
            "outputs",
            pa.list_(
                pa.struct([("name", pa.string()), ("size", pa.int64()), ("rows", pa.int64()), ("crc32c", pa.string())])
            ),
        ),
        ("check", pa.string()),  # crc32c of the row's receipt as JSON
    ]
)
UNITS = b"latentlake.units"  # key in the footer: the number of rows
_AT_ONCE = 1000  # rows that are Python objects at a time


def encode_rows(receipts: Sequence[Receipt]) -> bytes:
    """Write receipts as a Parquet file. Equal receipts in equal order give equal bytes: timings are left out.

    Args:
      receipts: sorted by unit.
    """
    metadata = {UNITS: str(len(receipts))}
    return encode_table(pa.Table.from_batches(_batches(receipts), ROW_SCHEMA.with_metadata(metadata)).combine_chunks())


def encode_table(table: pa.Table) -> bytes:
    """Write a table of the job's state as a Parquet file."""
    sink = BytesIO()
    # PyArrow writes no page checksums by default. Here they reveal a damaged manifest when it is read.
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def parse_rows(table: pa.Table) -> list[Receipt]:
    """Parse the rows of a manifest. Any flipped bit that matters raises one of many kinds of errors.

    Parquet's pages have checksums, but its footer has none. Hence a checksum in every row, and the number of rows.

    Args:
      table: what ``encode_rows`` wrote.

    Raises:
      ValueError, TypeError, KeyError: it is not.
    """
    if table.schema.names != ROW_SCHEMA.names or table.num_rows != int(table.schema.metadata[UNITS]):
        raise ValueError("its footer is not the one that was written")
    return [_parse_row(row) for batch in table.to_batches(_AT_ONCE) for row in batch.to_pylist()]


def _batches(receipts: Sequence[Receipt]) -> Iterator[pa.RecordBatch]:
    # Rows take ten times the memory as Python objects, and there may be millions.
    for start in range(0, len(receipts), _AT_ONCE):
        yield pa.RecordBatch.from_pylist([row_of(r) for r in receipts[start : start + _AT_ONCE]], schema=ROW_SCHEMA)


def _parse_row(row: dict[str, Any]) -> Receipt:
    check = row.pop("check")
    receipt = Receipt._of({**row, "rejects": dict(row["rejects"])})
    if check != _check(receipt.to_dict()):
        raise ValueError(f"the row of unit {receipt.unit!r} is not the one that was written")
    return receipt


def row_of(receipt: Receipt) -> dict[str, Any]:
    """Return the row of a receipt."""
    value = receipt.to_dict()
    row = {name: value[name] for name in ("unit", "fingerprint", "options", "retried", "read", "results", "outputs")}
    return {**row, "rejects": sorted(receipt.rejects.items()), "check": _check(value)}


def _check(receipt: dict[str, Any]) -> str:
    # What is only said of the run is not in the manifest, so it cannot be part of the checksum.
    untimed = {**receipt, "seconds": 0.0, "first": None, "store_retries": 0}
    for name in ("several_pages", "clipped", "noise_below", "noise_above", "reused", "spent", "run"):
        untimed.pop(name, None)
    return f"{google_crc32c.value(json.dumps(untimed, sort_keys=True).encode()):08x}"
