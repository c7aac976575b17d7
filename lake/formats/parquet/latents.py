"""Columns of latents that are stored in other numbers than float32, as the metadata of their file says."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.records import Array
from lake.formats.common.latent_arrays import check_reversible
from lake.formats.common.vector_storage import FLOAT32, VectorStorage, said_of

_UNSAID = (pa.int8(), pa.uint8(), pa.uint16())  # types whose numbers mean nothing by themselves


def stored_as(schema: pa.Schema, column: str, length: int | None) -> VectorStorage:
    """How a column of latents is stored.

    Args:
      schema: of the file, with its metadata.
      column: name of the column, a list of numbers.
      length: numbers in a latent; None where it is not known, or latents have shapes of their own.

    Raises:
      ValueError: the metadata is missing where the numbers mean nothing without it, does not fit, or says that the
        latents cannot be had back; the text says which.
    """
    kind = schema.field(column).type.value_type
    said = said_of(schema.metadata, column)
    if said is None:
        if kind in _UNSAID:
            raise ValueError(
                f"its column {column!r} is of {kind}, and its metadata does not say with what scale; give the table as "
                "it was written, or one of floating numbers"
            )
        return FLOAT32
    storage = VectorStorage.from_json(said)
    if kind != storage.element:
        raise ValueError(f"its column {column!r} is of {kind}, and its metadata says {storage.type}; it is damaged")
    if length is not None and not storage.fits(length):
        raise ValueError(f"its metadata has {len(storage.scale)} numbers of scale, and its latents have {length}")
    check_reversible(said)
    return storage


def floats_of(flat: pa.Array, storage: VectorStorage, length: int) -> Array:
    """Stored vectors as float32.

    Args:
      flat: the numbers of ``n`` vectors, one after another; those of a vector with a null become NaN.
      storage: how they are stored.
      length: numbers in a vector.

    Returns:
      float32 ``[n * length]``.
    """
    width = storage.width(length)
    stored = pc.fill_null(flat, pa.scalar(0, pa.int8()).cast(flat.type)) if flat.null_count else flat
    rows = storage.unpack(stored.to_numpy(zero_copy_only=False).reshape(-1, width), length)
    if flat.null_count:
        rows[flat.is_null().to_numpy(zero_copy_only=False).reshape(-1, width).any(axis=1)] = np.nan
    return rows.reshape(-1)
