"""Columns of an input of several formats: settled for each, with the carried columns of all.

A name that is asked for need not be in every format: a column that one lacks is null in its records, and an image or a
key that one lacks has its usual name there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from lake.core.errors import InputError, NoColumnError
from lake.core.records import Fault, RawBatch, Reason, Records, Shard, Stage
from lake.formats.parquet.types import cast, castable, unified
from lake.formats.reader import ColumnSelection, RecordSchema

Settle: TypeAlias = Callable[[str, Sequence[Shard], ColumnSelection], RecordSchema]  # of the shards of one format
_Lacking: TypeAlias = dict[tuple[str, str], NoColumnError]  # by the field of the selection, and the name


def settle_mixed(
    shards: Mapping[str, Sequence[Shard]], selection: ColumnSelection, settle: Settle, before: RecordSchema | None
) -> RecordSchema:
    """Settle the columns of every format.

    Args:
      shards: of each format.
      selection: what the user and the model ask for.
      settle: settles those of one format.
      before: columns that an earlier run settled, which stay; None for a first run. A format that it did not know gets
        its columns now, of those that are carried.

    Raises:
      InputError: a format lacks its image, no format has a name that is asked for, or two have columns of one name
        whose values no type holds.
    """
    found = {} if before is None else dict(before.formats)
    asked = selection if before is None else replace(selection, carry=tuple(before.carry.names))
    lacking = list[_Lacking]()
    for format, some in shards.items():
        if format not in found:
            found[format], missing = _settle(format, some, asked, settle)
            lacking += [missing] if found[format].settled else []
    if before is None:
        _check_asked(lacking)
    carry = _union(found) if before is None else _kept(found, before.carry)
    return replace(
        selection.resolved(image="", key=None, carry=carry),
        layout=None,  # each format has its own
        settled=any(columns.settled for columns in found.values()),
        formats=tuple(found.items()),
    )


def _settle(
    format: str, shards: Sequence[Shard], selection: ColumnSelection, settle: Settle
) -> tuple[RecordSchema, _Lacking]:
    """The columns of one format, and the names that it lacks of those that are asked for."""
    missing: _Lacking = {}
    while True:
        try:
            return settle(format, shards, selection), missing
        except NoColumnError as error:
            if getattr(selection, error.field) is None:  # not asked for by a name
                raise
            missing[error.field, error.name] = error
            selection = _without(selection, error)


def _without(selection: ColumnSelection, error: NoColumnError) -> ColumnSelection:
    if error.field == "image":
        return replace(selection, image=None)
    if error.field == "key":
        return replace(selection, key=None)
    return replace(selection, carry=tuple(name for name in selection.carry or () if name != error.name))


def _check_asked(lacking: Sequence[_Lacking]) -> None:
    """Check that each name that is asked for is in one of the formats."""
    for first in lacking[:1]:
        for name, error in first.items():
            if all(name in missing for missing in lacking):
                raise error


def _union(found: Mapping[str, RecordSchema]) -> pa.Schema:
    """The carried columns of all formats, with types that hold the values of each."""
    kinds, owners = dict[str, pa.DataType](), dict[str, str]()
    for format, columns in found.items():
        for field in columns.carry:
            before = kinds.setdefault(field.name, field.type)
            owner = owners.setdefault(field.name, format)
            if (kind := unified(before, field.type)) is None:
                raise _clash(field, format, before, owner)
            kinds[field.name] = kind
    return pa.schema(list(kinds.items()))


def _kept(found: Mapping[str, RecordSchema], carry: pa.Schema) -> pa.Schema:
    """The carried columns of an earlier run, which hold the values of new formats too."""
    for format, columns in found.items():
        for field in columns.carry:
            if not castable(field.type, carry.field(field.name).type):
                raise _clash(field, format, carry.field(field.name).type, "the output")
    return carry


def _clash(field: pa.Field, format: str, before: pa.DataType, owner: str) -> InputError:
    return InputError(
        f"column {field.name!r} is {before} in {owner} and {field.type} in {format}, and no type holds both; choose "
        "others with --carry, or run one job for each format"
    )


def conformed(batches: Iterable[RawBatch], own: RecordSchema, columns: RecordSchema) -> Iterator[RawBatch]:
    """The batches of one format with the carried columns of all.

    Args:
      batches: of one format.
      own: its columns.
      columns: of the input.
    """
    if own.carry.equals(columns.carry):
        yield from batches
        return
    for batch in batches:
        yield _Conformed(batch, columns.carry)


@dataclass(frozen=True, slots=True)
class _Conformed:
    batch: RawBatch
    carry: pa.Schema

    def __len__(self) -> int:
        return len(self.batch)

    def records(self) -> Records:
        records = self.batch.records()
        faults = dict(records.faults)
        carried = {field.name: _column(records, field, faults) for field in self.carry}
        return replace(records, carried=carried, faults=faults)


def _column(records: Records, field: pa.Field, faults: dict[int, Fault]) -> pa.Array:
    values = records.carried.get(field.name)
    if values is None:
        return pa.nulls(len(records), field.type)
    if values.type == field.type:
        return values
    fitting, wrong = cast(values, field.type)
    for position in np.array(wrong, np.int64).tolist():
        detail = f"{field.name!r} is {values.type} here, and a value that is no {field.type}, as in other formats"
        faults.setdefault(position, Fault(stage=Stage.READ, reason=Reason.WRONG_TYPE, detail=detail))
    return fitting
