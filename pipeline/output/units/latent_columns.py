"""How latents become columns of a table: the fields of its schema, and the arrays of a batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from lake.core.records import Array
from lake.formats.common.parquet_table import TableEncoding
from lake.formats.common.vector_storage import FLOAT32, VectorStorage
from pipeline.config import JobConfig
from pipeline.options.latent_form import FurtherLatent, LatentForm

SHAPE, FLIP, VARIANCE = "latent_shape", "latent_flip", "latent_variance"

# float32 [n, D] of vectors of one length; or n arrays [h, w, c] of any shapes.
Latents: TypeAlias = Array | Sequence[Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentColumns:
    """The columns of a table that hold latents.

    Latents of one length are a fixed-size list. Those of images of any size have shapes of their own: each is a list of
    its numbers in row-major order, and the column ``latent_shape`` says height, width and channels of all of a row's.
    A scale and an offset are then by channel, and bits of the type ``binary`` begin a new byte with each position.

    Attributes:
      dimension: length D of every latent; None where latents have shapes of their own.
      names: of the columns with latents, the first one first.
      storage: the type of the stored numbers, and how the latents are converted to it.
      further: the columns of further latents, which have lengths of their own, by the latent's name.

    >>> LatentColumns(dimension=3).fields()
    [pyarrow.Field<latent: fixed_size_list<element: float not null>[3] not null>]
    >>> columns = LatentColumns(dimension=None, storage=VectorStorage(type="float16"))
    >>> [field.name for field in columns.fields()]
    ['latent', 'latent_shape']
    >>> (latents, shapes), clipped = columns.arrays([[np.ones((1, 2, 1), np.float32)]])
    >>> latents.to_pylist(), shapes.to_pylist(), clipped
    ([[1.0, 1.0]], [[1, 2, 1]], 0)
    """

    dimension: int | None
    names: tuple[str, ...] = ("latent",)
    storage: VectorStorage = FLOAT32
    further: Mapping[str, "LatentColumns"] = field(default_factory=dict)

    @classmethod
    def of(cls, config: JobConfig, dimension: int | None) -> "LatentColumns":
        """The columns of a job's table.

        Args:
          config: the job.
          dimension: length D of the model's latents; None where they have shapes of their own.
        """
        form = config.latents or LatentForm()
        names = {"latent": True, FLIP: form.flip, VARIANCE: config.variance}
        own = dimension if form.name is None else prod(form.shape)
        return cls(
            dimension=None if own is None else form.length(own),
            names=tuple(name for name, there in names.items() if there),
            storage=form.storage,
            further={one.name: cls._of_further(form, one) for one in form.further},
        )

    @classmethod
    def _of_further(cls, form: LatentForm, latent: FurtherLatent) -> "LatentColumns":
        names = (latent.column, *((f"{latent.column}_flip",) if form.flip else ()))
        length = form.alone(latent).length(prod(latent.shape))
        return cls(dimension=length, names=names, storage=latent.storage)

    @property
    def all_names(self) -> tuple[str, ...]:
        """The names of all columns with latents."""
        return (*self.names, *(column for _, column in self.of_further()))

    def of_further(self) -> Iterator[tuple[str, str]]:
        """The names of further latents, each with a column that it has."""
        return ((name, column) for name, columns in self.further.items() for column in columns.names)

    def empty(self) -> list[Array]:
        """What ``arrays`` takes of no records, where latents are of one length."""
        own = [np.empty((0, self.dimension or 0), np.float32) for _ in self.names]
        return [*own, *(array for columns in self.further.values() for array in columns.empty())]

    def fields(self) -> list[pa.Field]:
        """The fields of the schema, in the order of ``arrays``."""
        fields = [pa.field(name, self._type, nullable=False) for name in self.names]
        fields += [field for columns in self.further.values() for field in columns.fields()]
        shape = pa.list_(pa.field("element", pa.int32(), nullable=False), 3)
        return fields if self.dimension is not None else [*fields, pa.field(SHAPE, shape, nullable=False)]

    def arrays(self, columns: Sequence[Latents]) -> tuple[list[pa.Array], int]:
        """The arrays of a batch of ``n`` records.

        Args:
          columns: latents for each of ``all_names``, float32: ``[n, D]``, or where they have shapes of their own ``n``
            arrays ``[h, w, c]``, of the same shapes in every column.

        Returns:
          The columns, and how many numbers were clipped to the range of the type.
        """
        pack = self._open if self.dimension is None else self._fixed
        given = iter(columns)
        packed = [pack(next(given), self._storage(name)) for name in self.names]
        arrays, clipped = [column for column, _ in packed], sum(clipped for _, clipped in packed)
        for further in self.further.values():
            found, cut = further.arrays([next(given) for _ in further.names])
            arrays, clipped = [*arrays, *found], clipped + cut
        if self.dimension is None:
            arrays.append(_shapes(columns[0]))
        return arrays, clipped

    @property
    def encoding(self) -> TableEncoding:
        """How the columns of the table are encoded, by what was measured for their type (decision 22).

        Integers of 8 bits are 32 bits in Parquet, so they get a dictionary; the halves of bfloat16 compress apart.
        """
        if self.storage.type == "float32":
            return TableEncoding()
        leaves = [f"{name}.list.element" for name in self.all_names]
        dictionary = leaves if self.storage.quantized else []
        split = leaves if self.storage.type == "bfloat16" else []
        return TableEncoding(
            dictionary=("shard", *dictionary),
            columns=tuple(("BYTE_STREAM_SPLIT", leaf) for leaf in split) + _COMPACT,
            level=None if self.storage.quantized else 9,
        )

    @property
    def _type(self) -> pa.DataType:
        element = pa.field("element", self.storage.element, nullable=False)
        return pa.list_(element) if self.dimension is None else pa.list_(element, self.storage.width(self.dimension))

    def _storage(self, name: str) -> VectorStorage:
        """Of one column. The variance of scaled latents is scaled by the square, and not shifted."""
        squared = self.storage.scaling_factor**2
        return replace(self.storage, scaling_factor=squared, shift_factor=0.0) if name == VARIANCE else self.storage

    def _fixed(self, latents: Latents, storage: VectorStorage) -> tuple[pa.Array, int]:
        stored, clipped = storage.pack(np.asarray(latents))
        # Of float32 no copy is made.
        return pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1)), type=self._type), clipped

    def _open(self, latents: Latents, storage: VectorStorage) -> tuple[pa.Array, int]:
        packed = [storage.pack(latent) for latent in latents]
        flat = [stored.reshape(-1) for stored, _ in packed]
        offsets = np.cumsum([0, *map(len, flat)]).astype(np.int32)
        values = pa.array(np.concatenate(flat) if flat else np.empty(0), self.storage.element)
        lists = pa.ListArray.from_arrays(pa.array(offsets), values, type=self._type)
        return lists, sum(clipped for _, clipped in packed)


_COMPACT = (("DELTA_BINARY_PACKED", "index"),)


def _shapes(latents: Latents) -> pa.Array:
    shapes = np.array([latent.shape for latent in latents], np.int32).reshape(-1, 3)
    element = pa.field("element", pa.int32(), nullable=False)
    return pa.FixedSizeListArray.from_arrays(pa.array(shapes.reshape(-1)), type=pa.list_(element, 3))
