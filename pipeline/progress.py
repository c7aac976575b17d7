"""What this process has done so far, for the progress bar."""

from dataclasses import dataclass, replace
from threading import Lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Sums over all units that ran in this process."""

    read: int = 0  # records
    rejected: int = 0
    units: int = 0  # finished or failed
    unit_bytes: int = 0  # input sizes of those
    bytes_read: int = 0  # from stores, finished units or not


class Tally:
    """Counts that many threads add to."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = Counts()

    def add(self, **more: int) -> None:
        """Add to the named counts."""
        with self._lock:
            self._counts = replace(self._counts, **{k: getattr(self._counts, k) + v for k, v in more.items()})

    @property
    def counts(self) -> Counts:
        """The counts as they stand."""
        return self._counts


TALLY = Tally()
