"""Latents in small groups of neighbours, with boxes that tell how near two groups can be.

The latents are turned so that most of their variance is in a few coordinates (PCA), and divided by medians of these, as
in a k-d tree. A distance in some coordinates is never more than the whole one, so what the boxes rule out is ruled out.
Two halves touch at their median, so only a coordinate that is divided several times rules anything out: who looks for
what is within a small distance divides few coordinates often, and who looks for neighbours all of them.
"""

from dataclasses import dataclass

import numpy as np

from lake.core.records import Array

_COORDINATES = 16
_SAMPLE = 50_000  # latents that the coordinates are chosen by
_LEAF = 512  # most rows of a leaf
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaves:
    """Rows in groups of neighbours.

    Attributes:
      order: positions of the rows, leaf by leaf, int64 ``[n]``.
      edges: where each leaf begins in ``order``, and the end, int64 ``[m + 1]``.
      low: the first coordinates of the rows, in this order, float32 ``[n, c]``.
      lows: smallest coordinates of each leaf, float32 ``[m, c]``.
      highs: largest coordinates of each leaf, float32 ``[m, c]``.
    """

    order: Array
    edges: Array
    low: Array
    lows: Array
    highs: Array

    def __len__(self) -> int:
        return len(self.edges) - 1

    def gaps(self, other: "Leaves", leaf: int) -> Array:
        """The least squared distance of a row of one leaf of ``other`` to each leaf here, float32 ``[m]``."""
        apart = np.maximum(self.lows - other.highs[leaf], other.lows[leaf] - self.highs)
        np.maximum(apart, 0, out=apart)
        squares: Array = np.einsum("mc,mc->m", apart, apart)
        return squares

    def places_near(self, other: "Leaves", leaf: int, limit: np.float32, divided: int) -> Array:
        """The places in ``order`` of the rows whose squared distance to the box of a leaf may be within a limit, int64.

        Args:
          other: the leaves that this one is of.
          leaf: its number.
          limit: of the squared distance.
          divided: how many coordinates of rows are looked at.
        """
        places = self.rows_of(np.flatnonzero(self.gaps(other, leaf) <= limit))
        rows = self.low[places, :divided]
        apart = np.maximum(other.lows[leaf, :divided] - rows, rows - other.highs[leaf, :divided])
        np.maximum(apart, 0, out=apart)
        near: Array = places[np.einsum("nc,nc->n", apart, apart) <= limit]
        return near

    def rows_of(self, leaves: Array) -> Array:
        """The places in ``order`` of the rows of some leaves, int64."""
        starts, stops = self.edges[leaves], self.edges[leaves + 1]
        sizes = stops - starts
        ends = np.cumsum(sizes)
        return np.repeat(starts - ends + sizes, sizes) + np.arange(ends[-1] if len(ends) else 0)


def principal_axes(values: Array, scales: Array) -> tuple[Array, Array]:
    """The mean of some latents, and the axes along which they vary most.

    Args:
      values: float32 ``[n, D]``.
      scales: what each is multiplied by, float32 ``[n]``.

    Returns:
      Mean ``[D]`` and orthonormal axes ``[D, c]``, float32.
    """
    chosen = np.linspace(0, len(values) - 1, min(len(values), _SAMPLE)).astype(np.int64)
    sample = values[chosen] * scales[chosen, None]
    mean = sample.mean(0, dtype=np.float64).astype(np.float32)
    centred = (sample - mean).astype(np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return mean, np.ascontiguousarray(axes[:, ::-1][:, :_COORDINATES], np.float32)


def make_leaves(values: Array, scales: Array, mean: Array, axes: Array, divided: int = _COORDINATES) -> Leaves:
    """Divide latents into leaves.

    Args:
      values: float32 ``[n, D]``, may be memory-mapped; ``n`` is at least 1.
      scales: what each is multiplied by, float32 ``[n]``.
      mean: of ``principal_axes``.
      axes: of ``principal_axes``.
      divided: how many of the coordinates are divided.

    >>> points = np.arange(2000, dtype=np.float32).reshape(1000, 2)
    >>> leaves = make_leaves(points, np.ones(1000, np.float32), *principal_axes(points, np.ones(1000, np.float32)))
    >>> len(leaves), sorted(leaves.order.tolist()) == list(range(1000))
    (2, True)
    """
    low = np.empty((len(values), axes.shape[1]), np.float32)
    for start in range(0, len(values), _BLOCK):
        part = slice(start, start + _BLOCK)
        low[part] = (values[part] * scales[part, None] - mean) @ axes
    order = np.arange(len(values))
    edges = np.array([*_divide(low[:, :divided], order, 0, len(order)), len(order)], np.int64)
    low = low[order]
    lows, highs = (extreme.reduceat(low, edges[:-1], axis=0) for extreme in (np.minimum, np.maximum))
    return Leaves(order=order, edges=edges, low=low, lows=lows, highs=highs)


def _divide(low: Array, order: Array, start: int, stop: int) -> list[int]:
    """Order a range of rows leaf by leaf, in place; return where its leaves begin."""
    if stop - start <= _LEAF:
        return [start]
    rows = order[start:stop]
    part = low[rows]
    widest = int(np.argmax(part.max(0) - part.min(0)))
    half = (stop - start) // 2
    rows = rows[np.argpartition(part[:, widest], half)]
    order[start:stop] = rows
    return _divide(low, order, start, start + half) + _divide(low, order, start + half, stop)
