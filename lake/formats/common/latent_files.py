"""Latents with shapes of their own as ``.npy`` files, made of lists of numbers, and read back as arrays."""

from io import BytesIO
from math import prod

import numpy as np
import pyarrow as pa

from lake.core.records import Array, Fault, Reason, Stage
from lake.formats.common.npy import npy_header, read_npy_header
from lake.formats.common.vector_storage import FLOAT32, VectorStorage
from lake.images.types import ImageError

_FLOAT = np.dtype("<f4")


def as_files(
    column: pa.Array, shapes: pa.Array, limit: int, storage: VectorStorage = FLOAT32
) -> tuple[pa.Array, dict[int, Fault]]:
    """Lists of numbers as ``.npy`` files, and the faults of rows that are no latents.

    Args:
      column: ``n`` lists of numbers in row-major order.
      shapes: height, width and channels of each, ``n`` lists of three integers.
      limit: most bytes of a latent.
      storage: how the numbers are stored.

    >>> found, faults = as_files(pa.array([[1.0, 2.0], [3.0]]), pa.array([[1, 2, 1], [1, 2, 1]]), limit=1 << 20)
    >>> latent_of(found[0].as_py(), channels=1).tolist(), faults[1].detail
    ([[[1.0], [2.0]]], '1 numbers, not 1 x 2 x 1')
    """
    found, faults = list[bytes | None](), dict[int, Fault]()
    for row in range(len(column)):
        try:
            found.append(_file(column[row], shapes[row].as_py(), limit, storage))
        except ImageError as error:
            found.append(None)
            faults[row] = error.fault()
    return pa.array(found, pa.binary()), faults


def _file(numbers: pa.Scalar, shape: list[int | None] | None, limit: int, storage: VectorStorage) -> bytes:
    if not numbers.is_valid:
        raise ImageError(Reason.MISSING_IMAGE, "the latent is null", Stage.READ)
    if shape is None or len(shape) != 3 or not all(side is not None and side > 0 for side in shape):
        raise ImageError(Reason.INVALID_RECORD, f"a shape of {shape}, not height, width and channels", Stage.READ)
    sides = tuple(int(side) for side in shape if side is not None)
    values = numbers.values
    if not storage.plain:
        return _unpacked_file(values, sides, limit, storage)
    if len(values) != prod(sides):
        raise ImageError(Reason.WRONG_LENGTH, f"{len(values)} numbers, not {' x '.join(map(str, sides))}", Stage.READ)
    if len(values) * _FLOAT.itemsize > limit:
        raise ImageError(Reason.RECORD_TOO_LARGE, f"{len(values)} numbers; the most is {limit} bytes", Stage.READ)
    with np.errstate(over="ignore"):  # an infinite number makes its record a reject, when it is decoded
        data: Array = values.to_numpy(zero_copy_only=False).astype(_FLOAT)
    return b"".join((npy_header(_FLOAT, sides), data.tobytes()))


def _unpacked_file(values: pa.Array, sides: tuple[int, ...], limit: int, storage: VectorStorage) -> bytes:
    height, width, channels = sides
    if len(values) != height * width * storage.width(channels) or not storage.fits(channels) or values.null_count:
        shape = " x ".join(map(str, sides))
        problem = f"{len(values)} numbers of {storage.type}, which are no latent of {shape}"
        raise ImageError(Reason.WRONG_LENGTH, problem, Stage.READ)
    if prod(sides) * _FLOAT.itemsize > limit:
        raise ImageError(Reason.RECORD_TOO_LARGE, f"{prod(sides)} numbers; the most is {limit} bytes", Stage.READ)
    stored = values.to_numpy(zero_copy_only=False).reshape(height, width, -1)
    return b"".join((npy_header(_FLOAT, sides), storage.unpack(stored, channels).astype(_FLOAT).tobytes()))


def latent_of(data: bytes, channels: int) -> Array:
    """The latent in a ``.npy`` file, float32 ``[h, w, c]``.

    Args:
      data: the whole file, of any numbers.
      channels: that it must have.

    Raises:
      ImageError: INVALID_RECORD, WRONG_CHANNELS or NON_FINITE_INPUT.
    """
    try:
        layout = read_npy_header(b"", BytesIO(data))
    except (ValueError, EOFError) as error:
        raise ImageError(Reason.INVALID_RECORD, f"not a .npy file: {error}") from error
    shape = " x ".join(map(str, layout.shape))
    if layout.dtype is None or layout.dtype.kind not in "iuf" or len(layout.shape) != 3 or 0 in layout.shape:
        raise ImageError(Reason.INVALID_RECORD, f"{shape} of {layout.descr}, not height, width and channels of numbers")
    if layout.shape[2] != channels:
        raise ImageError(Reason.WRONG_CHANNELS, f"a latent of {shape}, and the model's have {channels} channels")
    if len(data) != layout.end:
        raise ImageError(Reason.INVALID_RECORD, f"{len(data)} bytes where the header announces {layout.end}")
    values = np.frombuffer(data, layout.dtype, offset=layout.offset)
    with np.errstate(over="ignore"):
        latent: Array = values.reshape(layout.shape, order="F" if layout.fortran else "C").astype(np.float32)
    if not np.isfinite(latent).all():
        raise ImageError(Reason.NON_FINITE_INPUT, "NaN or infinite values in the latent")
    return latent
