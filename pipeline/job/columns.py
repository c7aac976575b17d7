"""Carry columns of the records that a job itself needs: noise levels, what a model is told, names of partitions."""

from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa

from lake.core.errors import InputError, NoColumnError
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.inputs.columns import settle
from lake.inputs.discover import Found
from pipeline.config import NoiseLevel


def carrying(
    found: Found, selection: ColumnSelection, columns: RecordSchema, names: Iterable[str], option: str
) -> RecordSchema:
    """Settled columns, with a further one among the carried ones.

    Args:
      found: the input's shards.
      selection: what the user and the model ask of each record.
      columns: the same, settled.
      names: of the column; of several the first one that there is.
      option: by which the user names it.

    Raises:
      NoColumnError: there is none; the text names those that there are, and the option.
    """
    if not columns.settled:
        return columns
    problem: NoColumnError | None = None
    for name in names:
        if name in columns.carry.names:
            return columns
        try:
            return settle(found, replace(selection, carry=(*columns.carry.names, name)))
        except NoColumnError as error:
            problem = problem or error
    raise NoColumnError(str(problem).replace("set --carry to", f"set {option} to")) from problem


def with_noise_column(
    found: Found, selection: ColumnSelection, columns: RecordSchema, noise: NoiseLevel | None
) -> RecordSchema:
    """Settled columns, with the one of noise levels among the carried ones, where there is one.

    Args:
      found: the input's shards.
      selection: what the user and the model ask of each record.
      columns: the same, settled.
      noise: what the model is told about the noise.

    Raises:
      NoColumnError: the first shard has no such column.
    """
    if noise is None or noise.column is None:
        return columns
    return carrying(found, selection, columns, [noise.column], "--noise-level")


def check_noise_column(schema: RecordSchema, noise: NoiseLevel | None) -> None:
    """Check that the column of noise levels holds numbers.

    Raises:
      InputError: it does not.
    """
    if noise is None or noise.column is None or not schema.settled:
        return
    kind = schema.carry.field(noise.column).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InputError(f"column {noise.column!r} is {kind}, not numbers; set --noise-level to another")
