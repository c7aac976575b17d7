"""The clock of a store, told by the dates of its answers."""

import time
from email.utils import parsedate_to_datetime
from threading import Lock

_RESOLUTION = 1.0  # seconds: an HTTP date has whole ones


class StoreClock:
    """The time of a store. The clock of this machine may be wrong, so only its passing is used.

    A date says that the answer was made within a second of it, between the request and its arrival. That bounds how far
    the store's clock is from this machine's, and the bounds of several answers are narrower than those of one.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._ahead: float | None = None  # the store's clock less time.monotonic

    @property
    def heard(self) -> bool:
        """Whether there was an answer."""
        return self._ahead is not None

    def hear(self, date: str | None, took: float) -> None:
        """Learn from an answer.

        Args:
          date: its header ``Date``; None for none.
          took: seconds since the request was sent.
        """
        if date is None:
            return
        try:
            made = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        now = time.monotonic()
        least, most = made - now, made + _RESOLUTION - (now - max(0.0, took))
        with self._lock:
            ahead = (least + most) / 2 if self._ahead is None else self._ahead
            self._ahead = min(max(ahead, least), most)

    def now(self) -> float:
        """Seconds since the epoch; this machine's own where the store's answers have no date."""
        return time.time() if self._ahead is None else time.monotonic() + self._ahead
