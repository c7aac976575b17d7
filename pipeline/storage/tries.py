"""A store's requests that fail and may pass are made again: with pauses that grow and are not in step, for so long."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from pipeline.storage.failures import clean

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """All in seconds.

    first, most: of a pause.
    deadline: of one request, with all of its tries.
    stall: that a server may be silent.
    """

    first: float = 0.25
    most: float = 16.0
    deadline: float = 300.0
    stall: float = 60.0


PATIENCE = Patience()

_STEPS = 32  # a pause grows no more after so many
_SILENT = 4  # failures of one request that nobody hears of: about three seconds


class Retries:
    """How many requests this process has made again."""

    def __init__(self) -> None:
        self._lock, self._count = threading.Lock(), 0

    def add(self) -> None:
        """One more."""
        with self._lock:
            self._count += 1

    def take(self) -> int:
        """Those since this was asked last: each is counted by one unit, whichever asks first."""
        with self._lock:
            count, self._count = self._count, 0
            return count


RETRIES = Retries()


def persist(name: str, request: Callable[[], T], passes: Callable[[Exception], bool]) -> T:
    """The answer to a request.

    Args:
      name: of the request, for the log.
      request: made again, so it must be harmless when it was done and only its answer was lost.
      passes: whether what it raised may be gone at the next try; anything else is raised at once.
    """
    end = time.monotonic() + PATIENCE.deadline
    for number in count():
        try:
            return request()
        except Exception as error:
            pause = min(PATIENCE.most, PATIENCE.first * 2.0 ** min(number, _STEPS)) * random.uniform(0.5, 1.0)
            if not passes(error) or time.monotonic() + pause > end:
                raise
            left = end - time.monotonic()
            level = logging.WARNING if number == _SILENT else logging.INFO
            logging.getLogger(__name__).log(level, "%s fails, is tried for %.0f s: %s", name, left, clean(str(error)))
        RETRIES.add()
        time.sleep(pause)
    raise AssertionError  # count() does not end
