"""What a conditional model is told of the records of a batch, read from one of their columns."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.printable import printable
from lake.core.records import Array, Fault, Reason, Records, Stage
from lake.images.types import Group
from model.condition import Condition
from pipeline.options.condition import ConditionSource, class_of, numbers_of

_MISSING = "no value"
_TEXT = 500  # most characters of what is wrong with a condition


def read_conditions(records: Records, source: ConditionSource | None, faults: dict[int, Fault]) -> Array | None:
    """The conditions of a batch.

    Args:
      records: the batch, of ``n`` records.
      source: where they are; None for a model that is told nothing.
      faults: by position; a record without a condition that the model takes gets one, unless it has one already.

    Returns:
      int64 ``[n]`` or float32 ``[n, k]``, 0 for a record with a fault; None for a model that is told nothing.
    """
    if source is None:
        return None
    column = records.carried[source.column]
    if _is_plain(column, source):
        told, wrong = _integers(column, source.condition)
    else:
        told, wrong = conditions_of(_values(column, source), source.condition)
    for position, what in wrong.items():
        detail = f"column {source.name!r} has {what}"
        faults.setdefault(position, condition_fault(detail))
    return told


def conditions_of(values: Sequence[Any], condition: Condition) -> tuple[Array, dict[int, str]]:
    """What a model is told, of values of any type.

    Args:
      values: of ``n`` records; None for one without.
      condition: what the model is told.

    Returns:
      int64 ``[n]`` or float32 ``[n, k]``, 0 for a value that the model does not take; and what is wrong with these, by
      position.

    >>> conditions_of(["1", 7], Condition(input="y", column="y", length=3, classes=3))
    (array([1, 0]), {1: '7, no class from 0 to 2'})
    """
    told, wrong = np.zeros((len(values), *condition.shape), condition.dtype), dict[int, str]()
    for position, value in enumerate(values):
        try:
            told[position] = _condition_of(value, condition)
        except ValueError as error:
            wrong[position] = str(error)
    return told, wrong


def condition_fault(detail: str) -> Fault:
    """The fault of a record whose condition the model does not take."""
    return Fault(stage=Stage.MODEL, reason=Reason.INVALID_CONDITION, detail=printable(detail, _TEXT))


def with_conditions(groups: Iterable[Group], told: Array | None, faults: dict[int, Fault]) -> Iterator[Group]:
    """Groups without the records that have a fault by now.

    Args:
      groups: decoded records.
      told: what ``read_conditions`` returned; None to leave the groups as they are.
      faults: of records, by position.
    """
    for group in groups:
        bad = np.array([told is not None and position in faults for position in group.positions.tolist()], bool)
        if not bad.any():
            yield group
        elif not bad.all():
            original = None if group.original is None else group.original[~bad]
            yield replace(group, positions=group.positions[~bad], pixels=group.pixels[~bad], original=original)


def told_of(told: Array | None, positions: Array) -> dict[str, Array]:
    """What a function of the runtime is given of some records besides their pixels; nothing for most models."""
    return {} if told is None else {"condition": told[positions]}


def _is_plain(column: pa.Array, source: ConditionSource) -> bool:
    """Whether a column holds the numbers of classes as integers, as nearly all do."""
    return source.field is None and source.condition.classes is not None and bool(pa.types.is_integer(column.type))


def _integers(column: pa.Array, condition: Condition) -> tuple[Array, dict[int, str]]:
    assert condition.classes is not None
    there = column.is_valid().to_numpy(zero_copy_only=False)
    numbers = column.fill_null(0).to_numpy(zero_copy_only=False)
    good = there & (numbers >= 0) & (numbers < condition.classes)
    bad = np.flatnonzero(~good)
    # By the way of all other values, for the text of what is wrong.
    wrong = conditions_of(column.take(pa.array(bad)).to_pylist(), condition)[1]
    return np.where(good, numbers, 0).astype(np.int64), {int(bad[at]): what for at, what in wrong.items()}


def _values(column: pa.Array, source: ConditionSource) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return values if source.field is None else [_field_of(value, source.field, source.column) for value in values]


def _field_of(value: object, name: str, column: str) -> object:
    """A field of an object, or of the one in it that has the column's name: there a job has written the column."""
    while isinstance(found := _object_of(value), dict):
        if name in found:
            return found[name]
        value = found.get(column)
    return None


def _object_of(value: object) -> object:
    """An object of JSON, or a struct."""
    if not isinstance(value, (str, bytes)):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _condition_of(value: Any, condition: Condition) -> Any:
    value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    if value is None or value == []:
        raise ValueError(_MISSING)
    if condition.classes is not None:
        return class_of(value, condition)
    if isinstance(value, str):  # of CSV, which has no lists
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    return numbers_of(value, condition)
