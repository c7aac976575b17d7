"""Values that each process makes for itself."""

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class PerProcess(Generic[_T]):
    """A value that each process makes for itself on first use. Connections, for one, cannot be shared with a fork.

    Args:
      make: makes the value; called at most once per process.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make, self._lock, self._made = make, threading.Lock(), dict[int, _T]()

    def __call__(self) -> _T:
        with self._lock:
            process = os.getpid()  # a fork inherits this dictionary, but must not use its parent's value
            if process not in self._made:
                self._made[process] = self._make()
            return self._made[process]
