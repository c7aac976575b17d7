"""How far numbers are above most others, and where the distances to neighbours jump."""

import numpy as np

from lake.core.records import Array


def fence_scores(values: Array) -> Array:
    """How far numbers are above the third quartile, in interquartile ranges; 0 where they do not vary.

    Args:
      values: finite numbers ``[n]``.

    >>> fence_scores(np.array([0.0, 1, 2, 3, 13])).tolist()
    [-1.5, -1.0, -0.5, 0.0, 5.0]
    """
    return scores_beside(values, values)


def scores_beside(values: Array, usual: Array) -> Array:
    """How far numbers are above the third quartile of others, in their interquartile ranges; 0 where these are equal.

    Args:
      values: finite numbers ``[n]``.
      usual: the others, ``[m]``.
    """
    low, high = np.percentile(usual, (25, 75))
    if high <= low:
        return np.zeros(len(values))
    return np.asarray((values - high) / (high - low))


def widest_gaps(near: Array) -> Array:
    """The largest ratio of the distances to two neighbours that follow each other, float64 ``[n]``.

    Distances that are small against those of all count as if they were not, so that copies make no gap by themselves.

    Args:
      near: distances to neighbours, ascending in each row, float64 ``[n, k]``.

    >>> widest_gaps(np.array([[1.0, 1.1, 1.2], [0.5, 0.6, 1.5]])).round(1).tolist()
    [1.1, 2.4]
    """
    padded = near + 0.05 * np.median(near[:, near.shape[1] // 4])
    return np.asarray((padded[:, 1:] / np.maximum(padded[:, :-1], 1e-30)).max(1))
