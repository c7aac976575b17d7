"""From what a model puts out to the pixels of an image."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Pixels: TypeAlias = npt.NDArray[np.generic]

FULL = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}  # what white is, by dtype


def to_pixels(values: Floats, value_range: tuple[float, float], dtype: npt.DTypeLike) -> Pixels:
    """Pixels of values in a model's range.

    Args:
      values: float32 of any shape; what black and white are is in ``value_range``. A value that is no number gives
        some pixel: whoever calls looks for it before.
      value_range: of the model.
      dtype: uint8 or uint16: clipped to black and white, and rounded, halves to even; float32: as it is, where black
        is 0 and white is 1, not clipped.

    Raises:
      ValueError: another dtype.
    """
    to = np.dtype(dtype)
    if to.name not in FULL:
        raise ValueError(f"pixels of dtype {to.name}; they are one of {', '.join(FULL)}")
    low, high = value_range
    with np.errstate(over="ignore", invalid="ignore"):
        unit = values if (low, high) == (0.0, 1.0) else (values - np.float32(low)) / np.float32(high - low)
        if to == np.float32:
            return unit
        whole = np.multiply(unit, np.float32(FULL[to.name]))
        return np.rint(np.clip(whole, 0, FULL[to.name], out=whole), out=whole).astype(to)


def unit(pixels: Pixels) -> Floats:
    """Pixels as float32 where black is 0 and white is 1."""
    if pixels.dtype == np.float32:
        return np.asarray(pixels, np.float32)  # itself
    scaled: Floats = np.divide(pixels, np.float32(FULL[pixels.dtype.name]), dtype=np.float32)
    return scaled
