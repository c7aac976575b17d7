"""Conversion between pixels and the numbers that a model computes with."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Pixels: TypeAlias = npt.NDArray[np.generic]

FULL = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}  # dtype -> value of white


def to_pixels(values: Floats, value_range: tuple[float, float], dtype: npt.DTypeLike) -> Pixels:
    """Convert a model's output to pixels.

    Args:
      values: float32 of any shape, in the model's value range. Must be finite: NaN becomes an arbitrary pixel.
      value_range: the values of black and white.
      dtype: uint8 or uint16, clipped to black and white and rounded half to even; or float32, where black is 0 and
        white is 1, neither clipped nor rounded.

    Returns:
      Pixels of this dtype, in the shape of ``values``.

    Raises:
      ValueError: the dtype is another one.

    >>> to_pixels(np.array([-1.0, 0.0, 1.0, 2.0], np.float32), (-1.0, 1.0), np.uint8).tolist()
    [0, 128, 255, 255]
    """
    to = np.dtype(dtype)
    if to.name not in FULL:
        raise ValueError(f"pixels of dtype {to.name}; they are one of {', '.join(FULL)}")
    low, high = value_range
    # Casting NaN to an integer gives some pixel and a warning; the caller rejects such records beforehand.
    with np.errstate(over="ignore", invalid="ignore"):
        unit = values if (low, high) == (0.0, 1.0) else (values - np.float32(low)) / np.float32(high - low)
        if to == np.float32:
            return unit
        scaled = np.multiply(unit, np.float32(FULL[to.name]))
        return np.rint(np.clip(scaled, 0, FULL[to.name], out=scaled), out=scaled).astype(to)


def to_unit(pixels: Pixels) -> Floats:
    """Convert pixels to float32 where black is 0 and white is 1.

    >>> to_unit(np.array([0, 255], np.uint8)).tolist()
    [0.0, 1.0]
    """
    if pixels.dtype == np.float32:
        return np.asarray(pixels, np.float32)  # no copy
    scaled: Floats = np.divide(pixels, np.float32(FULL[pixels.dtype.name]), dtype=np.float32)
    return scaled


def to_values(pixels: Pixels, value_range: tuple[float, float]) -> Floats:
    """Convert pixels to numbers of a value range, the inverse of ``to_pixels``.

    Args:
      pixels: uint8, uint16, or float32 in 0..1.
      value_range: the values of black and white.

    >>> to_values(np.array([0, 255], np.uint8), (-1.0, 1.0)).tolist()
    [-1.0, 1.0]
    """
    low, high = value_range
    unit = to_unit(pixels)
    return unit if (low, high) == (0.0, 1.0) else unit * np.float32(high - low) + np.float32(low)
