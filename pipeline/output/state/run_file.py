"""The file ``run.json`` of a run: what it set out to do. With it anybody can tell how far the run is.

It is the last file that a launcher writes before the workers begin, and goes with the plan at the commit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from lake.core import sealed_json
from lake.storage import Guard, put
from pipeline.output.layout import Layout
from pipeline.output.state.state_file import read_state_file
from pipeline.output.state.state_values import Rule, mapping_of, natural, number, utf8
from pipeline.output.units.receipts import listed_receipts

_RULES: Mapping[str, Rule] = {
    "verb": utf8,
    "started": number,
    "units": natural,
    "todo": natural,
    "earlier": mapping_of(utf8),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """What a run set out to do. The field names are those of the file.

    Attributes:
      verb: what the job computes.
      started: when the run began, in seconds since the epoch.
      units: number of units in the plan, finished before or not.
      todo: number of units that the run was to process.
      earlier: units to be processed that have a receipt all the same, which an earlier run left: the identity of its
        file. A receipt of any other identity is this run's.
    """

    verb: str
    started: float
    units: int
    todo: int
    earlier: Mapping[str, str] = field(default_factory=dict)


def write_run_file(layout: Layout, run: str, content: RunFile, guard: Guard | None = None) -> None:
    """Write the file of a run."""
    put(layout.run_file(run), sealed_json.dumps(asdict(content)), guard)


def read_run_file(layout: Layout, run: str) -> RunFile:
    """Read the file of a run.

    Raises:
      FileNotFoundError: the run is not staged, or has ended.
      VerifyError: the file is damaged.
    """
    value = read_state_file(layout.run_file(run), _RULES)
    return RunFile(**{name: value[name] for name in _RULES})


def earlier_receipts(layout: Layout, todo: Iterable[str]) -> dict[str, str]:
    """Return the receipts that units to be processed have before the run begins, as ``RunFile.earlier``."""
    listed = listed_receipts(layout)
    return {unit: listed[unit] for unit in (todo if listed else ()) if unit in listed}
