"""Run a unit on an engine that starts the job again where a worker raises: what ends the run is given as a value."""

import time
from dataclasses import dataclass
from threading import Lock

from lake.core.errors import LatentlakeError
from lake.core.records import Unit
from lake.storage import configure
from pipeline.config import JobConfig
from pipeline.output.fencing.stop import Stop, ends_run, read_stop, write_stop
from pipeline.output.units.receipts import Receipt
from pipeline.worker.run_unit import run_unit

_EVERY = 10.0  # seconds between two looks at what other workers say


def run_or_stop(unit: Unit, config: JobConfig) -> Receipt | Stop:
    """Run a unit, unless the run has ended.

    Args:
      unit: the unit.
      config: the job.

    Returns:
      The unit's receipt; where the run ends before its units are done, why.

    Raises:
      Exception: as of ``run_unit``, if the engine does not start the job again, or if that may help.
    """
    if not config.restarts:
        return run_unit(unit, config)
    if (stop := known_stop(config)) is not None:
        return stop
    try:
        return run_unit(unit, config)
    except Exception as error:
        return stop_run(config, error)


def known_stop(config: JobConfig) -> Stop | None:
    """Return why a run has ended, if the engine starts the job again; None as long as this process knows of nothing.

    Args:
      config: the job.
    """
    if not config.restarts:
        return None
    configure(config.stores)
    return _STOPS.of(config)


def stop_run(config: JobConfig, error: Exception) -> Stop:
    """Return the stop for an error, and tell the other units of the run.

    Args:
      config: the job.
      error: what a step of the job has raised; the call must be in its handler.

    Raises:
      Exception: the error itself, if the engine does not start the job again, or if that may help.
    """
    if not (config.restarts and ends_run(error)):
        raise error
    return _STOPS.add(config, error)


@dataclass(slots=True)
class _Known:
    """What this process knows of a run, and when it looked last, on the clock of ``time.monotonic``."""

    stop: Stop | None = None
    looked: float = 0.0


class _Stops:
    """The runs that have ended. A process looks now and then whether another one has ended a run."""

    def __init__(self) -> None:
        self._lock, self._runs = Lock(), dict[tuple[str, str], _Known]()

    def of(self, config: JobConfig) -> Stop | None:
        with self._lock:
            known = self._runs.setdefault((config.output, config.run), _Known())
            due = known.stop is None and not 0 < time.monotonic() - known.looked < _EVERY
            if due:
                known.looked = time.monotonic()
        if due:
            known.stop = _found(config)
        return known.stop

    def add(self, config: JobConfig, error: Exception) -> Stop:
        stop = write_stop(config, error)
        with self._lock:
            self._runs.setdefault((config.output, config.run), _Known()).stop = stop
        return stop


def _found(config: JobConfig) -> Stop | None:
    try:
        return read_stop(config)
    except (LatentlakeError, OSError):  # what is wrong with the output, the unit will say
        return None


_STOPS = _Stops()
