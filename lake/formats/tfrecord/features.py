"""Convert Arrow columns to features of tf.train.Example: lists of bytes, floats or 64-bit integers.

Integers and booleans become int64 (unsigned ones beyond its range wrap around, with the same 64 bits), floating numbers
become 32-bit float, text and binary become bytes, and lists of these become lists. Anything else becomes text, nested
values as JSON. A null becomes no feature; a null within a list is left out.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from lake.formats.common.text import text


def lists(column: pa.Array) -> tuple[str, Sequence[Sequence[Any] | None]]:
    """The field of ``tf.train.Feature`` for a column, and the values of each row; None for a null.

    >>> lists(pa.array([7, None]))
    ('int64_list', [[7], None])
    >>> lists(pa.array(["cat"]))
    ('bytes_list', [[b'cat']])
    """
    found = _conversion(column.type.value_type if _is_list(column.type) else column.type)
    if found is None:
        return "bytes_list", [None if value is None else [value.encode()] for value in _texts(column)]
    kind, convert = found
    rows = column.to_pylist()
    rows = rows if _is_list(column.type) else [None if value is None else [value] for value in rows]
    return kind, [None if row is None else [convert(value) for value in row if value is not None] for row in rows]


def _conversion(kind: pa.DataType) -> tuple[str, Callable[[Any], Any]] | None:
    types = pa.types
    if types.is_integer(kind) or types.is_boolean(kind):
        return "int64_list", _signed
    if types.is_floating(kind):
        return "float_list", float
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "bytes_list", str.encode
    binary = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return ("bytes_list", bytes) if any(fits(kind) for fits in binary) else None


def _signed(value: int) -> int:
    return int(value) - (1 << 64) * (value >= 1 << 63)


def _texts(column: pa.Array) -> Sequence[str | None]:
    if not pa.types.is_nested(column.type):
        texts: Sequence[str | None] = text(column).to_pylist()
        return texts
    return [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))
