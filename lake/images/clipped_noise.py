"""What clipping takes from normal noise: near black and white pixels vary less than the noise did before.

Foi, "Clipped noisy images: heteroskedastic modeling and practical denoising", Signal Processing 2009, has the moments.
"""

import math
from collections.abc import Callable

import numpy as np

from lake.core.records import Array

_GRID = 129  # means before clipping that the share is interpolated between
_FAR = 3.0  # deviations beyond a clipped value, where next to nothing is left
_NEVER = 40.0  # deviations to a value that is never reached

_upper = np.vectorize(lambda value: math.erfc(value / math.sqrt(2)) / 2, otypes=[np.float64])


def clipped_moments(mean: Array, deviation: Array, low: float, high: float) -> tuple[Array, Array]:
    """Mean and variance of clipped normal numbers.

    Args:
      mean: before clipping, float64 of any shape.
      deviation: likewise, above 0.
      low: least value; minus infinity for none.
      high: greatest value; infinity for none.

    Half of the noise about black is cut off:

    >>> mean, variance = clipped_moments(np.zeros(1), np.ones(1), 0, np.inf)
    >>> round(float(mean[0]), 4), round(float(variance[0]), 4)  # 1 / sqrt(2 pi) and 1/2 - 1 / (2 pi)
    (0.3989, 0.3408)
    """
    below = np.clip((low - mean) / deviation, -_NEVER, _NEVER)
    above = np.clip((high - mean) / deviation, -_NEVER, _NEVER)
    cut = _upper(-below), _upper(above)
    density = (np.exp(-np.square(end) / 2) / math.sqrt(2 * math.pi) for end in (below, above))
    at_low, at_high = density
    first = below * cut[0] + above * cut[1] + at_low - at_high
    second = below**2 * cut[0] + above**2 * cut[1] + 1 - sum(cut) + below * at_low - above * at_high
    return mean + deviation * first, np.square(deviation) * np.maximum(second - first**2, 0)


def left_by_clipping(means: Array, variance_at: Callable[[Array], Array], low: float, high: float) -> Array:
    """The share of the noise's variance that clipping has left where pixels have these means, float64 ``[n]``.

    Args:
      means: after clipping, ``[n]``.
      variance_at: the variance of the noise before, by brightness.
      low: least value; minus infinity for none.
      high: greatest value; infinity for none.
    """
    if not np.isfinite([low, high]).any():
        return np.ones(len(means))
    least, most = float(means.min()), float(means.max())
    room = _FAR * float(variance_at(means).max()) ** 0.5
    before = np.linspace(least - room * np.isfinite(low), most + room * np.isfinite(high), _GRID)
    variance = np.maximum(variance_at(before.clip(least, most)), np.finfo(np.float64).tiny)
    after, left = clipped_moments(before, np.sqrt(variance), low, high)
    shares: Array = np.interp(means, after, left / variance)
    return shares
