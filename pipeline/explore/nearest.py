"""The nearest latents of some queries: exact, by blocked matrix products over all of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from lake.core.records import Array

_PRODUCTS = 1 << 22  # numbers of one block of products
_FEWEST, _MOST = 512, 1 << 15  # rows of a block
_AT_ONCE = 1024  # queries
_SLACK = 8  # candidates beyond k, since products of float32 round


class Metric(StrEnum):
    """How far two latents are from each other."""

    COSINE = "cosine"  # one minus the cosine of the angle between them; one for a latent that is zero
    L2 = "l2"  # Euclidean


def find_nearest(values: Array, norms: Array, queries: Array, k: int, metric: Metric) -> tuple[Array, Array]:
    """Find the ``k`` nearest rows for each query.

    Candidates are chosen by products in float32 and ordered by distances in float64, so the order of rows whose
    distances differ by less than float32 can tell may depend on the machine only beyond place ``k + 8``.

    Args:
      values: float32 ``[n, D]``, may be memory-mapped.
      norms: their squared lengths, float32 ``[n]``.
      queries: float32 ``[q, D]``.
      k: how many.
      metric: of the distances.

    Returns:
      Positions int64 ``[q, m]`` and distances float64 ``[q, m]``, ascending, with ``m = min(k, n)``.

    >>> points = np.array([[0, 0], [3, 4], [1, 0]], np.float32)
    >>> positions, distances = find_nearest(points, (points**2).sum(1), points[:1], 2, Metric.L2)
    >>> positions.tolist(), distances.tolist()
    ([[0, 2]], [[0.0, 1.0]])
    """
    found = [
        _nearest(values, norms, queries[start : start + _AT_ONCE], k, metric)
        for start in range(0, max(len(queries), 1), _AT_ONCE)
    ]
    return np.concatenate([one for one, _ in found]), np.concatenate([other for _, other in found])


def exact_distances(some: Array, others: Array, metric: Metric) -> Array:
    """Distances of pairs of rows in float64, ``[...]``.

    Args:
      some: ``[..., D]``.
      others: of a shape that goes with it.
      metric: of the distances.

    >>> exact_distances(np.array([[3.0, 0.0]]), np.array([[0.0, 4.0]]), Metric.L2).tolist()
    [5.0]
    """
    one, other = some.astype(np.float64), others.astype(np.float64)
    if metric == Metric.L2:
        distances: Array = np.linalg.norm(one - other, axis=-1)
        return distances
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    products = (one * other).sum(-1)
    cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return np.asarray(np.clip(1 - cosines, 0, 2))


def _nearest(values: Array, norms: Array, queries: Array, k: int, metric: Metric) -> tuple[Array, Array]:
    most = min(k + _SLACK, len(values))
    best = _Best(queries=len(queries), most=most)
    for start, scores in _scores(values, norms, queries, metric):
        best.add(start, scores)
    positions = best.positions()
    distances = exact_distances(queries[:, None], values[positions], metric)
    order = np.lexsort((positions, distances))[:, : min(k, len(values))]
    return np.take_along_axis(positions, order, 1), np.take_along_axis(distances, order, 1)


def _scores(values: Array, norms: Array, queries: Array, metric: Metric) -> Iterator[tuple[int, Array]]:
    """Yield numbers ``[block, q]`` that are the larger the nearer, and the position of each block."""
    rows = max(_FEWEST, min(_MOST, _PRODUCTS // max(len(queries), 1)))
    # Rows by queries, and not queries by rows: the product is three times as fast with the large matrix as it lies.
    columns, products = np.ascontiguousarray(queries.T), np.empty((rows, len(queries)), np.float32)
    for start in range(0, len(values), rows):
        block = norms[start : start + rows, None]
        scores = np.matmul(values[start : start + rows], columns, out=products[: len(block)])
        if metric == Metric.L2:
            scores -= block / 2
        else:
            scores *= np.divide(1, np.sqrt(block), out=np.zeros_like(block), where=block > 0)
        yield start, scores


@dataclass(slots=True, kw_only=True)
class _Best:
    """The largest scores of each query so far, and candidates that are yet to be sorted in."""

    queries: int
    most: int
    _floor: Array = field(init=False)
    _parts: list[tuple[Array, Array, Array]] = field(default_factory=list)
    _waiting: int = 0

    def __post_init__(self) -> None:
        self._floor = np.full(self.queries, -np.inf, np.float32)

    def add(self, start: int, scores: Array) -> None:
        """Add a block of scores ``[block, q]``."""
        if len(scores) > self.most and not self._parts:  # nothing to compare with yet
            row = np.argpartition(-scores, self.most - 1, axis=0)[: self.most].ravel()
            query = np.tile(np.arange(self.queries), self.most)
        else:
            # As equal ones too, else rows that are the same as many others before them would be missed.
            row, query = np.divmod(np.flatnonzero(scores >= self._floor), self.queries)
        self._parts.append((query, scores[row, query], row + start))
        self._waiting += len(query)
        if self._waiting > 4 * self.queries * self.most or len(self._parts) == 1:
            self._sort()

    def _sort(self) -> None:
        query, score, position = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        order = np.lexsort((position, -score, query))
        query, score, position = query[order], score[order], position[order]
        first = np.searchsorted(query, np.arange(self.queries))
        rank = np.arange(len(query)) - first[query]
        kept = rank < self.most
        self._parts = [(query[kept], score[kept], position[kept])]
        last = rank == self.most - 1
        self._floor[query[last]] = score[last]
        self._waiting = 0

    def positions(self) -> Array:
        """Positions of the largest scores, int64 ``[q, most]``."""
        if not self._parts:
            return np.empty((self.queries, 0), np.int64)
        self._sort()
        return self._parts[0][2].reshape(self.queries, self.most)
