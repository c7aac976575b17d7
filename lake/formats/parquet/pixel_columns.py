"""Tables with a column for each pixel, ``pixel0`` to ``pixel783``, as of MNIST in CSV: read as one column of lists."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

LINE = "pixels"  # name of the column of lists
_COLUMN = re.compile(r"pixel_?(\d+)")
_FEWEST = 4


def pixel_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns with one pixel each, in the order of the pixels; empty if there are none.

    Args:
      schema: of a shard. Pixels are counted from 0 or 1 without a gap, and have one type of numbers.

    >>> pixel_columns(pa.schema({"label": pa.int8()} | {f"pixel{at}": pa.uint8() for at in range(4)}))
    ['pixel0', 'pixel1', 'pixel2', 'pixel3']
    """
    found = {int(match[1]): field for field in schema if (match := _COLUMN.fullmatch(field.name))}
    types = {field.type for field in found.values()}
    numbers = sorted(found)
    whole = len(found) >= _FEWEST and numbers[0] in (0, 1) and numbers[-1] - numbers[0] == len(found) - 1
    if not whole or len(types) > 1 or LINE in schema.names or not _is_number(next(iter(types))):
        return []
    return [found[number].name for number in numbers]


def with_line(schema: pa.Schema) -> pa.Schema:
    """A schema with the columns of pixels as one column of lists, behind the others."""
    names = pixel_columns(schema)
    if not names:
        return schema
    others = [field for field in schema if field.name not in {*names}]
    return pa.schema([*others, pa.field(LINE, pa.list_(schema.field(names[0]).type, len(names)))])


def folded(batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """A batch with the columns of pixels as one column of lists. A pixel that is null makes its list null."""
    places = {name: at for at, name in enumerate(batch.schema.names)}
    columns = [batch.column(places.pop(name)) for name in names]
    null = np.logical_or.reduce([column.is_null().to_numpy(zero_copy_only=False) for column in columns])
    numbers = np.stack([column.fill_null(0).to_numpy(zero_copy_only=False) for column in columns], axis=1)
    values = pa.array(numbers.reshape(-1))
    line = pa.FixedSizeListArray.from_arrays(values, len(names), mask=pa.array(null) if null.any() else None)
    return pa.RecordBatch.from_arrays([*map(batch.column, places.values()), line], [*places, LINE])


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
