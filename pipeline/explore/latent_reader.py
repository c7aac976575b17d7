"""Latents of a table as numbers, in whatever type they are stored."""

from dataclasses import dataclass

import pyarrow as pa

from lake.core.errors import UsageError
from lake.core.records import Array
from lake.formats.common.vector_storage import FIRST, FLOAT32, VectorStorage, storage_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentReader:
    """Reads the column of latents of an output's tables as float32, whatever numbers are stored.

    Attributes:
      dimension: length D of every latent.
      storage: how they are stored.
    """

    dimension: int
    storage: VectorStorage = FLOAT32

    @classmethod
    def of(cls, schema: pa.Schema, output: str, column: str = FIRST) -> "LatentReader":
        """Look at the schema of an output's tables.

        Args:
          schema: with the metadata of the file.
          output: the output, for the text of an error.
          column: of the latents.

        Raises:
          UsageError: it has no latents, or not all of one length.

        >>> LatentReader.of(pa.schema([("latent", pa.list_(pa.float32(), 8))]), "out").dimension
        8
        """
        if column not in schema.names:
            raise UsageError(f"{output} has no latents; name the output of encode or reconstruct")
        kind = schema.field(column).type
        try:
            storage = storage_of(schema.metadata, column) or FLOAT32
        except ValueError as error:
            raise UsageError(f"{output}: the metadata of its latents are damaged: {error}") from error
        if not pa.types.is_fixed_size_list(kind):
            raise UsageError(f"{output} has latents of type {kind}; only such of one length can be compared")
        if kind.value_type != storage.element:
            raise UsageError(f"{output} has latents of {kind.value_type} whose metadata say {storage.type}")
        size = int(kind.list_size)
        bits = len(storage.scale) if len(storage.scale) > 1 else 8 * size
        return cls(dimension=bits if storage.type == "binary" else size, storage=storage)

    def read(self, column: pa.Array) -> Array:
        """The latents of some rows, float32 ``[n, D]``.

        Args:
          column: of the tables.

        >>> LatentReader(dimension=2).read(pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))).tolist()
        [[1.0, 2.0]]
        """
        stored = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)
        return self.storage.unpack(stored, self.dimension)
