"""Tables that the tests of Parquet write, and what is read of them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lake.core.records import Fault, Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.common.parquet_file import read_footer
from lake.formats.common.parquet_footer import scan_footer
from lake.formats.parquet.pages import StoredPage, pages_of
from lake.formats.reader import BATCH_BYTES, RecordSchema
from tests.lake.formats.support import identity_of

READER = FORMATS["parquet"].reader


STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def shard_of(path: Path) -> Shard:
    return Shard(uri=str(path), path=path.name, size=path.stat().st_size, identity=identity_of(path))


def written(path: Path, table: pa.Table, **options: Any) -> Shard:
    pq.write_table(table, path, write_page_checksum=True, **options)
    return shard_of(path)


def batches(
    shard: Shard, columns: RecordSchema, size: int = 4, start: int = 0, stop: int | None = None, room: int = BATCH_BYTES
) -> list[Records]:
    unit = Unit(id="u", format="parquet", shards=(shard,), start=start, stop=stop)
    return [raw.records() for raw in READER.read(unit, columns, size, room)]


def rows_of(parts: Sequence[Records]) -> list[tuple[Any, ...]]:
    """Index, key, payload and carried values of each record."""
    rows = []
    for part in parts:
        payload = part.payload.tolist() if isinstance(part.payload, np.ndarray) else part.payload.to_pylist()
        carried = [column.to_pylist() for column in part.carried.values()]
        rows += zip(part.index.tolist(), part.key.to_pylist(), payload, *carried, strict=True)
    return rows


def faults_of(parts: Sequence[Records]) -> dict[int, Fault]:
    return {int(part.index[at]): fault for part in parts for at, fault in part.faults.items()}


def files(count: int, seed: int = 0) -> list[bytes]:
    dice = random.Random(seed)
    return [dice.randbytes(dice.randrange(1, 60)) for _ in range(count)]


def image_table(count: int) -> pa.Table:
    images = [{"bytes": data, "path": f"d/{at}.png"} for at, data in enumerate(files(count))]
    return pa.table({"image": pa.array(images, STRUCT), "label": pa.array([at % 10 for at in range(count)])})


def expected(table: pa.Table) -> list[tuple[Any, ...]]:
    return [(at, row["image"]["path"], row["image"]["bytes"], row["label"]) for at, row in enumerate(table.to_pylist())]


def pages(path: Path, column: str) -> list[list[StoredPage]]:
    """The pages of a column, by row group."""
    with path.open("rb") as file:
        footer, metadata = read_footer(file), pq.read_metadata(path)
        at = [metadata.schema.column(number).path for number in range(len(metadata.schema))].index(column)
        return [pages_of(file, group.chunks[at]) for group in scan_footer(footer).groups]


def harmed(path: Path, data: bytes, page: StoredPage, at: int = 0) -> None:
    """One bit of a page's content is flipped."""
    changed = bytearray(data)
    changed[page.start + page.header.size + at] ^= 4
    path.write_bytes(changed)


def deep_file(levels: int) -> bytes:
    """A file whose schema is one group in another, written by hand: ``FileMetaData`` in Thrift's compact protocol."""
    group, leaf = (
        b"\x35\x02\x18\x01x\x15\x02\x00",
        b"\x15\x04\x25\x02\x18\x01x\x00",
    )  # optional "x" of 1 child; an int64
    count = levels + 2
    size = bytes([count & 127 | 128, count >> 7 & 127 | 128, count >> 14])
    schema = b"\x48\x01s\x15\x02\x00" + group * levels + leaf
    footer = b"\x15\x04\x19\xfc" + size + schema + b"\x16\x00\x19\x0c\x00"
    return b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"
