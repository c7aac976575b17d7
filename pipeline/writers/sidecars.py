"""What goes beside an image that is written anew: its key and carried columns as JSON, its class as a number."""

import json
from base64 import b64encode
from math import isfinite
from typing import Any

import pyarrow as pa

from pipeline.readers.text import text
from pipeline.records import Array, Records
from pipeline.writers.latents import carried_fields

_CLASSES = ("label", "cls")
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Sidecars:
    """JSON and class of every record, for one schema of carried columns.

    The JSON is an object in UTF-8: ``key``, then the carried columns; one that is called ``key``, ``shard`` or
    ``index`` is ``source_<name>``, as in tables. Bytes are base64; times, dates and decimals are text; NaN and
    infinities, which JSON has not, are null, as nulls are. A record has a class where exactly one column of integers
    is called ``label`` or ``cls``.
    """

    def __init__(self, carry: pa.Schema) -> None:
        self._names = ["key", *(field.name for field in carried_fields(carry, ()))]
        found = [field.name for field in carry if field.name in _CLASSES and pa.types.is_integer(field.type)]
        self._class = found[0] if len(found) == 1 else None

    def json(self, records: Records, positions: Array) -> list[bytes]:
        """The JSON of some records, ``[m]``."""
        take = pa.array(positions)
        columns = [_values(column.take(take)) for column in (records.key, *records.carried.values())]
        return [_encode(dict(zip(self._names, row, strict=True))).encode() for row in zip(*columns, strict=True)]

    def classes(self, records: Records, positions: Array) -> list[bytes | None]:
        """The class of some records, ``[m]``: a decimal number, or None."""
        if self._class is None:
            return [None] * len(positions)
        numbers = records.carried[self._class].take(pa.array(positions)).to_pylist()
        return [None if number is None else b"%d" % number for number in numbers]


def _values(column: pa.Array) -> list[Any]:
    """A column as values that JSON has."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return list(column.to_pylist())
    if pa.types.is_floating(kind):
        numbers = column.cast(pa.float64()).to_pylist()
        return [number if number is not None and isfinite(number) else None for number in numbers]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return [None if data is None else b64encode(data).decode() for data in column.to_pylist()]
    return list(text(column).to_pylist())
