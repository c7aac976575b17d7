"""How far a running unit is, for the bar: the bytes of its input whose records have come out."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

from lake.core.counters import TALLY
from lake.core.errors import HeldError
from lake.core.records import Unit
from lake.inputs.units import input_bytes
from pipeline.config import JobConfig
from pipeline.output.fencing.heartbeat import guard_of
from pipeline.output.layout import Layout
from pipeline.output.progress.unit_reports import EVERY, remove_report, report_now, write_report

_T = TypeVar("_T")
_RUNNING = set["UnitProgress"]()  # in this process


class UnitProgress:
    """Counts the bytes of one unit, on the thread that reads it. A unit that runs for long also reports them.

    A unit reads ahead of its model, so what it has read says too much. Each batch has the number of bytes that were
    read when it was complete; they count once the batch's results are written.

    Args:
      unit: the unit. Labels beside its shards, or a second pass over them, are read as well and do not count.
      config: the job.
    """

    def __init__(self, unit: Unit, config: JobConfig) -> None:
        self._unit, self._config = unit.id, config
        self._guard = guard_of(config.output, config.run)
        self._most, self._before = input_bytes(unit), TALLY.bytes_read_here
        self._waiting = deque[int]()
        self._done = 0
        self._begun = self._reported = self._looked = time.monotonic()
        self._own = 0.0  # seconds
        _RUNNING.add(self)

    def noting(self, batches: Iterable[_T]) -> Iterator[_T]:
        """The batches themselves; each is noted as it is read."""
        for batch in batches:
            self._waiting.append(min(self._most, TALLY.bytes_read_here - self._before))
            yield batch

    def batch_done(self) -> None:
        """The results of the next batch are written."""
        before, self._done = self._done, self._waiting.popleft()
        TALLY.add(running_bytes=self._done - before)
        now = time.monotonic()
        self._own, self._looked = self._own + (now - self._looked) / len(_RUNNING), now
        if now - self._reported >= EVERY:
            self._report(now)

    def end(self) -> None:
        """The unit runs no longer: it is finished or has failed, and counts as a whole."""
        TALLY.add(running_bytes=-self._done)
        self._done = 0
        _RUNNING.discard(self)
        if self._reported > self._begun:
            remove_report(Layout(self._config.output), self._config.run, self._unit)
            self._reported = self._begun

    def _report(self, now: float) -> None:
        self._reported = now
        report = report_now(self._unit, self._done, now - self._begun, self._own)
        # Nothing depends on it. A lease that is lost, or a store that fails, ends the unit where its data is written.
        with suppress(OSError, HeldError):
            write_report(Layout(self._config.output), self._config.run, report, self._guard)
