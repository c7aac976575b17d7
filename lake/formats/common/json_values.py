"""Arrow columns as values of JSON.

| Arrow | JSON |
|---|---|
| integers, booleans | number, true or false |
| floating numbers | number; NaN and infinities, which JSON lacks, become null |
| text of any kind | string; bytes that are not UTF-8 become backslash escapes |
| binary of any kind | string in base64 |
| dates, times, timestamps, durations, decimals | string, as Arrow writes them |
| list of any kind, fixed-size list | array |
| struct | object |
| map | array of arrays of key and value, since keys may repeat and be of any type |
| dictionary, extension | as its values, its storage |
| null | null |
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from math import isfinite
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake.formats.common.text import text

_LISTS = (
    *(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
    *(pa.types.is_list_view, pa.types.is_large_list_view),
)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)


def json_values(column: pa.Array) -> list[Any]:
    """The values of a column as ``json`` can write them.

    Args:
      column: of any type, ``[n]``.

    >>> json_values(pa.array([{"a": [1.5, float("nan")], "b": b"x"}, None]))
    [{'a': [1.5, None], 'b': 'eA=='}, None]
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return json_values(column.storage)
    if pa.types.is_dictionary(kind):
        return json_values(column.dictionary_decode())
    if pa.types.is_nested(kind):
        return _nested(column)
    return _scalars(column)


def _nested(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        rows: list[Any] = [dict(zip(names, row, strict=True)) for row in _rows(column.flatten(), len(column))]
        return [row if there else None for row, there in zip(rows, column.is_valid().to_pylist(), strict=True)]
    if pa.types.is_map(kind):
        pairs = [[key, item] for key, item in zip(json_values(column.keys), json_values(column.items), strict=True)]
        edges = zip(pairwise(column.offsets.to_pylist()), column.is_valid().to_pylist(), strict=True)
        return [pairs[start:stop] if there else None for (start, stop), there in edges]
    if any(fits(kind) for fits in _LISTS):
        return _cut(column, json_values(column.flatten()))
    return [None if value is None else str(value) for value in column.to_pylist()]  # unions


def _rows(children: Sequence[pa.Array], count: int) -> Iterator[tuple[Any, ...]]:
    """The rows of some columns, of which there may be none."""
    return zip(*map(json_values, children), strict=True) if children else iter([()] * count)


def _cut(column: pa.Array, items: list[Any]) -> list[Any]:
    """The items of all lists of a column, cut into these lists."""
    rest = iter(items)
    # Of a fixed-size list that is null, Arrow leaves the items out as well.
    lengths = pc.list_value_length(column).to_pylist() if len(column) else []
    return [None if length is None else list(islice(rest, length)) for length in lengths]


def _scalars(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_null(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return list(column.to_pylist())
    if pa.types.is_floating(kind):
        numbers = column.cast(pa.float64()).to_pylist()
        return [number if number is not None and isfinite(number) else None for number in numbers]
    if any(fits(kind) for fits in _BYTES):
        return [None if data is None else b64encode(data).decode() for data in column.to_pylist()]
    try:
        return list(text(column).to_pylist())
    except pa.ArrowNotImplementedError:  # intervals have no text in Arrow
        return [None if value is None else str(value) for value in column.to_pylist()]
