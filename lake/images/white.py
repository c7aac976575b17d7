"""The value of white in floating pixels: 1 in most sources, 255 or another number in some."""

import numpy as np

from lake.core.records import Array, Reason
from lake.images.codecs import tiff
from lake.images.header import format_of
from lake.images.types import Header, ImageCodec, ImageError, Target

_USUAL = (255, 1023, 4095, 16383, 65535)
_DIM = 1 / 64  # below this a network sees hardly more than black
_LARGEST, _SMALLEST = 2.0, -1.0  # beyond these, pixels with a white of 1 are taken for pixels of another scale
_FAR = 2.0  # no image has a mean above this, whatever its highlights and its noise


def white_of(header: Header, target: Target) -> float:
    """The value of white in the floating pixels of an image: what the job says, else what the image's type says."""
    return header.white if target.white == 1 else target.white


def white_at_one(pixels: Array, white: float) -> Array:
    """Floating pixels with white at 1; integers unchanged.

    Args:
      pixels: of any shape; floating ones are float32.
      white: their value of white.
    """
    if white == 1 or pixels.dtype.kind != "f":
        return pixels
    return pixels / np.float32(white)


def image_at_one(pixels: Array, white: float) -> Array:
    """As ``white_at_one``, for one image that may be on another scale than the others.

    Args:
      pixels: of any shape; floating ones are float32.
      white: their value of white.

    Raises:
      ImageError: WRONG_SCALE; the detail has the ``--white`` to give.
    """
    scaled = white_at_one(pixels, white)
    if off_scale(scaled[None]).any():
        raise ImageError(Reason.WRONG_SCALE, scale_advice(scaled, white))
    return scaled


def off_scale(images: Array) -> Array:
    """Which images have another scale than 0..1, by the mean of their pixels, bool ``[n]``.

    Those that are as far below 0 are not counts, but decibels or differences, which a model may have learned.

    Args:
      images: ``[n, ...]``; integers are never on another scale.

    >>> off_scale(np.array([[0.1, 3], [200, 300], [-80, 0], [-80, 99]], np.float32)).tolist()
    [False, True, False, False]
    """
    if images.dtype.kind != "f" or not images.size:
        return np.zeros(len(images), bool)
    axes = tuple(range(1, images.ndim))
    with np.errstate(over="ignore"):
        mean = images.mean(axis=axes)
    far: Array = mean > _FAR
    return far & (images.min(axis=axes) >= -mean) if far.any() else far


def scale_advice(pixels: Array, white: float) -> str:
    """What is wrong with an image that is ``off_scale``, and what to do.

    Args:
      pixels: of it, with white at 1.
      white: the value of white that they were divided by.

    >>> scale_advice(np.array([10, 20], np.float32), 1)
    'floating pixels where white is 1, with values up to 20: set --white 255'
    """
    return f"floating pixels where white is {white:g}, with {advice(pixels * np.float32(white))}"


def on_scale(pixels: Array, white: float) -> Array:
    """The inverse of ``white_at_one``.

    >>> on_scale(white_at_one(np.array([255], np.float32), 255), 255).tolist()
    [255.0]
    """
    if white == 1 or pixels.dtype.kind != "f":
        return pixels
    return pixels * np.float32(white)


def as_stored(pixels: Array, original: bytes | None, white: float) -> Array:
    """Pixels in the type and on the scale of the image file that they were made from.

    Args:
      pixels: uint8 or uint16, which stay as they are, or float32 with white at 1.
      original: the file, which was decoded before; None if there is none.
      white: value of white that the job says; 1 for what the file's type says.

    Returns:
      Integers, rounded and clipped, if the file is a TIFF of such that are neither uint8 nor uint16; else pixels of the
      same type.
    """
    if pixels.dtype.kind != "f" or original is None or format_of(original) is not ImageCodec.TIFF:
        return on_scale(pixels, white)
    kind = tiff.kind(original)
    if kind.white == 1:
        return on_scale(pixels, white)
    limits = np.iinfo(kind.dtype)
    values = np.rint(pixels * np.float64(kind.white if white == 1 else white))
    low, high = np.float64(limits.min), np.nextafter(np.float64(limits.max) + 1, 0)  # 2^63 - 1 is no float64
    return np.clip(values, low, min(high, np.float64(limits.max))).astype(kind.dtype)


def advice(pixels: Array) -> str | None:
    """What to do about floating pixels that are far outside of 0..1; None for pixels that are not.

    Args:
      pixels: as a decoder gives them, of any shape; integers need no advice.

    >>> advice(np.array([0, 255], np.float32))
    'values up to 255: set --white 255'
    >>> advice(np.array([-0.5, 1.5], np.float32)) is None
    True
    """
    if pixels.dtype.kind != "f" or not pixels.size:
        return None
    low, high = float(pixels.min()), float(pixels.max())
    if high > _LARGEST:
        return f"values up to {high:g}: set --white {_usual(high):g}"
    return f"values down to {low:g}: bring them to 0..1" if low < _SMALLEST else None


def advice_for_dim(brightest: float, header: Header) -> str | None:
    """What to do about integers of a wide type that use little of its range; None for pixels that are not such.

    Args:
      brightest: the largest pixel, with white at 1.
      header: of the image.
    """
    if header.white == 1 or brightest > _DIM:
        return None
    high = brightest * header.white
    return f"values up to {high:g} of {header.white:g}: set --white {_usual(high):g}"


def _usual(high: float) -> float:
    return next((usual for usual in _USUAL if high <= usual), high)
