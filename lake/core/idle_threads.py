"""The idle threads of a pool, for a task of the same pool that has several parts."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from typing import Generic, TypeVar

from lake.core.ordered_map import start_task
from lake.core.stopwatch import Stopwatch, current_watch, not_counted, working_for

_T = TypeVar("_T")
_R = TypeVar("_R")


class IdleThreads:
    """Runs the parts of a task on those threads of its pool that are idle.

    A part that no thread has begun when its result is needed is run by the caller itself. So a task never waits for a
    thread of a busy pool, and where all threads have tasks of their own, each does its parts alone.

    Args:
      pool: runs the parts, and perhaps the task that has them.
      at_once: the most parts that run at once for one task.

    >>> with ThreadPoolExecutor(1) as pool:  # of which the only thread is busy with the task itself
    ...     pool.submit(lambda: list(IdleThreads(pool, 2).map(abs, [-1, -2, -3]))).result()
    [1, 2, 3]
    """

    def __init__(self, pool: Executor, at_once: int) -> None:
        self._pool, self._at_once = pool, at_once

    def map(self, work: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
        """Like ``map(work, items)``: the results in order, of which at most ``at_once`` are made ahead.

        Where ``work`` raises or the consumer stops, parts that run are waited for, and no other one is begun.

        Args:
          work: function of one item; called on any thread, in the context of the caller.
          items: any iterable, read on the caller's thread.

        Raises:
          Exception: whatever ``work`` raises for the first item that it fails for.
        """
        if self._at_once < 2:
            yield from map(work, items)
            return
        source, flight = iter(items), deque[_Part[_R]]()
        try:
            for item in source:
                flight.append(_Part(self._pool, partial(work, item)))
                if len(flight) == self._at_once:
                    yield flight.popleft().result()
            while flight:
                yield flight.popleft().result()
        finally:
            for part in flight:
                part.end()


class _Part(Generic[_R]):
    """One part, until its result is taken."""

    def __init__(self, pool: Executor, task: Callable[[], _R]) -> None:
        # The pool keeps what was cancelled until a thread passes it, and must not keep an image so.
        self._task: Callable[[], _R] | None = task
        self._future: Future[_R] = start_task(pool, self._on_pool, current_watch())

    def result(self) -> _R:
        if self._future.cancel():
            return self._taken()()
        with not_counted():
            return self._future.result()

    def end(self) -> None:
        """Do not begin it, or wait if it has begun: what it reads may be the caller's to change."""
        if self._future.cancel():
            self._taken()
        else:
            with not_counted():
                self._future.exception()

    def _on_pool(self, watch: Stopwatch | None) -> _R:
        with working_for(watch):
            return self._taken()()

    def _taken(self) -> Callable[[], _R]:
        task, self._task = self._task, None
        assert task is not None
        return task
