"""Processes beside this one that share its units, where threads would wait for each other.

The decoders of small images take the interpreter lock (GIL) for every image, so the threads of one process get in each
other's way (``lake.images.turns``). Processes do not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from lake.core.records import Unit
from pipeline.config import JobConfig
from pipeline.output.units.receipts import Receipt
from pipeline.worker.apart import ProcessEndedError, UnitProcess, run_apart


class Beside:
    """The processes beside this one; none, unless a job has started some. Thread-safe."""

    def __init__(self) -> None:
        self._lock, self._all, self._idle = Lock(), list[UnitProcess](), list[UnitProcess]()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._all)

    @contextmanager
    def started(self, count: int, config: JobConfig) -> Iterator[None]:
        """Start processes for a block, at whose end they end.

        Args:
          count: how many.
          config: the job, whose model they load meanwhile.
        """
        processes = [UnitProcess() for _ in range(count)]
        for process in processes:
            process.warm(config)
        with self._lock:
            self._all, self._idle = processes, [*processes]
        try:
            yield
        finally:
            with self._lock:
                self._all, self._idle = [], []
            for process in processes:
                process.close()

    def run(self, unit: Unit, config: JobConfig) -> Receipt | None:
        """Run a unit in a process that is idle; None if there is none.

        If the process ends over the unit, the unit is tried once more, in a process of its own.

        Args:
          unit: the unit.
          config: the job.

        Raises:
          ProcessEndedError: that one has ended, too.
          Exception: as of ``pipeline.worker.run_unit.run_anew``.
        """
        with self._lock:
            process = self._idle.pop() if self._idle else None
        if process is None:
            return None
        try:
            return process.run(unit, config)
        except ProcessEndedError:
            if not self.count:  # the block has ended, and nobody takes the result
                raise
            return run_apart(unit, config)
        finally:
            with self._lock:
                if process in self._all and not process.ended:
                    self._idle.append(process)


BESIDE = Beside()
