"""Where the time of a piece of work goes, on every thread that has a part in it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

_T = TypeVar("_T")


class _Current(threading.local):
    """What this thread works for, and how long parts inside the current one have taken."""

    watch: "Stopwatch | None" = None
    inner = 0.0


_CURRENT = _Current()


class Stopwatch:
    """Adds up the seconds of threads by what they do. Any number of threads may use one at once.

    >>> watch = Stopwatch()
    >>> with watch.time("decode"), spent_on("model"):
    ...     time.sleep(0.01)
    >>> watch.seconds["model"] > 0.01 > watch.seconds["decode"]
    True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = Counter[str]()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of threads by what they did."""
        with self._lock:
            return dict(self._seconds)

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Count the time of a block for one part, without that of parts inside it.

        Args:
          part: what is done.
        """
        before, started = (_CURRENT.watch, _CURRENT.inner), time.perf_counter()
        _CURRENT.watch, _CURRENT.inner = self, 0.0
        try:
            yield
        finally:
            took = time.perf_counter() - started
            with self._lock:
                self._seconds[part] += took - _CURRENT.inner  # type: ignore[assignment]
            _CURRENT.watch, _CURRENT.inner = before[0], before[1] + took

    def each(self, part: str, items: Iterator[_T]) -> Iterator[_T]:
        """Yield what an iterator yields, and count the time that it takes.

        Args:
          part: what it does.
          items: the iterator.
        """
        while True:
            with self.time(part):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


@contextmanager
def spent_on(part: str) -> Iterator[None]:
    """Count the time of a block for one part of what this thread works for; does nothing where that is not measured.

    Args:
      part: what is done.
    """
    if _CURRENT.watch is None:
        yield
        return
    with _CURRENT.watch.time(part):
        yield


def current_watch() -> Stopwatch | None:
    """The stopwatch of what this thread works for; None where that is not measured."""
    return _CURRENT.watch


@contextmanager
def working_for(watch: Stopwatch | None) -> Iterator[None]:
    """Let this thread work for another one's piece of work during the block, whose parts are counted there.

    Args:
      watch: of that piece of work, by ``current_watch`` on its thread.
    """
    before = _CURRENT.watch, _CURRENT.inner
    _CURRENT.watch = watch
    try:
        yield
    finally:
        _CURRENT.watch, _CURRENT.inner = before


@contextmanager
def not_counted() -> Iterator[None]:
    """Count the time of a block for no part: the thread waits for others, whose own time is counted."""
    started = time.perf_counter()
    try:
        yield
    finally:
        _CURRENT.inner += time.perf_counter() - started
