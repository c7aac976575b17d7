"""The sides, and how they are run, killed and read."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.process import HERE
from harness.processes import start

SECONDS = 900  # for one run, by default
_NAME = "FAULTS_RUN"  # in the environment of all that a run starts


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A tool.

    program: of ``benchmarks/peers``.
    files: glob of the output's files with rows.
    packages: whose versions the page gives.
    catches: whether the user's function may catch what bad images raise, since the tool does not.
    """

    name: str
    program: str
    files: str
    packages: Sequence[str] = ()
    catches: bool = False


SIDES = (
    Side(name="latentlake", program="faults_latentlake.py", files="latents/**/*.parquet"),
    Side(name="Beam's recipe", program="faults_beam.py", files="*.parquet", packages=["apache-beam"]),
    Side(name="Daft", program="faults_daft.py", files="**/*.parquet", packages=["daft"]),
    Side(name="LitData", program="faults_litdata.py", files="*.bin", packages=["litdata", "torch"], catches=True),
    Side(name="Ray Data", program="faults_ray.py", files="**/*.parquet", packages=["ray"], catches=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One run.

    status: of its exit; negative: ended by this signal; None: it had to be ended, since it had its time.
    passed: records that have gone through the model.
    found: the rows that the tool itself reads afterwards, or what it raised; then the same with each flipped bit.
    """

    status: int | None
    seconds: float
    passed: int
    said: str
    found: Sequence[pa.Table | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one side works on one input: ``out`` and all that belongs to it; ``seconds`` are for one run."""

    folder: Path
    side: Side
    python: Path
    model: Path
    seconds: int

    def fresh(self) -> "Place":
        """The same, with nothing in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self

    def run(self, source: Path, *, kill_at: int | None = None, own_handling: bool = False, flips: int = 0) -> Ended:
        """Run the job, or go on with it, and read what is there afterwards.

        Args:
          source: directory of shards.
          kill_at: all its processes are killed when so many records have passed the model.
          own_handling: whether the user's function catches what bad images raise.
          flips: bits of the output's files that are flipped afterwards, one at a time, each time read again.
        """
        marks, found, log = self.folder / "marks", self.folder / "found", self.folder / "log.txt"
        marks.mkdir(exist_ok=True)
        shutil.rmtree(found, ignore_errors=True)
        found.mkdir()
        log.touch()
        before, told, began = _passed(marks), log.stat().st_size, time.monotonic()
        named = {"input": source, "model": self.model, "output": self.folder / "out", "marks": marks, "found": found}
        words = [word for name, value in named.items() for word in (f"--{name}", value)]
        words += [*(["--own-handling"] if own_handling else []), "--files", str(self.side.files), "--flips", str(flips)]
        status = self._spawn(words, log, lambda: kill_at is not None and _passed(marks) - before >= kill_at)
        return Ended(
            status=status,
            seconds=time.monotonic() - began,
            passed=_passed(marks) - before,
            said=log.read_bytes()[told:].decode(errors="replace"),
            found=[_found(found / name) for name in ("rows", *map(str, range(flips)))],
        )

    def _spawn(self, words: Sequence[object], log: Path, enough: Callable[[], bool]) -> int | None:
        token = uuid.uuid4().hex
        cache = self.folder / "cache"
        more = {_NAME: token, "DATA_OPTIMIZER_CACHE_FOLDER": f"{cache}/chunks"}
        more |= {"DATA_OPTIMIZER_DATA_CACHE_FOLDER": f"{cache}/data"}
        part = start([self.python, HERE / "peers" / self.side.program, *words], log, more=more)
        end = time.monotonic() + self.seconds
        while part.process.poll() is None and not enough() and time.monotonic() < end:
            time.sleep(0.002)
        status = part.process.poll()
        _kill(token, part.pid)
        ended = part.process.wait()
        return None if status is None and time.monotonic() >= end else ended


def versions(side: Side, python: Path) -> str:
    """The versions of a side's packages."""
    program = "import importlib.metadata as m, sys; print(*(f'{p} {m.version(p)}' for p in sys.argv[1:]), sep=', ')"
    return subprocess.check_output([python, "-c", program, *side.packages], text=True).strip()


def place(folder: Path, side: Side, peers: Path, model: Path, seconds: int = SECONDS) -> Place:
    """Where a side works, with nothing in it."""
    python = peers if side.packages else Path(sys.executable)
    return Place(folder=folder, side=side, python=python, model=model, seconds=seconds).fresh()


def _passed(marks: Path) -> int:
    """Records by the lines of all marks; a line that a kill has cut is none."""
    lines = [line for file in marks.iterdir() for line in file.read_text().split("\n")[:-1]]
    return sum(int(line.split()[1]) for line in lines)


def _kill(token: str, session: int) -> None:
    """End every process that a run has started, wherever it stands."""
    while pids := list(_started(token, session)):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _started(token: str, session: int) -> Iterator[int]:
    mark = f"{_NAME}={token}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            after = (folder / "stat").read_text().rpartition(")")[2]  # proc(5): from the third field on
            state, _, _, its, *_ = after.split()
            # Ray's workers write their names over their environment, so the session counts, too.
            if state != "Z" and (int(its) == session or mark in (folder / "environ").read_bytes().split(b"\0")):
                yield int(folder.name)


def _found(path: Path) -> pa.Table | str:
    table, said = path.with_suffix(".parquet"), path.with_suffix(".txt")
    return pq.read_table(table) if table.exists() else said.read_text() if said.exists() else "nothing was read"
