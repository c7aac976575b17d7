"""How far the latents of a large output are from others: the rule for few rows, over a sample and all far ones.

A row of the sample stands for several. So its neighbours are weighted: the 30th neighbour is the one with which the
weights of it and of all nearer ones reach 30. Rows far from everything were all kept, so groups of them are whole.
"""

from dataclasses import dataclass

import numpy as np

from lake.core.records import Array
from pipeline.explore.nearest import Metric, exact_distances, find_nearest
from pipeline.report.survey_latents import LatentSurvey

_USUAL = 1000  # rows that tell which distances are usual
_FEWEST = 1000  # rows of a sample that stands for all
_AT_ONCE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDistances:
    """How far some rows are from their neighbours.

    Attributes:
      near: distance of each to its ``near``-th neighbour, float64 ``[m]``.
      far: to its ``far``-th one, float64 ``[m]``.
      gaps: the largest ratio of the distances to two neighbours that follow each other, up to the latter, float64
        ``[m]``.
    """

    near: Array
    far: Array
    gaps: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Which neighbours are looked at.

    Attributes:
      near: the neighbour to which a row alone is far.
      far: the neighbour to which a row of a group is far.
      first: the first neighbour after which a gap counts.
    """

    near: int
    far: int
    first: int


def measure_far(latents: LatentSurvey, rows: int, wanted: Neighbours) -> tuple[NearDistances, NearDistances] | None:
    """Measure how far the far rows are from others, and some rows drawn at random from the others.

    Args:
      latents: of the output.
      rows: of the output.
      wanted: the neighbours.

    Returns:
      Of the far rows, and of those drawn at random; None where there are no far ones, or the sample is too small.
    """
    count, own = len(latents.far_rows), ~np.isin(latents.rows, latents.far_rows)
    if not count or own.sum() < _FEWEST:
        return None
    values = np.concatenate([latents.far_values, latents.values[own]])
    weights = np.concatenate([np.ones(count), np.full(own.sum(), (rows - count) / own.sum())])
    drawn = count + np.sort(np.random.default_rng(0).permutation(len(values) - count)[:_USUAL])
    near, reached = _ranked(values, weights, np.concatenate([np.arange(count), drawn]), wanted.far + 1)
    columns = [np.minimum((reached < k - 1e-6).sum(1), near.shape[1] - 1) for k in (wanted.near, wanted.far)]
    at_near, at_far = (near[np.arange(len(near)), column] for column in columns)
    # Of distances that are small against usual ones no gap is one.
    padded = near + 0.05 * np.median(at_near[count:])
    counts = (np.arange(1, near.shape[1]) >= wanted.first) & (reached[:, :-1] < wanted.far)
    gaps = np.where(counts, padded[:, 1:] / np.maximum(padded[:, :-1], 1e-30), 0).max(1)
    far, usual = (
        NearDistances(near=at_near[side], far=at_far[side], gaps=gaps[side])
        for side in (slice(count), slice(count, None))
    )
    return far, usual


def _ranked(values: Array, weights: Array, rows: Array, k: int) -> tuple[Array, Array]:
    """Distances of some rows to the ``k`` nearest others, ascending, and the weights up to each, float64 ``[m, k]``."""
    norms = np.einsum("nd,nd->n", values, values)
    near, reached = np.empty((len(rows), k)), np.empty((len(rows), k))
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        positions, _ = find_nearest(values, norms, values[some], k + 1, Metric.L2)
        apart = exact_distances(values[some][:, None], values[positions], Metric.L2)
        apart[positions == some[:, None]] = np.inf  # itself
        order = np.argsort(apart, axis=1, kind="stable")[:, :-1]
        near[start : start + _AT_ONCE] = np.take_along_axis(apart, order, 1)
        reached[start : start + _AT_ONCE] = np.cumsum(np.take_along_axis(weights[positions], order, 1), axis=1)
    return near, reached
