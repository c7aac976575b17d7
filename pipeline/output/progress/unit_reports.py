"""What long units say of themselves while they run: without it the progress of a run is known by finished units alone.

A unit that has run for five seconds writes a small file beside the plan of its run, again every five seconds, and
removes it when it ends. The commit removes what is left. Nothing depends on these files but what is shown.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

from lake.core import sealed_json
from lake.core.errors import VerifyError
from lake.core.ordered_map import requested
from lake.storage import Guard, put, store_for
from pipeline.output.layout import Layout, files_below
from pipeline.output.state.state_file import read_state_file
from pipeline.output.state.state_values import Rule, natural, number, utf8
from pipeline.output.units.marks import mark_name

EVERY = 5.0  # seconds
_RULES: Mapping[str, Rule] = {
    "unit": utf8,
    "done": natural,
    "seconds": number,
    "own": number,
    "at": number,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitReport:
    """How far a running unit is. The field names are those of the file.

    Attributes:
      unit: id of the unit.
      done: bytes of its input whose records have come out.
      seconds: since it began.
      own: about as many of these as it would have taken alone: units that run in one process share it.
      at: when that was, in seconds since the epoch.
    """

    unit: str
    done: int
    seconds: float
    own: float
    at: float

    def done_by(self, now: float) -> float:
        """What is done some seconds later, if it goes on as before.

        Args:
          now: in seconds since the epoch, by a clock that may be another one.
        """
        return self.done * (1 + min(max(0.0, now - self.at), 6 * EVERY) / max(self.seconds, EVERY))

    def own_by(self, now: float) -> float:
        """The seconds that are its own by some seconds later, likewise."""
        return self.own * (1 + (now - self.at) / max(self.seconds, EVERY))


def write_report(layout: Layout, run: str, report: UnitReport, guard: Guard) -> None:
    """Write how far a unit is.

    Raises:
      OSError: the output cannot be written.
      HeldError: the run has lost its lease.
    """
    put(_uri(layout, run, report.unit), sealed_json.dumps(asdict(report)), guard)


def remove_report(layout: Layout, run: str, unit: str) -> None:
    """Remove what a unit has written. What cannot be removed, the commit removes."""
    uri = _uri(layout, run, unit)
    with suppress(OSError):
        store_for(uri).delete(uri)


def read_reports(layout: Layout, run: str) -> dict[str, UnitReport]:
    """Read what the running units of a run say, by unit. What is gone meanwhile, or damaged, is left out."""
    uris = [stat.uri for stat in files_below(layout.running(run))]
    return {report.unit: report for report in requested(_read, uris) if report is not None}


def report_now(unit: str, done: int, seconds: float, own: float) -> UnitReport:
    """What a unit says at this moment.

    Args:
      unit: id of the unit.
      done: bytes of its input whose records have come out.
      seconds: since it began.
      own: as of ``UnitReport``.
    """
    return UnitReport(unit=unit, done=done, seconds=round(seconds, 3), own=round(own, 3), at=round(time.time(), 3))


def _read(uri: str) -> UnitReport | None:
    try:
        value = read_state_file(uri, _RULES)
    except (FileNotFoundError, VerifyError):
        return None
    return UnitReport(**{name: value[name] for name in _RULES})


def _uri(layout: Layout, run: str, unit: str) -> str:
    return f"{layout.running(run)}/{mark_name(unit)}.json"
