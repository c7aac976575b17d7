"""Units that end their process (out of memory, a crash in native code): found by their marks, tried apart, given up.

A unit that was under way when its process ended is a suspect. It is run once more in a process of its own, alone: if
that ends too, it was the unit, which has failed; if not, it was something else.
"""

from collections.abc import Callable
from threading import Lock

from lake.core.records import Unit
from pipeline.config import JobConfig, fingerprint, options_digest
from pipeline.output.layout import Layout
from pipeline.output.units.marks import find_marks, mark_name, marked, read_starts
from pipeline.output.units.receipts import Receipt
from pipeline.worker.apart import ProcessEndedError, run_apart
from pipeline.worker.process import all_slots

_MOST_STARTS = 3  # of a unit whose process ends each time, with the one that was to watch over it


def run_watched(unit: Unit, config: JobConfig, run: Callable[[Unit, JobConfig], Receipt]) -> Receipt:
    """Run a unit under a mark; a suspect in a process of its own.

    Args:
      unit: the unit.
      config: the job.
      run: runs a unit in this process.

    Raises:
      OSError: the mark cannot be written.
      Exception: whatever ``run`` raises, here or there.
    """
    starts = _STARTS.of(unit, config)
    if starts >= _MOST_STARTS:
        return _given_up(unit, config, f"the process that ran it has ended {starts} times")
    with marked(Layout(config.output), config.run, unit.id, starts + 1):
        if not starts:
            return run(unit, config)
        try:
            with all_slots():
                return run_apart(unit, config)
        except ProcessEndedError as error:
            return ended_twice(unit, config, error)


def ended_twice(unit: Unit, config: JobConfig, error: ProcessEndedError) -> Receipt:
    """The receipt of a unit that has ended its process, and then one that ran it alone.

    Args:
      unit: the unit.
      config: the job.
      error: how the last one ended.
    """
    return _given_up(unit, config, f"it has ended its process twice, {error}")


def _given_up(unit: Unit, config: JobConfig, why: str) -> Receipt:
    return Receipt(
        unit=unit.id,
        fingerprint=fingerprint(unit, config),
        options=options_digest(config),
        error=f"{unit.id}: {why}; it may need more memory than there is, or crash a library",
    )


class _Starts:
    """The marks that were there when this process ran the first unit of a run."""

    def __init__(self) -> None:
        self._lock, self._found = Lock(), dict[tuple[str, str], dict[str, str]]()

    def of(self, unit: Unit, config: JobConfig) -> int:
        key = (config.output, config.run)
        with self._lock:
            if key not in self._found:
                self._found[key] = dict(find_marks(Layout(config.output), config.run))
            # Once: what this process does with the unit, it sees itself.
            uri = self._found[key].pop(mark_name(unit.id), None)
        return 0 if uri is None else read_starts(uri)


_STARTS = _Starts()
