"""The retry policy of store requests: transient failures are repeated until a deadline."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from lake.core.counters import RETRIES
from lake.core.retry import Backoff, retry
from lake.storage.redact import clean

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBackoff(Backoff):
    """The backoff of one request, over all of its attempts.

    Attributes:
      stall: seconds of silence from the server after which an attempt fails.
    """

    first: float = 0.25
    most: float = 16.0
    deadline: float | None = 300.0
    silent: int = 4  # failures in the first three seconds or so are too common for a warning
    stall: float = 60.0


REQUESTS = RequestBackoff()


def persist(name: str, request: Callable[[], _T], passes: Callable[[Exception], bool], *, once: bool = False) -> _T:
    """Make a request, repeating it while its failure may be transient.

    Args:
      name: of the request, for the log.
      request: must be safe to repeat if it succeeded and only its answer was lost.
      passes: whether an error may be gone at the next attempt; any other error is raised at once.
      once: whether there is one attempt alone.

    Returns:
      What ``request`` returned.

    Raises:
      Exception: the error of the last attempt.
    """

    def attempt(number: int) -> _T:
        if number:  # the first attempt is no retry
            RETRIES.add()
        return request()

    def policy(error: Exception) -> Backoff | None:
        return REQUESTS if passes(error) and not once else None

    return retry(name, attempt, policy, lambda error: clean(str(error)))
