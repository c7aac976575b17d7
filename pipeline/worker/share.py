"""How much a worker process does at once: a thread for each core, and no more batches than its memory holds."""

import logging
from dataclasses import dataclass

from lake.core.container import cores, limits

_LOG = logging.getLogger(__name__)

SPARE = 2  # threads beyond the number of cores: a task that waits for the interpreter lock leaves its core idle
_AHEAD = 2  # further batches in flight, so that a thread that finishes one finds the next one read
_FIXED = 640 << 20  # bytes that a process takes without any batch: TensorFlow, Arrow and a small model
_BATCH = 128 << 20  # bytes that a batch in flight may take: its records (``BATCH_BYTES``), pixels and results


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a worker process does at once.

    Attributes:
      threads: that process batches, without the spare ones.
      ahead: batches of one unit that may be in flight.
    """

    threads: int
    ahead: int


def share(threads: int | None, units: int, count: int, memory: int | None) -> Share:
    """Divide what a process may use.

    Args:
      threads: as the user says; None for one for each core, or fewer if there is less memory.
      units: how many the process runs at once.
      count: cores of the process.
      memory: bytes that its container allows; None for no limit.

    >>> share(None, 2, 8, None)
    Share(threads=8, ahead=12)
    >>> share(None, 2, 8, 2 << 30)
    Share(threads=4, ahead=5)
    """
    wanted = threads or count
    ahead = wanted + SPARE + _AHEAD
    if memory is not None:
        ahead = max(2, min(ahead, (memory - _FIXED) // (units * _BATCH)))
    return Share(threads=threads or min(wanted, ahead - 1), ahead=ahead)


def own_share(threads: int | None, units: int) -> Share:
    """Divide what this process may use, and log what its container's memory keeps it from.

    Args:
      threads: as the user says; None for no wish.
      units: how many the process runs at once.
    """
    memory = limits().memory
    found, whole = (share(threads, units, cores(), most) for most in (memory, None))
    if memory is not None and found != whole:
        _LOG.info(
            "%d threads and %d batches of a unit at once instead of %d and %d: this container has %d MiB of memory",
            *(found.threads, found.ahead, whole.threads, whole.ahead, memory >> 20),
        )
    return found
