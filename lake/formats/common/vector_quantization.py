"""Scale and offset of vectors in integers and bits, chosen from a sample of them."""

from dataclasses import replace

import numpy as np

from lake.core.records import Array
from lake.formats.common.vector_storage import VectorStorage

_MARGIN = 0.25  # of the sample's range, on each side: what comes later may lie beyond it
_STEPS = {"int8": 254, "uint8": 255}


def fitted(storage: VectorStorage, sample: Array, *, whole: bool) -> VectorStorage:
    """A storage with scale and offset for vectors like those of a sample.

    For int8 and uint8 the range is that of the sample, and a quarter of it more on each side; a bound of exactly 0, as
    after ReLU, stays. A place that is constant in the sample gets the widest range of all, around its number, or from 0
    on. For binary, the offset is the mean, and the scale the mean distance from it.

    Args:
      storage: of an integer type, or of bits.
      sample: float32 ``[m, K]``, scaled as the storage scales vectors.
      whole: one scale and one offset for all places; else one for each.

    >>> found = fitted(VectorStorage(type="uint8"), np.array([[0, -1], [5.1, 1]], np.float32), whole=False)
    >>> [round(scale, 4) for scale in found.scale], found.offset
    ([0.025, 0.0118], (0.0, -1.5))
    """
    numbers = sample.astype(np.float64)
    numbers = numbers.reshape(-1, 1) if whole else numbers
    scale, offset = _bits(numbers) if storage.type == "binary" else _steps(numbers, storage.type)
    return replace(storage, scale=_as_float32(scale), offset=_as_float32(offset))


def _bits(numbers: Array) -> tuple[Array, Array]:
    mean = numbers.mean(axis=0)
    distance = np.abs(numbers - mean).mean(axis=0)
    return np.maximum(distance, np.finfo(np.float32).tiny), mean


def _steps(numbers: Array, kind: str) -> tuple[Array, Array]:
    low, high = numbers.min(axis=0), numbers.max(axis=0)
    margin = _MARGIN * (high - low)
    low, high = np.where(low == 0, low, low - margin), np.where(high == 0, high, high + margin)
    widest = (high - low).max() or 1.0
    constant = high == low
    low = np.where(constant & (low != 0), low - widest / 2, low)
    width = np.where(constant, widest, high - low)
    offset = low if kind == "uint8" else low + width / 2
    return np.maximum(width / _STEPS[kind], np.finfo(np.float32).tiny), offset


def _as_float32(numbers: Array) -> tuple[float, ...]:
    return tuple(numbers.astype(np.float32).astype(float).tolist())
