"""The manifest of an output: one Parquet file with the receipts of all units of the committed state."""

import json
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import Any

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq

from lake.core.errors import VerifyError
from lake.core.records import OutputFile
from lake.formats.common.parquet_file import read_table
from lake.storage import Guard, store_for
from pipeline.output.layout import Layout
from pipeline.output.receipts import Receipt

_SCHEMA = pa.schema(
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
_AT_ONCE = 1000  # rows that are Python objects at a time
_UNITS = b"latentlake.units"  # key in the footer: the number of rows


def write_manifest(layout: Layout, receipts: Iterable[Receipt], guard: Guard | None = None) -> OutputFile:
    """Write the manifest, sorted by unit.

    Timings are left out, so that equal states have equal bytes.

    Args:
      layout: the output.
      receipts: receipts of all units of the new state.
      guard: the right to write it.

    Returns:
      Name, size in bytes, number of rows and CRC-32C of the file.
    """
    rows = sorted(receipts, key=lambda receipt: receipt.unit)
    table = pa.Table.from_batches(_batches(rows), _SCHEMA.with_metadata({_UNITS: str(len(rows))})).combine_chunks()
    with store_for(layout.output).create(layout.manifest, guard and guard.strict) as sink:
        # PyArrow writes no page checksums by default. Here they reveal a damaged manifest when it is read.
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return OutputFile(name="_manifest.parquet", size=sink.size, rows=len(rows), crc32c=sink.crc32c)


def _batches(receipts: Sequence[Receipt]) -> Iterator[pa.RecordBatch]:
    # Rows take ten times the memory as Python objects, and there may be millions.
    for start in range(0, len(receipts), _AT_ONCE):
        yield pa.RecordBatch.from_pylist([_row(r) for r in receipts[start : start + _AT_ONCE]], schema=_SCHEMA)


def read_manifest(layout: Layout) -> dict[str, Receipt]:
    """Read the manifest.

    Args:
      layout: the output.

    Returns:
      Receipts of the committed state by unit; empty if there is no manifest.

    Raises:
      VerifyError: the manifest is damaged.
    """
    store = store_for(layout.output)
    if store.stat(layout.manifest) is None:
        return {}
    with store.open(layout.manifest) as file:
        data = file.read()
    try:
        return {receipt.unit: receipt for receipt in _parse_manifest(data)}
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        text = " ".join(str(error).split())
        raise VerifyError(
            f"{layout.manifest}: the manifest is damaged ({text}); remove it and run the job again"
        ) from error


def _parse_manifest(data: bytes) -> list[Receipt]:
    """Parse the bytes of a manifest. Any flipped bit that matters raises one of many kinds of errors.

    Parquet's pages have checksums, but its footer has none. Hence a checksum in every row, and the number of rows.
    """
    table = read_table(BytesIO(data))
    if table.schema.names != _SCHEMA.names or table.num_rows != int(table.schema.metadata[_UNITS]):
        raise ValueError("its footer is not the one that was written")
    return [_parse_row(row) for batch in table.to_batches(_AT_ONCE) for row in batch.to_pylist()]


def _parse_row(row: dict[str, Any]) -> Receipt:
    check = row.pop("check")
    receipt = Receipt._of({**row, "rejects": dict(row["rejects"])})
    if check != _check(receipt.to_dict()):
        raise ValueError(f"the row of unit {receipt.unit!r} is not the one that was written")
    return receipt


def _row(receipt: Receipt) -> dict[str, Any]:
    value = receipt.to_dict()
    row = {name: value[name] for name in ("unit", "fingerprint", "options", "retried", "read", "results", "outputs")}
    return {**row, "rejects": sorted(receipt.rejects.items()), "check": _check(value)}


def _check(receipt: dict[str, Any]) -> str:
    # What is only said of the run is not in the manifest, so it cannot be part of the checksum.
    untimed = {**receipt, "seconds": 0.0, "first": None, "store_retries": 0}
    for name in ("several_pages", "clipped", "noise_below", "noise_above", "spent", "run"):
        untimed.pop(name, None)
    return f"{google_crc32c.value(json.dumps(untimed, sort_keys=True).encode()):08x}"
