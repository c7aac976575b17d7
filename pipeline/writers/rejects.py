"""The rejects of a unit: one row for every record that was read and gave no result."""

from collections.abc import Sequence

import pyarrow as pa

from pipeline.records import Reject

REJECT_SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("data", pa.binary()),
        pa.field("data_truncated", pa.bool_(), nullable=False),
    ]
)


def reject_rows(rejects: Sequence[Reject], cap: int) -> pa.RecordBatch:
    """Rejects as rows; of the original bytes at most ``cap`` are kept."""
    rows = [
        {
            "shard": r.shard,
            "index": r.index,
            "key": r.key,
            "stage": str(r.stage),
            "reason": str(r.reason),
            "detail": r.detail,
            "data": None if r.data is None else r.data[:cap],
            "data_truncated": r.data is not None and len(r.data) > cap,
        }
        for r in rejects
    ]
    return pa.RecordBatch.from_pylist(rows, schema=REJECT_SCHEMA)
