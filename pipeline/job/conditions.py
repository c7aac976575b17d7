"""Settle what a conditional model is told: by which column of the records, or by the user for images without any."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.core.choices import quoted
from lake.core.errors import InputError, NoColumnError, UsageError
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.inputs.discover import Found
from lake.inputs.sampled import SampledCondition
from pipeline.job.columns import carrying
from pipeline.options.condition import ConditionSource, condition_of_text
from pipeline.worker.verbs import VERBS

if TYPE_CHECKING:
    from model.spec import Spec
    from pipeline.options.job_options import JobOptions

_TAR, _JSON = "webdataset", "json"


def condition_name(options: "JobOptions", spec: "Spec") -> str | None:
    """The column of what the model is told, as the user or else the bundle names it; None for nothing.

    Args:
      options: the options of the job.
      spec: the model's description.

    Raises:
      UsageError: a column is named, and the model is told nothing.
    """
    condition = spec.input.condition
    if condition is None and options.condition_column is not None:
        raise UsageError("the model is told nothing of a record; leave out --condition-column")
    return None if condition is None or VERBS[options.verb].samples else options.condition_column or condition.column


def with_condition_column(
    found: Found, selection: ColumnSelection, columns: RecordSchema, name: str | None
) -> RecordSchema:
    """Settled columns, with the column of what the model is told among the carried ones.

    Args:
      found: the input's shards.
      selection: what the user and the model ask of each record.
      columns: the same, settled.
      name: what ``condition_name`` returned.

    Raises:
      InputError: the first shard has no such column; the text names what there is.
    """
    if name is None:
        return columns
    # Of "json.label", the label in the column json; there a tar of latents has all columns of its records.
    of_tar = (_JSON,) if selection.latents and found.format == _TAR else ()
    names = dict.fromkeys((name, name.partition(".")[0], *of_tar))
    try:
        return carrying(found, selection, columns, names, "--condition-column")
    except NoColumnError as error:
        raise InputError(f"{error} (the model is told {quoted(name)} of each record: --condition-column)") from error


def condition_source(columns: RecordSchema, name: str | None, spec: "Spec") -> ConditionSource | None:
    """Where what the model is told is read; None for a model that is told nothing, or of no record.

    Args:
      columns: what is read of each record.
      name: what ``condition_name`` returned.
      spec: the model's description.
    """
    if name is None or spec.input.condition is None:
        return None
    head, _, field = name.partition(".")
    column, inner = (name, None) if name in columns.carry.names or not field else (head, field)
    if column not in columns.carry.names and _JSON in columns.carry.names:
        column, inner = _JSON, name
    return ConditionSource(condition=spec.input.condition, column=column, field=inner)


def sampled_condition(options: "JobOptions", spec: "Spec") -> SampledCondition | None:
    """What the model is told of images that are made of sampled latents.

    Args:
      options: the options of ``generate``.
      spec: the model's description.

    Raises:
      UsageError: the model needs a condition and none is given, or takes none, or not this one.
    """
    condition = spec.input.condition
    if condition is None:
        if options.condition is not None:
            raise UsageError("the model is told nothing of an image; leave out --condition")
        return None
    takes = "a class" if condition.classes else f"{condition.length} numbers, with colons between them,"
    if not options.condition:
        raise UsageError(f"the model is told {condition.column!r} of each image: give --condition, {takes} or several")
    try:
        values: tuple[Any, ...] = tuple(condition_of_text(text, condition) for text in options.condition)
    except ValueError as error:
        raise UsageError(f"--condition: {error}") from error
    return SampledCondition(name=condition.column.rpartition(".")[2], values=values)


def sampled_source(sampled: SampledCondition | None, spec: "Spec") -> ConditionSource | None:
    """Where ``generate`` reads what the model is told: in the column that it makes."""
    if sampled is None or spec.input.condition is None:
        return None
    return ConditionSource(condition=spec.input.condition, column=sampled.name)


def sampled_columns(sampled: SampledCondition | None) -> pa.Schema:
    """The columns of images that are made of sampled latents."""
    return pa.schema([]) if sampled is None else pa.schema([(sampled.name, sampled.type)])
