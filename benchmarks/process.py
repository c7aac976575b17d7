"""Runs of the job and of its peers, measured from outside."""

import json
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from harness.measured import Place, spawn

HERE = Path(__file__).parent


def run_job(
    place: Place,
    source: Path,
    name: str,
    *options: object,
    verb: str = "encode",
    cores: Collection[int] | None = None,
    tree: Path = HERE.parent,
) -> dict[str, float]:
    """One run of this project's job, with the model called ``name``; its output stays until the next run.

    The steady rate counts from the first batch out of the model to the end of the commit.
    """
    command: list[object] = [sys.executable, "-m", "pipeline", verb, "--json"]
    command += ["--input", source, "--model", place.bundle(name), "--output", place.fresh(), *options]
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
