"""The table of a run: which faults were caught, module by module, and which were not. ``scripts/mutate`` prints it."""

import json
import os
import platform
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

MUTANTS = Path("mutants")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
CAUGHT, NOT_RUN = ("killed", "timeout"), "not checked"

HEAD = """# Mutation tests

Measured on: cpu {cpu}, cores {cores}, python {python}, mutmut {mutmut}.

`scripts/mutate` plants small faults in a copy of the modules below, one at a time, and runs the tests that reach the
function. A fault is *caught* if one of them fails or does not end. The tests are those named in `pyproject.toml`
(`[tool.mutmut]`): plain Python on small files, without Beam, TensorFlow, a server or an engine.

- **The faults** are mutmut's own (operators, conditions, numbers, names, an argument or a value that is left out or
  `None`, an arm of a conditional expression), and three more: a call whose result nobody takes is left out, so is a
  `raise`, and a plain condition is negated (`tests/mutation/__main__.py`).
- **Left out** are texts for people: strings with a space, the arguments of errors, and logs. mutmut leaves out
  annotations, constants of modules, default values that are computed, and functions with decorators (properties and
  context managers too, so all names of `Layout`, `Lease.alive`, `Job.nothing_to_do` and `renewing` are tested, but
  not mutated).
- **Not here** are `lake/storage/gcs/store.py` and `lake/storage/s3/store.py`: nearly every line of them is a request
  whose answer only a server can give. `tests/stores` runs them against real ones, with lost, cut and late answers.
  Nor is `pipeline/output/verify`, which has tests of planted damage of its own (`tests/faults`).
- **Equivalent** faults change nothing that anybody could see; `tests/mutation/equivalent.toml` has each with its
  reason. The score is the share of the others that was caught.

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One fault: where it is, what became of it, and the lines that it changes to."""

    module: str
    name: str
    status: str
    change: str
    why: str | None  # it is equivalent

    @property
    def function(self) -> str:
        """The function that has it, by its module."""
        return self.name.rpartition("__mutmut_")[0].replace("xǁ", "").replace("ǁ", ".").replace(".x_", ".")


def mutants() -> Iterator[Mutant]:
    """All faults of the last run."""
    known = _equivalent()
    for meta in sorted(MUTANTS.rglob("*.meta")):
        module = meta.relative_to(MUTANTS).with_suffix("").as_posix()
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            status = status_by_exit_code[code]
            change = "" if status in (*CAUGHT, NOT_RUN) else _change(name, module)
            yield Mutant(module=module, name=name, status=status, change=change, why=known.get((module, change)))


def _change(name: str, module: str) -> str:
    """The lines that a fault makes, in one; of a line that it leaves out, the line with a minus before it."""
    lines = get_diff_for_mutant(name, path=module).splitlines()
    made = [line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++")]
    gone = [line[1:].strip() for line in lines if line.startswith("-") and not line.startswith("---")]
    return " ".join(made) if made and made != ["pass"] else f"- {' '.join(gone)}"


def _equivalent() -> Mapping[tuple[str, str], str]:
    entries = tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    return {(entry["module"], change): entry["why"] for entry in entries for change in entry["changes"]}


def report(found: Sequence[Mutant]) -> str:
    """As Markdown."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), "?")
    cores = len(os.sched_getaffinity(0))
    head = HEAD.format(cpu=cpu, cores=cores, python=platform.python_version(), mutmut=version("mutmut"))
    return "\n".join([head, *_table(found), "", *_survivors(found), "", *_reasons(found)]) + "\n"


def _table(found: Sequence[Mutant]) -> Iterator[str]:
    modules: defaultdict[str, list[Mutant]] = defaultdict(list)
    for mutant in found:
        modules[mutant.module].append(mutant)
    yield "| module | faults | caught | of them by not ending | equivalent | not caught | not run | score |"
    yield "|---|---|---|---|---|---|---|---|"
    for module, own in modules.items():
        yield _row(f"`{module}`", own)
    yield _row("**all**", found)


def _row(name: str, found: Sequence[Mutant]) -> str:
    count = Counter("equivalent" if mutant.why else mutant.status for mutant in found)
    caught, run = sum(count[status] for status in CAUGHT), len(found) - count[NOT_RUN]
    missed = run - caught - count["equivalent"]
    score = f"{caught / max(caught + missed, 1):.1%}"
    cells = (name, len(found), caught, count["timeout"], count["equivalent"], missed, count[NOT_RUN], score)
    return f"| {' | '.join(map(str, cells))} |"


def _survivors(found: Sequence[Mutant]) -> Iterator[str]:
    yield "## Not caught\n"
    for mutant in found:
        if mutant.change and not mutant.why:
            yield f"- `{mutant.function}`: `` {mutant.change} ``"


def _reasons(found: Sequence[Mutant]) -> Iterator[str]:
    yield "## Equivalent\n"
    for mutant in found:
        if mutant.why:
            yield f"- `{mutant.function}`: `` {mutant.change} ``: {mutant.why}"


if __name__ == "__main__":
    print(report([*mutants()]), end="")
