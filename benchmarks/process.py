"""Runs of the job and of its peers as processes, measured from outside."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LEVEL = 25  # noise that the denoiser is told of, where white is 255
_MAKE_AUTOENCODER = """
import pathlib, sys
from model.backend import keras
from model.export import export
from model.networks import build_autoencoder
keras().utils.set_random_seed(0)
build_autoencoder(tuple(map(int, sys.argv[2:])), 128).save(sys.argv[1] + ".keras")
export(pathlib.Path(sys.argv[1] + ".keras"), "encoded", sys.argv[1])
"""
_MAKE_DENOISER = """
import pathlib, sys
from model.backend import keras
from model.export import Preprocessing, export
from model.networks import build_denoiser
keras().utils.set_random_seed(0)
model, told = build_denoiser(), pathlib.Path(sys.argv[1] + "-told.keras")
model.save(told)
export(told, None, sys.argv[1], Preprocessing(noise_input="noise_level"), precision=sys.argv[3])
image = keras().layers.Input((None, None, 1))
level = keras().layers.Rescaling(0, int(sys.argv[2]) / 255)(image)
keras().Model(image, model([image, level])).save(sys.argv[1] + ".keras")
"""
MODELS: dict[str, tuple[object, ...]] = {
    "mnist": (_MAKE_AUTOENCODER, 28, 28, 1),
    "cifar": (_MAKE_AUTOENCODER, 32, 32, 3),
    "bsd": (_MAKE_AUTOENCODER, 64, 64, 3),
    "denoiser": (_MAKE_DENOISER, LEVEL, "float32"),
    "denoiser-bfloat16": (_MAKE_DENOISER, LEVEL, "bfloat16"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One finished process."""

    text: str
    seconds: float
    cpu: float  # seconds, of all cores and its processes that have ended
    peak_mib: float  # of its largest process


def spawn(command: Sequence[object], log: Path, cores: Collection[int] | None = None) -> Run:
    """Run a command on some cores, its stderr going to ``log``.

    Raises:
      RuntimeError: it failed; the text holds the end of the log.
    """
    allowed = os.sched_getaffinity(0)
    started = time.time()
    try:
        os.sched_setaffinity(0, cores or allowed)  # the child inherits it
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [str(c) for c in command], stdout=subprocess.PIPE, stderr=errors, cwd=HERE.parent
            )
    finally:
        os.sched_setaffinity(0, allowed)
    assert process.stdout is not None
    text = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Run(text=text, seconds=time.time() - started, cpu=cpu, peak_mib=usage.ru_maxrss / 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a benchmark keeps its shards, models and outputs."""

    data: Path
    work: Path

    def bundle(self, name: str) -> Path:
        """The bundle of one of ``MODELS``: seeded weights, since only speed is asked.

        Beside it, with ``.keras`` after its name, is the peers' model, of one input: a denoiser's level is fixed.
        """
        bundle, (program, *arguments) = self.work / f"{name}-bundle", MODELS[name]
        if not (bundle.with_name(f"{bundle.name}.keras").exists() and (bundle / "model.json").exists()):
            shutil.rmtree(bundle, ignore_errors=True)
            spawn([sys.executable, "-c", program, bundle, *arguments], self.log)
        return bundle

    def fresh(self) -> Path:
        """An output directory that does not exist."""
        path = self.work / "out"
        shutil.rmtree(path, ignore_errors=True)
        return path

    @property
    def log(self) -> Path:
        """Where processes' stderr goes."""
        return self.work / "stderr.txt"


def run_job(
    place: Place,
    source: Path,
    name: str,
    *options: object,
    verb: str = "encode",
    cores: Collection[int] | None = None,
) -> dict[str, float]:
    """One run of this project's job, with the model called ``name``; its output stays until the next run.

    The steady rate counts from the first batch out of the model to the end of the commit.
    """
    command: list[object] = [sys.executable, "-m", "pipeline", verb, "--json"]
    command += ["--input", source, "--model", place.bundle(name), "--output", place.fresh(), *options]
    started = time.time()
    run = spawn(command, place.log, cores)
    state: dict[str, Any] = json.loads(run.text)["run"]
    return {
        "records": state["read"],
        "rate_steady": state["read"] / (state["ended"] - state["first_result"]),
        "seconds_startup": state["first_result"] - started,
        "seconds_total": run.seconds,
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
