"""The findings of a check of an output."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lake.core.errors import VerifyError
from lake.core.printable import printable

_SHOWN = 50  # most problems in the text
_TEXT = 1000  # most characters of one problem in the text
_NAMED = 10  # most units that the error names


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem that a check found.

    Attributes:
      name: name of the file, relative to the output.
      unit: id of the unit to process again; None if that would not repair it.
      problem: what is wrong, in words.
    """

    name: str
    unit: str | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """The findings of a check.

    Attributes:
      output: URI of the output.
      deep: whether every byte was read.
      units: number of units, by the manifest and by receipts that are not in it yet.
      files: number of their files.
      read: number of records.
      results: number of results.
      rejects: number of rejected records.
      damaged: problems of single units. Processing these units again repairs them.
      extra: names of data files that belong to no unit.
      lost: problems that no unit can repair: of the job's own state, of the model, of an output that is not committed.
      notes: facts that are no problems but may explain some.
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
        """All problems."""
        extra = (Problem(name=name, unit=None, problem="not in the manifest") for name in self.extra)
        return (*self.damaged, *extra, *self.lost)

    @property
    def units_to_redo(self) -> tuple[str, ...]:
        """Ids of the units that have a problem, sorted."""
        return tuple(sorted({problem.unit for problem in self.damaged if problem.unit is not None}))

    def to_value(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        value = {name: item for name, item in asdict(self).items() if name not in ("damaged", "lost")}
        return {**value, "units_to_redo": self.units_to_redo, "problems": [asdict(p) for p in self.problems]}

    def describe(self) -> str:
        """Return the report as text for a person."""
        counts = f"{self.units:,} units, {self.files:,} files, {self.read:,} records read"
        head = f"{printable(self.output, _TEXT)}: {counts} = {self.results:,} results + {self.rejects:,} rejects"
        return "\n".join([head, *self._findings(), *(f"  note: {printable(note, _TEXT)}" for note in self.notes)])

    def raise_for_problems(self) -> None:
        """Raise an error if there are problems.

        Raises:
          VerifyError: there are; the text counts them and names the units to process again.
        """
        if self.problems:
            redo = f"; units to redo: {_some(self.units_to_redo)}" if self.units_to_redo else ""
            raise VerifyError(f"{self.output}: {len(self.problems)} problems{redo}")

    def _findings(self) -> Iterator[str]:
        problems = self.problems
        for problem in problems[:_SHOWN]:
            yield f"  {printable(problem.name)}: {printable(problem.problem, _TEXT)}"
        if len(problems) > _SHOWN:
            yield f"  and {len(problems) - _SHOWN:,} more problems; --json has all"
        if not problems and self.deep:
            yield "every file, checksum, row and count is right"
        elif not problems:
            yield "every file is there with its size, and every count is right; --deep also reads every byte"


def _some(units: Sequence[str]) -> str:
    more = f" and {len(units) - _NAMED:,} more" if len(units) > _NAMED else ""
    return ", ".join(printable(unit, 100) for unit in units[:_NAMED]) + more
