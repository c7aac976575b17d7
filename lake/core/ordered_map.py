"""Parallel maps that keep the order of the results and bound the number of tasks in flight."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from typing import Any, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

_REQUESTS = 16  # concurrent requests to a store


def ordered_map(pool: Executor, work: Callable[[_T], _R], items: Iterable[_T], ahead: int) -> Iterator[_R]:
    """Like ``map(work, items)``, computed on a pool, with the results in order.

    Unlike ``Executor.map`` this takes an item only when a result is consumed, so memory stays bounded. If ``items``
    raises, the results before the failure come first. If ``work`` raises or the consumer stops, the tasks that have not
    started are cancelled.

    Args:
      pool: runs the tasks.
      work: function of one item; called on the pool's threads.
      items: any iterable, read on the consumer's thread.
      ahead: the most items that are taken before their result is consumed.

    Raises:
      Exception: whatever ``work`` or ``items`` raises, at its place in the order.

    >>> with ThreadPoolExecutor(2) as pool:
    ...     list(ordered_map(pool, abs, [-1, -2, -3], ahead=2))
    [1, 2, 3]
    """
    source = _deferred(iter(items))
    flight: deque[Future[_R]] = deque()
    try:
        for item in islice(source, ahead):
            flight.append(_submit(pool, work, item))
        # One item is taken for each result that the consumer took, which bounds the number in flight.
        while flight:
            yield flight.popleft().result()
            for item in islice(source, 1):
                flight.append(_submit(pool, work, item))
    finally:
        for future in flight:
            future.cancel()


def requested(request: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """Like ``map(request, items)`` for store requests, which mostly wait: 16 run at once.

    Args:
      request: function of one item; called on several threads.
      items: any iterable.

    Raises:
      Exception: whatever ``request`` or ``items`` raises, at its place in the order.
    """
    with ThreadPoolExecutor(_REQUESTS, thread_name_prefix="request") as pool:
        yield from ordered_map(pool, request, items, 2 * _REQUESTS)


def start_task(pool: Executor, work: Callable[..., _R], *arguments: Any) -> Future[_R]:
    """Like ``pool.submit``, in the context of the caller: a pool's threads do not have its store options.

    Args:
      pool: runs the work.
      work: function of the arguments.
      arguments: of the work.
    """
    return pool.submit(copy_context().run, work, *arguments)


def _submit(pool: Executor, work: Callable[[_T], _R], item: _T | BaseException) -> Future[_R]:
    if isinstance(item, BaseException):
        failed: Future[_R] = Future()
        failed.set_exception(item)
        return failed
    return start_task(pool, work, item)


def _deferred(items: Iterator[_T]) -> Iterator[_T | BaseException]:
    """The items, followed by the exception that ended them, which so keeps its place in the order."""
    try:
        yield from items
    except Exception as error:  # _submit raises it from a future, after the results before it
        yield error
