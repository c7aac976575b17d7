"""A bounded number of tasks in flight on a pool of threads, whose results keep their order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_REQUESTS = 16  # to a store, at once


def ordered_map(pool: Executor, work: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """``map(work, items)`` on the pool: results in order, at most ``ahead`` items taken and not yet given back.

    Unlike ``Executor.map`` it takes items only as results are consumed, so memory stays bounded. When ``items`` raises,
    the results before it still come first; when ``work`` raises or the consumer stops, what is in flight is dropped.
    """
    source = _deferred(iter(items))
    flight: deque[Future[R]] = deque()
    try:
        for item in islice(source, ahead):
            flight.append(_submit(pool, work, item))
        while flight:
            yield flight.popleft().result()
            for item in islice(source, 1):
                flight.append(_submit(pool, work, item))
    finally:
        for future in flight:
            future.cancel()


def requested(request: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``map(request, items)`` for what waits for a store far away most of the time: several at once."""
    with ThreadPoolExecutor(_REQUESTS, thread_name_prefix="request") as pool:
        yield from ordered_map(pool, request, items, 2 * _REQUESTS)


def _submit(pool: Executor, work: Callable[[T], R], item: T | BaseException) -> Future[R]:
    if isinstance(item, BaseException):
        failed: Future[R] = Future()
        failed.set_exception(item)
        return failed
    return pool.submit(work, item)


def _deferred(items: Iterator[T]) -> Iterator[T | BaseException]:
    """The items, and as the last one the exception that ended them: it takes its place in the order."""
    try:
        yield from items
    except Exception as error:  # raised again, in its turn, by the future that carries it
        yield error
