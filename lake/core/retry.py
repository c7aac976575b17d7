"""Retry policy and the one retry loop: transient errors are retried with exponential backoff and jitter."""

import errno
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from lake.core.errors import ShardError, UnreadableError

_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)
_DOUBLINGS = 32  # the pause stops growing here, so that 2.0**n stays finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential backoff with jitter.

    Attributes:
      first: seconds of the first pause. Each further pause is twice as long. Jitter shortens a pause by up to half, so
        that workers that failed together do not retry together.
      most: seconds of the longest pause.
      attempts: number of attempts in all; None for no limit.
      deadline: seconds after which no attempt starts; None for no limit.
      silent: failures before one warning is logged. All other failures are logged at level INFO.
    """

    first: float
    most: float
    attempts: int | None = None
    deadline: float | None = None
    silent: int = 0

    def pause(self, attempt: int, elapsed: float) -> float | None:
        """Seconds to wait after a failed attempt; None if there is no further attempt.

        Args:
          attempt: number of the failed attempt, 0 for the first.
          elapsed: seconds since the first attempt started.

        >>> Backoff(first=0.0, most=0.0, attempts=2).pause(0, elapsed=1.0)
        0.0
        >>> Backoff(first=0.0, most=0.0, attempts=2).pause(1, elapsed=1.0) is None
        True
        """
        pause = min(self.most, self.first * 2.0 ** min(attempt, _DOUBLINGS)) * random.uniform(0.5, 1.0)
        if self.attempts is not None and attempt + 1 >= self.attempts:
            return None
        if self.deadline is not None and elapsed + pause > self.deadline:
            return None
        return pause


TRANSIENT = Backoff(first=0.5, most=8.0, attempts=4)  # the store or the network failed
DAMAGE = Backoff(first=0.0, most=0.0, attempts=2)  # a bit may have flipped in transit, not in the store
MEMORY = Backoff(first=0.5, most=0.5, attempts=2)  # other units may have released memory meanwhile

# A busy machine or network recovers. A full disk, a missing file or a missing permission does not.
_TRANSIENT_ERRNOS = frozenset(
    getattr(errno, name)
    for name in (
        *("EIO", "EAGAIN", "EBUSY", "EINTR", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPIPE", "ESTALE", "ETIMEDOUT"),
        *("ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTUNREACH", "ENETDOWN", "ENETRESET", "ENETUNREACH"),
    )
)


def backoff_for(error: BaseException) -> Backoff | None:
    """The default retry policy: the backoff for an error, None if a retry cannot help.

    Transient store and network errors get four attempts. Damage gets two, since a bit may have flipped in transit. So
    does lack of memory, since other units may release some.
    """
    if isinstance(error, UnreadableError) and not isinstance(error.__cause__, MemoryError):
        return TRANSIENT if _is_transient(error.__cause__) else None
    if isinstance(error, OSError):
        return TRANSIENT if _is_transient(error) else None
    if isinstance(error, ShardError) and not isinstance(error, UnreadableError):
        return DAMAGE
    return MEMORY if isinstance(error, (MemoryError, UnreadableError)) else None


def retry(
    name: str,
    work: Callable[[int], _T],
    policy: Callable[[Exception], Backoff | None] = backoff_for,
    text: Callable[[Exception], str] = str,
) -> _T:
    """Call ``work`` until it succeeds or its policy gives up.

    Args:
      name: of the work, for the log.
      work: takes the number of the attempt, 0 for the first. It must be safe to repeat.
      policy: the backoff for an error; None raises the error at once.
      text: what the log may show of an error; secrets in it can be removed here.

    Returns:
      What ``work`` returned.

    Raises:
      Exception: the error of the last attempt.

    >>> def flaky(attempt):
    ...     if attempt == 0:
    ...         raise ConnectionError("reset by peer")
    ...     return attempt
    >>> retry("a flaky request", flaky, policy=lambda error: Backoff(first=0.0, most=0.0, attempts=3))
    1
    """
    began = time.monotonic()
    for attempt in count():
        try:
            return work(attempt)
        except Exception as error:
            backoff = policy(error)
            pause = None if backoff is None else backoff.pause(attempt, time.monotonic() - began)
            if backoff is None or pause is None:
                raise
            level = logging.WARNING if attempt == backoff.silent else logging.INFO
            _LOG.log(level, "%s failed, next attempt in %.1f s%s: %s", name, pause, _limit(backoff, began), text(error))
        time.sleep(pause)
    raise AssertionError  # unreachable: count() never ends


def _limit(backoff: Backoff, began: float) -> str:
    """The time that is left for retries, for the log."""
    return "" if backoff.deadline is None else f", for another {began + backoff.deadline - time.monotonic():.0f} s"


def _is_transient(error: BaseException | None) -> bool:
    return isinstance(error, (ConnectionError, TimeoutError)) or getattr(error, "errno", None) in _TRANSIENT_ERRNOS
