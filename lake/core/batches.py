"""Cut a stream of items into batches."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

_T = TypeVar("_T")


def in_batches(items: Iterable[_T], size: int = 100) -> Iterator[list[_T]]:
    """Yield lists of ``size`` items, the last one perhaps shorter.

    >>> [*in_batches("abcde", 2)]
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    source = iter(items)
    while batch := [*islice(source, size)]:
        yield batch
