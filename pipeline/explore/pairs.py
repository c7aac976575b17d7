"""All pairs of latents within a distance: exact, with most of the pairs ruled out by a few coordinates."""

from collections.abc import Iterator

import numpy as np

from lake.core.errors import UsageError
from lake.core.records import Array
from pipeline.explore.leaves import Leaves, make_leaves, principal_axes
from pipeline.explore.nearest import Metric

MOST_PAIRS = 50_000_000
_DIVIDED = 4  # coordinates
_COLUMNS = 1 << 13  # rows that are compared with a leaf at once
_EXACT = 1 << 15  # pairs whose whole distance is computed at once
_ROUNDING = 1e-4  # of the squares of coordinates, in float32


def pairs_within(
    values: Array, norms: Array, radius: float, metric: Metric, against: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """Find all pairs of rows whose distance is at most ``radius``.

    Args:
      values: float32 ``[n, D]``, may be memory-mapped.
      norms: their squared lengths, float32 ``[n]``.
      radius: of this metric.
      metric: of the distances.
      against: other latents and their squared lengths; None to compare the rows with each other.

    Returns:
      Two positions for each pair, int64 ``[p]``: of ``values``, and of ``against`` if it is given. Of rows that are
      compared with each other the first is the smaller one. Of three or more equal rows, only pairs with the first.

    Raises:
      UsageError: there are more than 50 million pairs.

    >>> points = np.array([[0, 0], [3, 4], [0, 1]], np.float32)
    >>> [part.tolist() for part in pairs_within(points, (points**2).sum(1), 1.5, Metric.L2)]
    [[0], [2]]
    """
    scales, reach = _scales(norms, metric), radius if metric == Metric.L2 else float(np.sqrt(2 * radius))
    if against is None:
        return _own(values, scales, reach)
    others = against[0], _scales(against[1], metric)
    if not len(values) or not len(others[0]):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    axes = principal_axes(values, scales)
    left, right = (make_leaves(*side, *axes, _DIVIDED) for side in ((values, scales), others))
    found = [np.empty((2, 0), np.int64)]
    total = 0
    for one, other in _candidates(left, right, reach, own=False):
        near = _near((values, scales), others, left.order[one], right.order[other], reach)
        found.append(near)
        total = _count(total, near)
    first, second = np.concatenate(found, axis=1)
    return first, second


def _own(values: Array, scales: Array, reach: float) -> tuple[Array, Array]:
    # Equal rows would make a pair for every two of them.
    first_of = equal_rows(values)
    kept = np.flatnonzero(first_of == np.arange(len(values)))
    same = np.flatnonzero(first_of != np.arange(len(values)))
    found = [np.stack([first_of[same], same])]
    if len(kept) > 1:
        all_kept = len(kept) == len(values)
        own, own_scales = (values, scales) if all_kept else (values[kept], scales[kept])
        leaves = make_leaves(own, own_scales, *principal_axes(own, own_scales), _DIVIDED)
        total = len(same)
        for one, other in _candidates(leaves, leaves, reach, own=True):
            near = _near((own, own_scales), (own, own_scales), leaves.order[one], leaves.order[other], reach)
            found.append(np.sort(kept[near], axis=0))
            total = _count(total, near)
    first, second = np.concatenate(found, axis=1)
    return first, second


def equal_rows(values: Array) -> Array:
    """For each row, the position of the first row with the same bytes, int64 ``[n]``.

    Args:
      values: float32 ``[n, D]``.

    >>> equal_rows(np.array([[1, 2], [3, 4], [1, 2]], np.float32)).tolist()
    [0, 1, 0]
    """
    odd = np.random.default_rng(0).integers(1, 1 << 63, values.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = np.empty(len(values), np.uint64)
    for start in range(0, len(values), _COLUMNS):
        words = np.ascontiguousarray(values[start : start + _COLUMNS]).view(np.uint32).astype(np.uint64)
        mixed = words * odd
        hashes[start : start + _COLUMNS] = (mixed ^ (mixed >> np.uint64(29))).sum(1, dtype=np.uint64)
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    first_of: Array = first[inverse]
    for start in range(0, len(values), _COLUMNS):  # another row may have the same hash
        part = slice(start, start + _COLUMNS)
        differs = (values[part] != values[first_of[part]]).any(1)
        first_of[part][differs] = np.arange(len(values))[part][differs]
    return first_of


def _scales(norms: Array, metric: Metric) -> Array:
    """What latents are multiplied by, so that Euclidean distances tell those of the metric."""
    if metric == Metric.L2:
        return np.ones(len(norms), np.float32)
    return np.asarray(np.divide(1, np.sqrt(norms), out=np.zeros(len(norms), np.float32), where=norms > 0))


def _candidates(left: Leaves, right: Leaves, reach: float, *, own: bool) -> Iterator[tuple[Array, Array]]:
    """Yield places of rows in both that may be within reach by their first coordinates."""
    size = max(float(np.abs(side.low).max(initial=0)) for side in (left, right))
    limit = np.float32(reach**2 + _ROUNDING * max(reach, 1e-3 * size) ** 2)
    norms = np.einsum("nc,nc->n", right.low, right.low)
    for leaf in range(len(left)):
        places = right.places_near(left, leaf, limit, _DIVIDED)
        start, stop = int(left.edges[leaf]), int(left.edges[leaf + 1])
        places = places[places >= start] if own else places
        block = left.low[start:stop]
        own_norms = np.einsum("nc,nc->n", block, block)
        for at in range(0, len(places), _COLUMNS):
            some = places[at : at + _COLUMNS]
            squares = block @ (-2 * right.low[some]).T
            squares += norms[some]
            # What float32 loses of a difference of large squares.
            spare = limit + np.float32(1e-6) * (own_norms + norms[some].max())
            flat = np.flatnonzero(squares <= (spare - own_norms)[:, None])
            one, other = start + flat // len(some), some[flat % len(some)]
            above = other > one if own else slice(None)
            for first in range(0, len(flat), _EXACT):
                chosen = slice(first, first + _EXACT)
                yield (one[above][chosen], other[above][chosen])


def _near(left: tuple[Array, Array], right: tuple[Array, Array], one: Array, other: Array, reach: float) -> Array:
    """Those of some pairs that are within reach, int64 ``[2, p]``."""
    apart = left[0][one] * left[1][one, None] - right[0][other] * right[1][other, None]
    near = np.einsum("nd,nd->n", apart, apart, dtype=np.float64) <= reach**2 * (1 + 1e-6)
    return np.stack([one[near], other[near]])


def _count(total: int, near: Array) -> int:
    total += near.shape[1]
    if total > MOST_PAIRS:
        raise UsageError(f"more than {MOST_PAIRS:,} pairs are within the threshold; give a smaller --threshold")
    return total
