"""Arrow list columns of numbers as rows of one float32 array."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.records import Array, Fault, Reason, Stage
from lake.formats.common.vector_storage import FLOAT32, VectorStorage
from lake.formats.parquet.latents import floats_of


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column of this type holds vectors: a list, large list or fixed-size list of numbers."""
    types = pa.types
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return False
    return bool(types.is_integer(kind.value_type) or types.is_floating(kind.value_type))


def lengths(vectors: pa.Array) -> Array:
    """Numbers in each vector, int64 ``[n]``; -1 for a null vector."""
    sizes: Array = pc.fill_null(pc.list_value_length(vectors), -1).to_numpy()
    return sizes.astype(np.int64)


def rows(
    vectors: pa.Array, length: int | None, storage: VectorStorage = FLOAT32
) -> tuple[pa.FixedSizeListArray, dict[int, Fault]]:
    """Vectors of one length, and the faults of the others.

    Args:
      vectors: a column of ``n`` vectors for which ``is_vector`` holds.
      length: numbers that a vector must have; None for as many as the first one has.
      storage: how they are stored.

    Returns:
      ``fixed_size_list<float32, length>[n]`` with zeros in rows that have faults, and the faults by row. A null number
      becomes NaN, and a number beyond float32 becomes infinite.

    >>> values, faults = rows(pa.array([[1, 2], [3], None]), length=2)
    >>> values.to_pylist()
    [[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]]
    >>> {row: fault.detail for row, fault in faults.items()}
    {1: '1 numbers, not 2', 2: 'the vector is null'}
    """
    sizes = lengths(vectors)
    if length is None:
        length = int(next((size for size in sizes if size > 0), 1))
    width = storage.width(length)
    good = sizes == width
    if good.all():
        numbers = _numbers(vectors, storage, length)
    else:
        table = np.zeros((len(vectors), length), np.float32)
        table[good] = _numbers(vectors.filter(pa.array(good)), storage, length).reshape(-1, length)
        numbers = table.reshape(-1)
    faults = {int(at): _fault(vectors, int(at), int(sizes[at]), width) for at in np.flatnonzero(~good)}
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers), length), faults


def _numbers(vectors: pa.Array, storage: VectorStorage, length: int) -> Array:
    if not storage.plain:
        return floats_of(vectors.flatten(), storage, length)
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):  # an infinite number makes its record a reject, when it is decoded
        return np.ascontiguousarray(flat, np.float32)


def _fault(vectors: pa.Array, at: int, size: int, length: int) -> Fault:
    if size < 0:
        return Fault(stage=Stage.READ, reason=Reason.MISSING_IMAGE, detail="the vector is null")
    data = vectors[at].values.to_numpy(zero_copy_only=False).tobytes()
    return Fault(stage=Stage.READ, reason=Reason.WRONG_LENGTH, detail=f"{size} numbers, not {length}", data=data)
