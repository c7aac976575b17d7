"""Records with the same bytes or nearly the same perceptual hash, by the columns that ``--hash`` adds."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from lake.core.records import Array

PHASH_BITS = 64
MOST_BITS = 6  # more would compare most of the pairs
_AT_ONCE = 1 << 22  # pairs


def equal_pairs(column: pa.ChunkedArray, against: pa.ChunkedArray | None = None) -> tuple[Array, Array]:
    """Pairs of rows with equal values: each row with the first one that is equal to it.

    Args:
      column: values; null is equal to nothing.
      against: values of others; None to compare the rows with each other.

    Returns:
      Positions int64 ``[p]``, of ``column`` and of ``against`` if it is given. Of rows that are compared with each
      other the first is the smaller one.

    >>> [part.tolist() for part in equal_pairs(pa.chunked_array([["a", "b", "a", None, None]]))]
    [[0], [2]]
    """
    base = column if against is None else against
    first = dict[object, int]()
    for position, value in enumerate(base.to_pylist()):
        first.setdefault(value, position)
    first.pop(None, None)
    matched = [(position, first.get(value, -1)) for position, value in enumerate(column.to_pylist())]
    chosen = [pair for pair in matched if pair[1] >= 0 and (against is not None or pair[0] != pair[1])]
    one, other = np.array(chosen, np.int64).reshape(-1, 2).T
    return (one, other) if against is not None else (other, one)


def similar_pairs(hashes: Array, bits: int, against: Array | None = None) -> tuple[Array, Array]:
    """Pairs of 64-bit hashes that differ in at most ``bits`` bits; of equal ones only pairs with the first.

    Two hashes that differ in ``bits`` bits agree in one of ``bits + 1`` parts, so only such pairs are compared.

    Args:
      hashes: int64 ``[n]``.
      bits: at most ``MOST_BITS``.
      against: other hashes; None to compare the hashes with each other.

    Returns:
      Positions int64 ``[p]``, of ``hashes`` and of ``against`` if it is given.

    >>> [part.tolist() for part in similar_pairs(np.array([0b1111, 0b0111, -1]), 1)]
    [[0], [1]]
    """
    left = _Distinct.of(hashes)
    right = left if against is None else _Distinct.of(against)
    found = [np.empty((2, 0), np.int64)]
    for mask in _parts(bits + 1):
        for one, other in _joined(left.values & mask, right.values & mask):
            near = _different_bits(left.values[one] ^ right.values[other]) <= bits
            found.append(np.stack([one[near], other[near]]))
    one, other = np.concatenate(found, axis=1)
    if against is not None:
        partner = np.full(len(left.values), -1, np.int64)
        partner[one] = right.first[other]
        chosen = np.flatnonzero(partner[left.inverse] >= 0)
        return chosen, partner[left.inverse[chosen]]
    pairs = np.sort(np.stack([left.first[one], left.first[other]])[:, one != other], axis=0)
    every = np.arange(len(hashes))
    again = every[left.first[left.inverse] != every]
    same = np.stack([left.first[left.inverse[again]], again])
    first, second = np.unique(np.concatenate([pairs, same], axis=1), axis=1)
    return first, second


class _Distinct(NamedTuple):
    """Distinct hashes in ascending order, the first position of each, and where each hash is among them."""

    values: Array
    first: Array
    inverse: Array

    @classmethod
    def of(cls, hashes: Array) -> "_Distinct":
        return cls(*np.unique(hashes.view(np.uint64), return_index=True, return_inverse=True))


def _parts(count: int) -> Iterator[np.uint64]:
    """Masks that divide 64 bits into parts of about one size."""
    edges = np.linspace(0, PHASH_BITS, count + 1).astype(int).tolist()
    for low, high in pairwise(edges):
        yield np.uint64((1 << high) - (1 << low))


def _joined(left: Array, right: Array) -> Iterator[tuple[Array, Array]]:
    """Yield positions of all pairs of equal values, some at a time."""
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    starts, stops = np.searchsorted(ordered, left, "left"), np.searchsorted(ordered, left, "right")
    ends = np.cumsum(stops - starts)
    begun = 0
    while begun < len(left):
        before = ends[begun - 1] if begun else 0
        stop = max(begun + 1, int(np.searchsorted(ends, before + _AT_ONCE)))
        sizes = (stops - starts)[begun:stop]
        one = np.repeat(np.arange(begun, stop), sizes)
        inner = np.arange(len(one)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        yield one, order[np.repeat(starts[begun:stop], sizes) + inner]
        begun = stop


_BITS = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)


def _different_bits(differences: Array) -> Array:
    words = np.ascontiguousarray(differences).view(np.uint16).reshape(-1, 4)
    counts: Array = _BITS[words].sum(1)
    return counts
