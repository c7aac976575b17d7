"""Arrow streams and files that the tests write, and what is read of them."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import feather

from lake.core.records import Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.reader import BATCH_BYTES, ColumnSelection, RecordSchema
from tests.lake.formats.support import shard_of

READER = FORMATS["arrow"].reader
PACKINGS = (None, "lz4", "zstd")


def stream(table: pa.Table, rows: int = 7, packing: str | None = None) -> bytes:
    return _written(pa.ipc.new_stream, table, rows, packing)


def file(table: pa.Table, rows: int = 7, packing: str | None = None) -> bytes:
    return _written(pa.ipc.new_file, table, rows, packing)


def feather_2(table: pa.Table, rows: int = 7, packing: str | None = None) -> bytes:
    out = io.BytesIO()
    feather.write_feather(table, out, packing or "uncompressed", chunksize=rows)
    return out.getvalue()


def _written(open: Callable[..., Any], table: pa.Table, rows: int, packing: str | None) -> bytes:
    out = io.BytesIO()
    with open(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=packing)) as writer:
        writer.write_table(table, rows)
    return out.getvalue()


KINDS = {"stream": stream, "file": file, "feather": feather_2}


def settled(path: Path, data: bytes, **selection: Any) -> tuple[Shard, RecordSchema]:
    shard = shard_of(path, data)
    return shard, READER.settle(shard, ColumnSelection(**selection))


def batches(shard: Shard, columns: RecordSchema, size: int = 4, room: int = BATCH_BYTES) -> list[Records]:
    unit = Unit(id="u", format="arrow", shards=(shard,))
    return [raw.records() for raw in READER.read(unit, columns, size, room)]


def read(path: Path, data: bytes, size: int = 4, **selection: Any) -> Sequence[Records]:
    return batches(*settled(path, data, **selection), size)
