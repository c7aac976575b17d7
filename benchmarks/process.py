"""Runs of the job and of its peers, measured from outside."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.measured import Place, spawn
from harness.processes import start

HERE = Path(__file__).parent
_TICK = os.sysconf("SC_CLK_TCK")


def run_job(
    place: Place,
    source: Path,
    name: str,
    *options: object,
    verb: str = "encode",
    cores: Collection[int] | None = None,
    tree: Path = HERE.parent,
    bundle: object = None,
) -> dict[str, float]:
    """One run of this project's job, with the model called ``name`` or a ``bundle``; its output stays until the next.

    The steady rate counts from the first batch out of the model to the end of the commit.
    """
    command: list[object] = [sys.executable, "-m", "pipeline", verb, "--json"]
    command += ["--input", source, "--model", bundle or place.bundle(name), "--output", place.fresh(), *options]
    started = time.time()
    run = spawn(command, place.log, cores, tree)
    state: dict[str, Any] = json.loads(run.text)["run"]
    return {
        "records": state["read"],
        "rate_steady": state["read"] / (state["ended"] - state["first_result"]),
        "seconds_startup": state["first_result"] - started,
        "seconds_total": run.seconds,
        "rate_cpu": state["read"] / run.cpu,
        "peak_mib": run.peak_mib,
    }


def run_peer(
    place: Place, program: str, source: str, python: Path, *options: object, name: str = "mnist"
) -> dict[str, float]:
    """One run of a program of ``benchmarks/peers`` with the model called ``name``; what it printed last."""
    command: list[object] = [python, HERE / "peers" / program, "--input", source]
    command += ["--model", f"{place.bundle(name)}.keras", "--output", place.fresh(), *options]
    run = spawn(command, place.log)
    figures: dict[str, float] = json.loads(run.text.strip().splitlines()[-1])
    return {**figures, "peak_mib": run.peak_mib}


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a command and all that it started took.

    cpu: seconds of processors.
    peak_mib: the most memory that all of its processes held at once, shared pages once.
    """

    seconds: float
    cpu: float
    peak_mib: float


def used(command: Sequence[object], log: Path) -> Used:
    """Run a command, its outputs going to ``log``.

    Raises:
      RuntimeError: it failed; the text holds the end of the log.
    """
    log.unlink(missing_ok=True)
    part, began, peak = start(command, log), time.monotonic(), 0
    while not (ended := os.wait4(part.pid, os.WNOHANG))[0]:
        peak = max(peak, _memory(part.pid))
        time.sleep(0.05)
    part.process.returncode = os.waitstatus_to_exitcode(ended[1])
    if part.process.returncode:
        raise RuntimeError(f"{command} ended with {part.process.returncode}:\n{part.said[-3000:]}")
    cpu = ended[2].ru_utime + ended[2].ru_stime
    return Used(seconds=time.monotonic() - began, cpu=cpu, peak_mib=peak / 1024)


def _memory(session: int) -> int:
    """KiB of all processes of a session: each page counts once (proc(5): ``Pss``)."""
    whole = 0
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if int((path / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                lines = (path / "smaps_rollup").read_text().splitlines()
                whole += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What one process took.

    cpu: seconds of processors.
    peak_mib: the most memory that it held at once, shared pages with it.
    """

    cpu: float
    peak_mib: float


def used_by_each(process: "subprocess.Popen[bytes]") -> tuple[Use, ...]:
    """What a process takes until it ends, and then each that it has started, the one with most processor time first."""
    found = dict[int, Use]()
    while process.poll() is None:
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError):  # it has ended meanwhile
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == process.pid:  # its session
                    cpu = (int(fields[11]) + int(fields[12])) / _TICK
                    found[int(path.name)] = Use(cpu=cpu, peak_mib=_peak(path))
        time.sleep(0.2)
    first = found.pop(process.pid)
    return first, *sorted(found.values(), key=lambda use: use.cpu, reverse=True)


def _peak(process: Path) -> float:
    """MiB that a process has held at most (proc(5): ``VmHWM``)."""
    (line,) = (line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
