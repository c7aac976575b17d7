"""When work that failed is tried again: where that can help, a few times, with pauses that grow and are not in step."""

import errno
import logging
import random
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from pipeline.errors import ShardError, UnreadableError

T = TypeVar("T")

_TIMES = 4  # in all, where a store fails
_FIRST, _MOST = 0.5, 8.0  # seconds of a pause
# What passes: a busy or overloaded machine, a network. A full disk, a missing file or permission does not.
_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        *("EIO", "EAGAIN", "EBUSY", "EINTR", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPIPE", "ESTALE", "ETIMEDOUT"),
        *("ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTUNREACH", "ENETDOWN", "ENETRESET", "ENETUNREACH"),
    )
)


def attempt(name: str, work: Callable[[int], T]) -> T:
    """The result of some work.

    A store's failure that may pass is tried up to four times. Damage and memory that ran out are tried once more: a
    bit may have been flipped on the way, not in the store, and other units may have let go of memory.

    Args:
      name: of what is tried, for the log.
      work: takes the number of the attempt, 0 for the first.
    """
    for number in count():
        try:
            return work(number)
        except (ShardError, OSError, MemoryError) as error:
            pause = _pause(error, number)
            if pause is None:
                raise
            logging.getLogger(__name__).warning("%s is tried again in %.1f s: %s", name, pause, error)
        time.sleep(pause)
    raise AssertionError  # count() does not end


def _pause(error: Exception, number: int) -> float | None:
    """Seconds to wait after an attempt; None where another one cannot help."""
    if isinstance(error, UnreadableError) and not isinstance(error.__cause__, MemoryError):
        return _pause_of_store(error.__cause__, number)
    if isinstance(error, OSError):
        return _pause_of_store(error, number)
    return (0.0 if isinstance(error, ShardError) else _FIRST) if number == 0 else None


def _pause_of_store(error: BaseException | None, number: int) -> float | None:
    passes = isinstance(error, (ConnectionError, TimeoutError)) or getattr(error, "errno", None) in _PASSING
    if not passes or number + 1 >= _TIMES:
        return None
    return min(_MOST, _FIRST * 2.0**number) * random.uniform(0.5, 1.0)
