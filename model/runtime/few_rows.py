"""Calls with few rows: those of small shards, where most of what is computed would be padding."""

import threading
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from model.pixels import Floats
from model.runtime.executor import ModelError

SIZES = (16, 128)  # rows of such a call: with fewer than 16, some kernels take another way
_WORTH = 8  # calls with few rows after which a function of their size is worth to be compiled, which takes a second


class FewRows:
    """How many rows a call takes where bits do not depend on that; thread-safe.

    Attributes:
      trusted: function and its rows -> whether, when it was tried, it gave the bits that the largest batch gives.
    """

    def __init__(self) -> None:
        self.trusted: dict[tuple[Hashable, int], bool] = {}
        self._lock, self._calls = threading.Lock(), 0

    def size(self, function: Hashable, n: int, most: int, call: Callable[[int], Sequence[Floats]]) -> int:
        """Return the rows of a call.

        Args:
          function: what is called.
          n: rows that there are.
          most: rows of the largest batch.
          call: what the function gives for the rows, padded to so many.
        """
        size = next((size for size in SIZES if n <= size < most), most)
        if size == most:
            return most
        with self._lock:
            self._calls += 1
            if self._calls <= _WORTH:
                return most
        if (function, size) not in self.trusted:
            try:
                self.trusted[function, size] = _same(call(size), call(most))
            except ModelError:
                return most  # which finds the rows that it fails for
        return size if self.trusted[function, size] else most


def _same(some: Sequence[Floats], others: Sequence[Floats]) -> bool:
    return all(np.array_equal(one, other, equal_nan=True) for one, other in zip(some, others, strict=True))
