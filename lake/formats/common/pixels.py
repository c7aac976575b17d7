"""Numbers as pixels or vectors of the types that the job knows."""

from collections.abc import Sequence

import numpy as np

from lake.core.records import Array, Fault, Reason, Stage
from lake.images.encoder import ImageEncoder, ImageFormat
from lake.images.types import ImageError, PixelLayout

_WHITE = 255
_CHANNELS = 4  # the most of an image, unless a model takes more


def payload_of(rows: Array) -> tuple[Array, dict[int, Fault]]:
    """Pixels ``[n, H, W, C]`` or vectors ``[n, d]``, in native byte order, and the faults of rows that are none.

    Args:
      rows: ``[n, d]``, ``[n, H, W]`` or ``[n, H, W, C]`` of numbers or booleans. Vectors and floating pixels become
        float32, and uint8 and uint16 stay. Pixels of any other integers, which many programs write for want of a
        choice, and booleans become uint8: 0 to 255, and white for true. Zeros stand for a row with a fault.
    """
    if rows.ndim == 2 or rows.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, and its record a reject
            return _with_channels(rows.astype(np.float32, copy=False)), {}
    if rows.dtype.kind == "b":
        return _with_channels(rows.astype(np.uint8) * np.uint8(_WHITE)), {}
    if rows.dtype.kind == "u" and rows.dtype.itemsize <= 2:
        return _with_channels(rows.astype(rows.dtype.newbyteorder("="), copy=False)), {}
    axes = tuple(range(1, rows.ndim))
    low, high = rows.min(axis=axes), rows.max(axis=axes)
    wrong = np.flatnonzero((low < 0) | (high > _WHITE)).tolist()
    pixels = rows.astype(np.uint8)
    pixels[wrong] = 0
    return _with_channels(pixels), {at: _fault(rows, at, int(low[at]), int(high[at])) for at in wrong}


_ENCODER = ImageEncoder(ImageFormat.LOSSLESS, quality=100)  # PNG, or TIFF for floating pixels


def image_file(pixels: Array) -> bytes:
    """An image whose pixels are numbers in a record, as a lossless image file.

    Args:
      pixels: ``[H, W]`` or ``[H, W, C]`` of any numbers; see ``payload_of``.

    Raises:
      ImageError: they are no pixels, or there are none or not 1 to 4 channels.
    """
    if not pixels.size:
        raise ImageError(Reason.EMPTY_IMAGE, f"an image of {' x '.join(map(str, pixels.shape))}", Stage.READ)
    rows, faults = payload_of(pixels[np.newaxis])
    if faults:
        raise ImageError(faults[0].reason, faults[0].detail, Stage.READ)
    if not 1 <= rows.shape[-1] <= 4:
        raise ImageError(Reason.WRONG_CHANNELS, f"{rows.shape[-1]} channels: images have 1 to 4", Stage.READ)
    return _ENCODER.encode(rows[0], None).data


def channels_last(pixels: Array, layout: PixelLayout | None = None) -> Array:
    """An image ``[C, H, W]`` as ``[H, W, C]``; any other, and one without channels, as it is.

    Args:
      pixels: an image.
      layout: of its sides; None as ``PixelLayout.AUTO``.

    >>> channels_last(np.zeros((3, 32, 48))).shape, channels_last(np.zeros((32, 48, 3))).shape
    ((32, 48, 3), (32, 48, 3))
    """
    first = layout == PixelLayout.CHW or (layout != PixelLayout.HWC and channels_first(pixels.shape))
    return pixels.transpose(1, 2, 0) if first and pixels.ndim == 3 else pixels


def folded_images(lines: Array, shape: Sequence[int], layout: PixelLayout | None) -> Array:
    """Images ``[n, H, W, C]`` of their numbers in one line each.

    Args:
      lines: ``[n, H * W * C]``.
      shape: height, width and channels.
      layout: order of the sides in a line.
    """
    height, width, channels = shape
    if layout == PixelLayout.CHW:
        return np.ascontiguousarray(lines.reshape(-1, channels, height, width).transpose(0, 2, 3, 1))
    return lines.reshape(-1, height, width, channels)


def dtype_of(size: int | None, count: int) -> str | None:
    """The type of pixels of which so many are in so many bytes; None if that does not tell it.

    Args:
      size: bytes of an image; None if there is none.
      count: numbers that it has.

    >>> dtype_of(784, 784), dtype_of(1568, 784), dtype_of(3136, 784)
    ('uint8', 'uint16', None)
    """
    return None if size is None else {count: "uint8", 2 * count: "uint16"}.get(size)


def channels_first(shape: Sequence[int], channels: int | None = None) -> bool:
    """Whether the sides of an image can only be channels, height and width.

    Args:
      shape: of an image.
      channels: that the model takes; images have 1 to 4 otherwise.

    >>> channels_first((3, 32, 48)), channels_first((32, 48, 3)), channels_first((5, 32, 48), 5)
    (True, False, True)
    """
    counts = {*range(1, _CHANNELS + 1), channels}
    return len(shape) == 3 and shape[0] in counts and shape[2] not in counts


def _with_channels(rows: Array) -> Array:
    return rows[..., np.newaxis] if rows.ndim == 3 else rows


def _fault(rows: Array, at: int, low: int, high: int) -> Fault:
    detail = f"pixels of {rows.dtype.name} are read as 8 bits, 0 to 255, and these are {low} to {high}; write uint16"
    return Fault(stage=Stage.READ, reason=Reason.WRONG_TYPE, detail=detail, data=rows[at].tobytes())
