"""Counters of this process: records and bytes for the progress bar, and repeated requests."""

import threading
from dataclasses import asdict, dataclass
from threading import Lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Sums over all units that ran in this process.

    Attributes:
      read: records read.
      rejected: records rejected.
      units: units that finished or failed.
      unit_bytes: input bytes of those units, as planned.
      running_bytes: input bytes of the units that are still running, as far as their records have come out.
      bytes_read: bytes read from stores, also ahead of the records that have come out.
    """

    read: int = 0
    rejected: int = 0
    units: int = 0
    unit_bytes: int = 0
    running_bytes: int = 0
    bytes_read: int = 0


class Tally:
    """A thread-safe ``Counts``.

    >>> tally = Tally()
    >>> tally.add(read=3, rejected=1)
    >>> tally.add(read=2)
    >>> tally.counts.read, tally.counts.rejected
    (5, 1)
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._sums = asdict(Counts())  # a unit adds a dozen times, and somebody looks once in a while
        self._here = threading.local()

    def add(self, **more: int) -> None:
        """Increase the named counts.

        Args:
          more: increments by the name of a field of ``Counts``.
        """
        if read := more.get("bytes_read"):
            self._here.bytes_read = self.bytes_read_here + read
        with self._lock:
            for name, increment in more.items():
                self._sums[name] += increment

    @property
    def counts(self) -> Counts:
        """The current counts."""
        with self._lock:
            return Counts(**self._sums)

    @property
    def bytes_read_here(self) -> int:
        """Bytes that this thread has read from stores. A unit is read on a thread of its own."""
        read: int = getattr(self._here, "bytes_read", 0)
        return read


TALLY = Tally()


class Retries:
    """A thread-safe count of the requests that were repeated.

    >>> retries = Retries()
    >>> retries.add()
    >>> retries.take(), retries.take()
    (1, 0)
    """

    def __init__(self) -> None:
        self._lock, self._count = threading.Lock(), 0

    def add(self) -> None:
        """Count one repeated request."""
        with self._lock:
            self._count += 1

    def take(self) -> int:
        """The number of repeated requests since the last call, which also resets it.

        Several units run in one process. Each repeated request is therefore reported by exactly one of them, whichever
        asks first.
        """
        with self._lock:
            count, self._count = self._count, 0
            return count


RETRIES = Retries()
