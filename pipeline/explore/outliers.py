"""The records that are least like all others: by the model's error, or by how far their k-th nearest neighbour is.

The distance to the k-th neighbour is the score of Ramaswamy, Rastogi and Shim, "Efficient algorithms for mining
outliers from large data sets", SIGMOD 2000. A mean over all k would be small for outliers that are like each other.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa

from lake.core.errors import UsageError
from lake.core.records import Array
from pipeline.explore.answer import TableAnswer
from pipeline.explore.committed import IDENTITY, Committed, error_column, take_rows
from pipeline.explore.latent_cache import LatentMatrix, load_latents
from pipeline.explore.leaves import make_leaves, principal_axes
from pipeline.explore.nearest import Metric, exact_distances, find_nearest
from pipeline.options.explore import EXPLORE_DEFAULTS

_AT_ONCE = 512  # records whose neighbours are searched among all others at once
_MOST = 20  # searches


class Score(StrEnum):
    """What makes a record an outlier."""

    ERROR = "error"  # the model's error, mse
    NEIGHBOURS = "neighbours"  # distance to its k-th nearest neighbour


@dataclass(frozen=True, slots=True, kw_only=True)
class Outliers(TableAnswer):
    """The records with the highest scores.

    Attributes:
      table: ``key``, ``shard``, ``index`` and ``score``, the highest first.
      by: what the score is.
      exact: whether no other record has a higher score. Else all that a search of 10,000 candidates found.
    """

    table: pa.Table
    by: Score
    exact: bool = True


def find_outliers(
    committed: Committed,
    top: int,
    by: Score | None = None,
    k: int = EXPLORE_DEFAULTS.outlier_k,
    cache: str | None = None,
) -> Outliers:
    """Find the records that are least like the others.

    Args:
      committed: the output.
      top: how many.
      by: the score; None for the error where there is one.
      k: the distance (Euclidean) to this one of the nearest neighbours is the score. Outliers that are like each
        other are found while there are at most k of them.
      cache: local directory for latents; None for one in the output.

    Raises:
      UsageError: the output has no such score.
    """
    column = error_column(committed.schema())
    if by == Score.NEIGHBOURS or (by is None and column is None):
        latents = load_latents(committed, cache)
        positions, scores, exact = farthest(latents, top, k)
        return Outliers(table=_table(latents.rows, positions, scores), by=Score.NEIGHBOURS, exact=exact)
    if column is None:
        raise UsageError(
            f"{committed.layout.output} has no errors; name an output of reconstruct or denoise, or --by neighbours"
        )
    rows = committed.column_table([*IDENTITY, column])
    scores = rows.column(column).to_numpy().astype(np.float64)
    positions = np.lexsort((np.arange(len(scores)), -scores))[:top]
    return Outliers(table=_table(rows, positions, scores[positions]), by=Score.ERROR)


def farthest(latents: LatentMatrix, top: int, k: int) -> tuple[Array, Array, bool]:
    """The records whose ``k``-th nearest neighbour is farthest away.

    The neighbours in a record's own leaf give a bound that its score cannot exceed. The records with the highest bounds
    are compared with all others, until the bounds of the rest are below the scores that were found.

    Args:
      latents: the records.
      top: how many.
      k: which neighbour; the last one if there are fewer.

    Returns:
      Positions int64 ``[m]``, scores float64 ``[m]`` in descending order, and whether no other record has a higher one.
    """
    count = len(latents)
    if count < 2:
        return np.empty(0, np.int64), np.empty(0), True
    k = min(k, count - 1)
    bounds = _bounds(latents.values, k)
    order = np.lexsort((np.arange(count), -bounds))
    scores = np.full(count, -np.inf)
    for number in range(_MOST):
        some = order[number * _AT_ONCE : (number + 1) * _AT_ONCE]
        scores[some] = neighbour_distances(latents.values, latents.norms, some, k)[:, 0]
        best = np.lexsort((np.arange(count), -scores))[: min(top, count)]
        done = (number + 1) * _AT_ONCE
        if done >= count or scores[best[-1]] >= bounds[order[done]]:
            return best, scores[best], True
    found = best[np.isfinite(scores[best])]
    return found, scores[found], False


def _bounds(values: Array, k: int) -> Array:
    """An upper bound of each record's score: the distance to the k-th nearest of its leaf, float64 ``[n]``."""
    ones = np.ones(len(values), np.float32)
    leaves = make_leaves(values, ones, *principal_axes(values, ones))
    bounds = np.full(len(values), np.inf)
    for start, stop in zip(leaves.edges[:-1].tolist(), leaves.edges[1:].tolist(), strict=True):
        rows = leaves.order[start:stop]
        if len(rows) <= k:
            continue
        part = values[rows].astype(np.float64)
        part -= part.mean(0)
        norms = np.einsum("nd,nd->n", part, part)
        squares = np.maximum(norms[:, None] + norms - 2 * part @ part.T, 0)
        np.fill_diagonal(squares, np.inf)
        bounds[rows] = np.sqrt(np.partition(squares, k - 1, axis=1)[:, k - 1])
    return bounds * (1 + 1e-9)


def neighbour_distances(values: Array, norms: Array, some: Array, *ks: int) -> Array:
    """How far away the ``k``-th nearest neighbour is, for each ``k``, of some latents among all.

    Args:
      values: the latents, float32 ``[n, D]``.
      norms: their squared norms ``[n]``.
      some: positions of those that are asked about, int64 ``[m]``.
      ks: which neighbours, each at most ``n - 1``.

    Returns:
      Euclidean distances, float64 ``[m, len(ks)]``.

    >>> line = np.array([[0.0], [1.0], [3.0], [7.0]], np.float32)
    >>> neighbour_distances(line, line[:, 0] ** 2, np.array([0, 3]), 2, 1).tolist()
    [[3.0, 1.0], [6.0, 4.0]]
    """
    queries = values[some]
    positions, _ = find_nearest(values, norms, queries, max(ks) + 1, Metric.L2)
    distances = exact_distances(queries[:, None], values[positions], Metric.L2)
    # Itself does not count; it is not among the nearest only where more than k others are equal.
    own = positions == some[:, None]
    own[~own.any(1), -1] = True
    near = np.sort(distances[~own].reshape(len(some), -1), axis=1)
    scores: Array = near[:, [k - 1 for k in ks]]
    return scores


def _table(rows: pa.Table, positions: Array, scores: Array) -> pa.Table:
    return take_rows(rows, positions).append_column("score", pa.array(scores, pa.float64()))
