"""``metadata.parquet`` of an ``imagefolder``, for images of other names."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from lake.formats.common.parquet_file import open_parquet, parse_footer, read_footer
from lake.formats.parquet.row_size import RowSizes

_ROWS = 4096  # read at once, or fewer
_ROOM = 64 << 20  # bytes of those

Renamed: TypeAlias = Callable[[str], str | None]  # an image's new name by its old one; None if there is no such image


def rewritten(data: bytes, name: str, renamed: Renamed) -> bytes:
    """A table with the new names, without the rows of images that are not there.

    Args:
      data: the file. One without a column of names, or that cannot be read, is given back as it is.
      name: of the column of names; columns that end in ``_<name>`` name further images.
      renamed: gives the name of each image.
    """
    try:
        file = open_parquet(BytesIO(data))
        if not _is_text(file.schema_arrow, name):
            return data
        return _written(file.schema_arrow, _batches(data, file), name, renamed) or data
    except (pa.ArrowException, OSError, UnicodeError):  # of bytes in memory, so they are no table, or no text
        return data


def _is_text(schema: pa.Schema, name: str) -> bool:
    at = schema.get_field_index(name)  # -1 also for two of one name
    return at >= 0 and schema.field(at).type in (pa.string(), pa.large_string())


def _batches(data: bytes, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    stream = BytesIO(data)
    footer = read_footer(stream)
    sizes = RowSizes(stream, footer, parse_footer(footer).schema)
    for group in range(file.num_row_groups):
        if not file.metadata.row_group(group).num_rows:
            continue
        longest = sizes.longest(group, None)
        sizes.check(group, file.metadata.row_group(group).num_rows, longest)
        yield from file.iter_batches(
            min(_ROWS, max(1, _ROOM // max(longest, 1))), row_groups=[group], use_threads=False
        )


def _written(schema: pa.Schema, batches: Iterator[pa.RecordBatch], name: str, renamed: Renamed) -> bytes | None:
    """The file; None if nothing changes."""
    out, changed = BytesIO(), False
    with pq.ParquetWriter(out, schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in batches:
            new = _with_names(batch, name, renamed)
            changed = changed or not new.equals(batch)
            writer.write_batch(new)
    return out.getvalue() if changed else None


def _with_names(batch: pa.RecordBatch, name: str, renamed: Renamed) -> pa.RecordBatch:
    for at, field in enumerate(batch.schema):
        if field.name.endswith(f"_{name}") and _is_text(batch.schema, field.name):
            others = [old if old is None else renamed(old) or old for old in batch.column(at).to_pylist()]
            batch = batch.set_column(at, field, pa.array(others, field.type))
    at = batch.schema.get_field_index(name)
    old = batch.column(at).to_pylist()
    new = [one if one is None else renamed(one) for one in old]
    kept = pa.array([one is None or other is not None for one, other in zip(old, new, strict=True)])
    return batch.set_column(at, batch.schema.field(at), pa.array(new, batch.schema.field(at).type)).filter(kept)
