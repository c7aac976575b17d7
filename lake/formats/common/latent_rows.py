"""The rows of a table of latents, for the writers of the formats that trainers read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from lake.core.records import Array
from lake.formats.common.json_values import json_values

SHAPE = "latent_shape"  # column with height, width and channels, where latents have shapes of their own
_CAPTIONS = ("txt", "caption", "text")


class LatentSample(NamedTuple):
    """One row.

    Attributes:
      latents: an array for each column of latents, as it is stored.
      shape: of each latent, which an array of bits does not have.
      values: all other columns as JSON values, by name.
    """

    latents: Sequence[Array]
    shape: Sequence[int]
    values: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentRows:
    """What is in the columns of a table of latents.

    Attributes:
      schema: of the table.
      names: the columns of latents, the first one first; their numbers are of one type.
      shape: of every latent, but for those of ``shapes``; None where the column ``latent_shape`` says it row by row.
      bits: latents are stored as bits, eight to a byte; those of one shape without their sides.
      shapes: of columns whose latents have another shape, by name.
      said: how latents were made and are stored, as JSON values: ``LatentForm.metadata`` without lists of scales.

    >>> kind = pa.list_(pa.float32(), 4)
    >>> table = LatentRows(
    ...     schema=pa.schema([("key", pa.string()), ("latent", kind)]), names=("latent",), shape=(2, 2), said={}
    ... )
    >>> rows = pa.RecordBatch.from_arrays([pa.array(["a"]), pa.array([[0, 1, 2, 3]], kind)], schema=table.schema)
    >>> [(latents[0].tolist(), shape, values) for latents, shape, values in table.samples(rows)]
    [([[0.0, 1.0], [2.0, 3.0]], (2, 2), {'key': 'a'})]
    """

    schema: pa.Schema
    names: tuple[str, ...]
    shape: tuple[int, ...] | None
    said: Mapping[str, Any]
    bits: bool = False
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """The shape of the latents of a column; None where ``latent_shape`` says it.

        Args:
          name: of the column.
        """
        return self.shapes.get(name, self.shape)

    @property
    def others(self) -> list[pa.Field]:
        """The fields of all other columns."""
        return [one for one in self.schema if one.name not in (*self.names, SHAPE)]

    @property
    def caption(self) -> str | None:
        """The column of captions: text that is called ``txt``, ``caption`` or ``text``; None if there is none."""
        texts = {one.name for one in self.others if pa.types.is_string(one.type)}
        return next((name for name in _CAPTIONS if name in texts), None)

    def samples(self, rows: pa.RecordBatch) -> Iterator[LatentSample]:
        """Each row.

        Args:
          rows: of the table.
        """
        names = [one.name for one in self.others]
        columns = [json_values(rows.column(name)) for name in names]
        for row, (latents, shape) in enumerate(self.latents(rows)):
            values = {name: column[row] for name, column in zip(names, columns, strict=True)}
            yield LatentSample(latents, shape, values)

    def latents(self, rows: pa.RecordBatch) -> Iterator[tuple[Sequence[Array], Sequence[int]]]:
        """The latents of each row, one of each of ``names``, and the shape of the first one.

        Args:
          rows: of the table.
        """
        shapes = [self.shape] * rows.num_rows if self.shape is not None else rows.column(SHAPE).to_pylist()
        latents = [self._arrays(rows.column(name), shapes, self.shape_of(name)) for name in self.names]
        for row, shape in enumerate(shapes):
            yield [arrays[row] for arrays in latents], shape

    def _arrays(
        self, column: pa.Array, shapes: Sequence[Sequence[int]], own: tuple[int, ...] | None
    ) -> Sequence[Array]:
        flat: Array = column.flatten().to_numpy(zero_copy_only=False)
        if own is not None:
            return [*flat.reshape(len(column), *((-1,) if self.bits else own))]
        edges = np.cumsum([0, *column.value_lengths().to_pylist()]).tolist()
        return [
            flat[start:stop].reshape(*shape[:2], -1)
            for (start, stop), shape in zip(pairwise(edges), shapes, strict=True)
        ]
