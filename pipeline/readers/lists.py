"""Arrow columns of lists of numbers, as rows of one float32 array."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records import Array, Fault, Reason, Stage


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column of this type keeps vectors: a list, large list or fixed-size list of numbers."""
    types = pa.types
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return False
    return bool(types.is_integer(kind.value_type) or types.is_floating(kind.value_type))


def lengths(vectors: pa.Array) -> Array:
    """Numbers in each vector, int64 ``[n]``; -1 where a vector is null."""
    sizes: Array = pc.fill_null(pc.list_value_length(vectors), -1).to_numpy()
    return sizes.astype(np.int64)


def rows(vectors: pa.Array, length: int | None) -> tuple[pa.FixedSizeListArray, dict[int, Fault]]:
    """Vectors of one length, and what is wrong with the others.

    Args:
      vectors: a column for which ``is_vector`` holds, of ``n`` vectors.
      length: numbers that a vector must have; None: as many as the first one has.

    Returns:
      ``fixed_size_list<float32, length>[n]``, zeros in the rows that have faults; a number that is null is NaN,
      and one beyond the range of float32 is infinite.
    """
    sizes = lengths(vectors)
    if length is None:
        length = int(next((size for size in sizes if size > 0), 1))
    good = sizes == length
    if good.all():
        numbers = _numbers(vectors)
    else:
        table = np.zeros((len(vectors), length), np.float32)
        table[good] = _numbers(vectors.filter(pa.array(good))).reshape(-1, length)
        numbers = table.reshape(-1)
    faults = {int(at): _fault(vectors, int(at), int(sizes[at]), length) for at in np.flatnonzero(~good)}
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers), length), faults


def _numbers(vectors: pa.Array) -> Array:
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):  # infinity is a reject of its own, later
        return np.ascontiguousarray(flat, np.float32)


def _fault(vectors: pa.Array, at: int, size: int, length: int) -> Fault:
    if size < 0:
        return Fault(stage=Stage.READ, reason=Reason.MISSING_IMAGE, detail="the vector is null")
    data = vectors[at].values.to_numpy(zero_copy_only=False).tobytes()
    return Fault(stage=Stage.READ, reason=Reason.WRONG_LENGTH, detail=f"{size} numbers, not {length}", data=data)
