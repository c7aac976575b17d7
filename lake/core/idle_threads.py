"""The idle threads of a pool, for a task of the same pool that has several parts."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextvars import copy_context
from functools import partial
from threading import BoundedSemaphore, Lock
from typing import Any, Generic, TypeVar

from lake.core.stopwatch import current_watch, not_counted, working_for

_T = TypeVar("_T")
_R = TypeVar("_R")

_LOOK = 0.02  # seconds between two looks of who waits for a slot


class IdleThreads:
    """Runs the parts of a task on those threads of its pool that are idle.

    A part that no thread has begun when its result is needed is run by the caller itself. So a task never waits for a
    thread of a busy pool, and where all threads have tasks of their own, each does its parts alone.

    Args:
      pool: runs the parts, and perhaps the task that has them.
      at_once: the most parts that run at once for one task.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(1) as pool:  # of which the only thread is busy with the task itself
    ...     pool.submit(lambda: list(IdleThreads(pool, 2).map(abs, [-1, -2, -3]))).result()
    [1, 2, 3]
    """

    def __init__(self, pool: Executor, at_once: int) -> None:
        self._pool, self._at_once = pool, at_once
        self._offered: dict[_Part[Any], None] = {}  # in their order
        self._lock = Lock()

    def acquire(self, slot: BoundedSemaphore) -> None:
        """Take a slot, and run parts of other tasks as long as there is none: who waits has an idle thread.

        Args:
          slot: what tasks of the pool wait for.
        """
        with not_counted():
            while not slot.acquire(timeout=_LOOK):
                if (part := self._next()) is not None:
                    part.offer()

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
                flight.append(self._offer(partial(work, item)))
                if len(flight) == self._at_once:
                    yield self._taken_back(flight.popleft()).result()
            while flight:
                yield self._taken_back(flight.popleft()).result()
        finally:
            for part in flight:
                self._taken_back(part).end()

    def _offer(self, task: Callable[[], _R]) -> "_Part[_R]":
        part = _Part(task)
        with self._lock:
            self._offered[part] = None
        self._pool.submit(part.offer)
        return part

    def _next(self) -> "_Part[Any] | None":
        with self._lock:
            part = next(iter(self._offered), None)
            if part is not None:
                del self._offered[part]
            return part

    def _taken_back(self, part: "_Part[_R]") -> "_Part[_R]":
        with self._lock:
            self._offered.pop(part, None)
        return part


class _Part(Generic[_R]):
    """One part, until its result is taken. It is run by whoever claims it first."""

    def __init__(self, task: Callable[[], _R]) -> None:
        # Emptied by who claims it: the pool keeps the part until a thread passes it, and must not keep an image so.
        self._open = [task]
        self._made: Future[_R] = Future()
        self._context, self._watch = copy_context(), current_watch()

    def offer(self) -> None:
        """Run it on a thread of somebody else, unless it has been claimed."""
        if (task := self._claimed()) is not None:
            self._context.run(self._run, task)

    def result(self) -> _R:
        if (task := self._claimed()) is not None:
            return task()
        with not_counted():
            return self._made.result()

    def end(self) -> None:
        """Do not begin it, or wait if it has begun: what it reads may be the caller's to change."""
        if self._claimed() is None:
            with not_counted():
                self._made.exception()

    def _claimed(self) -> Callable[[], _R] | None:
        try:
            return self._open.pop()  # of two threads one gets it
        except IndexError:
            return None

    def _run(self, task: Callable[[], _R]) -> None:
        try:
            with working_for(self._watch):
                self._made.set_result(task())
        except BaseException as error:  # which the caller raises
            self._made.set_exception(error)
