"""The files beside a new image in WebDataset: key and carried columns as JSON, the class as a number."""

import json

import pyarrow as pa

from lake.core.records import Array, Records, pick
from lake.formats.common.identity_columns import carried_fields
from lake.formats.common.json_values import json_values

_CLASSES = ("label", "cls")
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Sidecars:
    """Makes the JSON and the class of every record, for one schema of carried columns.

    The JSON is an object in UTF-8: ``key``, followed by the carried columns. A column named ``key``, ``shard`` or
    ``index`` becomes ``source_<name>``, as in tables. ``json_values`` says what each type becomes. A record has a class
    if exactly one integer column is named ``label`` or ``cls``.

    Args:
      carry: the carried columns.
    """

    def __init__(self, carry: pa.Schema) -> None:
        self._names = ["key", *(field.name for field in carried_fields(carry, ()))]
        self._class = class_column(carry)

    def json(self, records: Records, positions: Array) -> list[bytes]:
        """The JSON of the records at some positions, ``[m]``.

        Args:
          records: a batch.
          positions: int64 ``[m]``, ascending.
        """
        columns = [json_values(pick(column, positions)) for column in (records.key, *records.carried.values())]
        return [_encode(dict(zip(self._names, row, strict=True))).encode() for row in zip(*columns, strict=True)]

    def classes(self, records: Records, positions: Array) -> list[bytes | None]:
        """The class of the records at some positions, ``[m]``, as a decimal number; None for a record without one.

        Args:
          records: a batch.
          positions: int64 ``[m]``, ascending.
        """
        if self._class is None:
            return [None] * len(positions)
        numbers = records.carried[self._class].take(pa.array(positions)).to_pylist()
        return [None if number is None else b"%d" % number for number in numbers]


def class_column(carry: pa.Schema) -> str | None:
    """The column of classes: the only one of integers that is called ``label`` or ``cls``; None if there is none.

    Args:
      carry: the carried columns.
    """
    found = [field.name for field in carry if field.name in _CLASSES and pa.types.is_integer(field.type)]
    return found[0] if len(found) == 1 else None
