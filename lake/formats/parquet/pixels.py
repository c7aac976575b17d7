"""Columns whose images are their pixels: nested lists, as Hugging Face's ``Array2D`` and ``Array3D``, or flat lists."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.records import Array, Fault, Reason, Stage
from lake.formats.common.pixels import channels_last, image_file, payload_of
from lake.formats.parquet import vectors
from lake.images.types import ImageError, PixelLayout


def is_nested(kind: pa.DataType) -> bool:
    """Whether a column of this type holds images as two or three levels of lists of numbers."""
    levels = 0
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind, levels = kind.value_type, levels + 1
    return levels in (2, 3) and _is_number(kind)


def is_flat(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists of numbers, which may be the pixels of images of one size."""
    return vectors.is_vector(kind)


def files(column: pa.Array, limit: int, layout: PixelLayout | None = None) -> tuple[pa.Array, dict[int, Fault]]:
    """Images as lossless image files, and the faults of rows that are none.

    Args:
      column: ``n`` nested lists ``[H][W]``, ``[H][W][C]`` or ``[C][H][W]``.
      limit: most bytes of an image's numbers.
      layout: of three sides; None for the one that only can be meant.
    """
    found, faults = list[bytes | None](), dict[int, Fault]()
    for at in range(len(column)):
        try:
            found.append(image_file(channels_last(_pixels(column.slice(at, 1), limit), layout)))
        except ImageError as error:
            found.append(None)
            faults[at] = error.fault()
    return pa.array(found, pa.binary()), faults


def lines(column: pa.Array, length: int) -> tuple[pa.FixedSizeListArray, dict[int, Fault]]:
    """Pixels of images of one size, row by row, and the faults of the others.

    Args:
      column: ``n`` lists of numbers.
      length: numbers that an image has.

    Returns:
      ``fixed_size_list<uint8 or float32, length>[n]``, zeros in rows that have faults, and the faults by row.
    """
    sizes, nulls = vectors.lengths(column), _has_null(column)
    good = (sizes == length) & ~nulls
    numbers = column.filter(pa.array(good)).flatten().to_numpy(zero_copy_only=False).reshape(-1, 1, length)
    pixels, unfit = payload_of(numbers)
    table = np.zeros((len(column), length), pixels.dtype)
    table[good] = pixels.reshape(-1, length)
    faults = {int(at): _misfit(int(sizes[at]), length) for at in np.flatnonzero(~good)}
    faults |= {int(np.flatnonzero(good)[at]): fault for at, fault in unfit.items()}
    return pa.FixedSizeListArray.from_arrays(pa.array(table.reshape(-1)), length), faults


def bare(column: pa.Array, dtype: str, length: int) -> tuple[pa.FixedSizeListArray, dict[int, Fault]]:
    """Pixels of images of one size that are bytes, as ``lines`` gives them.

    Args:
      column: binary ``[n]``.
      dtype: of a number, little-endian.
      length: numbers that an image has.
    """
    item, found = np.dtype(dtype).newbyteorder("<"), sizes(column)
    good = found == length * item.itemsize
    data = b"".join(column.filter(pa.array(good)).to_pylist())
    pixels, unfit = payload_of(np.frombuffer(data, item).reshape(-1, 1, length))
    table = np.zeros((len(column), length), pixels.dtype)
    table[good] = pixels.reshape(-1, length)
    faults = {int(at): _misfit(int(found[at]), length * item.itemsize, "bytes") for at in np.flatnonzero(~good)}
    faults |= {int(np.flatnonzero(good)[at]): fault for at, fault in unfit.items()}
    return pa.FixedSizeListArray.from_arrays(pa.array(table.reshape(-1)), length), faults


def sizes(column: pa.Array) -> Array:
    """Bytes of each value of a column of files, int64 ``[n]``; -1 for a null."""
    files = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
    files = files.dictionary_decode() if pa.types.is_dictionary(files.type) else files
    found: Array = pc.fill_null(pc.binary_length(files.cast(pa.large_binary())), -1).to_numpy()
    return found.astype(np.int64)


def _pixels(row: pa.Array, limit: int) -> Array:
    """The numbers of one image.

    Raises:
      ImageError: it is null, too large, or its lists are of unequal lengths or have nulls.
    """
    if row.null_count:
        raise ImageError(Reason.MISSING_IMAGE, "the image is null", Stage.READ)
    shape = list[int]()
    while pa.types.is_nested(row.type):
        sides = pc.unique(pc.list_value_length(row)).to_pylist()
        if len(sides) != 1 or sides[0] is None:
            raise ImageError(Reason.INVALID_RECORD, f"lists of {len(sides)} lengths in one image", Stage.READ)
        shape.append(sides[0])
        row = row.flatten()
    if row.nbytes > limit:
        raise ImageError(Reason.RECORD_TOO_LARGE, f"{row.nbytes} bytes; the most is {limit}", Stage.READ)
    if row.null_count:
        raise ImageError(Reason.INVALID_RECORD, f"{row.null_count} numbers of the image are null", Stage.READ)
    pixels: Array = row.to_numpy(zero_copy_only=False).reshape(shape)
    return pixels


def _has_null(column: pa.Array) -> Array:
    """Which lists have a number that is null, bool ``[n]``."""
    flat = column.flatten()
    if not flat.null_count:
        return np.zeros(len(column), bool)
    edges = [0, *np.cumsum(np.maximum(vectors.lengths(column), 0)).tolist()]
    null = flat.is_null().to_numpy(zero_copy_only=False)
    return np.array([null[start:stop].any() for start, stop in pairwise(edges)])


def _misfit(size: int, length: int, what: str = "numbers") -> Fault:
    if size < 0:
        return Fault(stage=Stage.READ, reason=Reason.MISSING_IMAGE, detail="the image is null")
    if size == length:
        return Fault(stage=Stage.READ, reason=Reason.INVALID_RECORD, detail="numbers of the image are null")
    return Fault(stage=Stage.READ, reason=Reason.WRONG_LENGTH, detail=f"{size} {what}, not {length}")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))
