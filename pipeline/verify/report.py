"""What a check of an output found."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import VerifyError

_SHOWN = 50  # problems that a person is shown
_NAMED = 10  # units that the error names


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, and the unit to redo (None where no unit can mend it)."""

    name: str  # relative to the output
    unit: str | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a check found.

    deep: every byte was read.
    units, files, read, results, rejects: what the manifest, and receipts that are not in it yet, say.
    damaged: problems of single units; doing these again mends them.
    extra: names of files among the data that are in no manifest.
    lost: problems that no unit can mend: of the job's own state, the model, or an output that is not committed.
    notes: what is no problem and may explain some.
    """

    output: str
    deep: bool
    units: int
    files: int
    read: int
    results: int
    rejects: int
    damaged: tuple[Problem, ...]
    extra: tuple[str, ...]
    lost: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong."""
        extra = (Problem(name=name, unit=None, problem="not in the manifest") for name in self.extra)
        return (*self.damaged, *extra, *self.lost)

    @property
    def units_to_redo(self) -> tuple[str, ...]:
        """Ids of the units that have a problem, sorted."""
        return tuple(sorted({problem.unit for problem in self.damaged if problem.unit is not None}))

    def to_value(self) -> dict[str, Any]:
        """As JSON values."""
        value = {name: item for name, item in asdict(self).items() if name not in ("damaged", "lost")}
        return {**value, "units_to_redo": self.units_to_redo, "problems": [asdict(p) for p in self.problems]}

    def describe(self) -> str:
        """For a person."""
        counts = f"{self.units:,} units, {self.files:,} files, {self.read:,} records read"
        head = f"{self.output}: {counts} = {self.results:,} results + {self.rejects:,} rejects"
        return "\n".join([head, *self._findings(), *(f"  note: {note}" for note in self.notes)])

    def raise_for_problems(self) -> None:
        """Raise ``VerifyError`` if anything is wrong."""
        if self.problems:
            redo = f"; units to redo: {_some(self.units_to_redo)}" if self.units_to_redo else ""
            raise VerifyError(f"{self.output}: {len(self.problems)} problems{redo}")

    def _findings(self) -> Iterator[str]:
        problems = self.problems
        for problem in problems[:_SHOWN]:
            yield f"  {_printable(problem.name)}: {problem.problem}"
        if len(problems) > _SHOWN:
            yield f"  and {len(problems) - _SHOWN:,} more problems; --json has all"
        if not problems and self.deep:
            yield "every file, checksum, row and count is right"
        elif not problems:
            yield "every file is there with its size, and every count is right; --deep also reads every byte"


def _some(units: Sequence[str]) -> str:
    more = f" and {len(units) - _NAMED:,} more" if len(units) > _NAMED else ""
    return ", ".join(units[:_NAMED]) + more


def _printable(name: str) -> str:
    """Names of extra files are anybody's: no control character reaches a terminal."""
    return name if name.isprintable() else ascii(name)
