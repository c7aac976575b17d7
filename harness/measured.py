"""Processes that are measured from outside, and seeded models for them."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.processes import ROOT

LEVEL = 25  # noise that the denoiser is told of, where white is 255
_MAKE_AUTOENCODER = """
import pathlib, sys
from lake.core.tensorflow import keras
from model.export import export
from model.training.networks import build_autoencoder
keras().utils.set_random_seed(0)
build_autoencoder(tuple(map(int, sys.argv[3:])), int(sys.argv[2])).save(sys.argv[1] + ".keras")
export(pathlib.Path(sys.argv[1] + ".keras"), "encoded", sys.argv[1])
"""
_MAKE_DENOISER = """
import pathlib, sys
from lake.core.tensorflow import keras
from model.export import export
from model.preprocessing import Preprocessing
from model.training.networks import build_denoiser
keras().utils.set_random_seed(0)
model, told = build_denoiser(), pathlib.Path(sys.argv[1] + "-told.keras")
model.save(told)
export(told, None, sys.argv[1], Preprocessing(noise_input="noise_level"), precision=sys.argv[3])
image = keras().layers.Input((None, None, 1))
level = keras().layers.Rescaling(0, int(sys.argv[2]) / 255)(image)
keras().Model(image, model([image, level])).save(sys.argv[1] + ".keras")
"""
_MAKE_ENCODER = """
import pathlib, sys
from lake.core.tensorflow import keras
from model.export import export
keras().utils.set_random_seed(0)
side = int(sys.argv[2])
model = keras().applications.MobileNetV2((side, side, 3), weights=None, include_top=False, pooling="avg")
model.save(sys.argv[1] + ".keras")
export(pathlib.Path(sys.argv[1] + ".keras"), model.layers[-1].name, sys.argv[1])
"""
MODELS: dict[str, tuple[object, ...]] = {
    "digits": (_MAKE_AUTOENCODER, 16, 8, 8, 1),
    "mnist": (_MAKE_AUTOENCODER, 128, 28, 28, 1),
    "cifar": (_MAKE_AUTOENCODER, 128, 32, 32, 3),
    "bsd": (_MAKE_AUTOENCODER, 128, 64, 64, 3),
    "photographs": (_MAKE_ENCODER, 224),
    "thumbnails": (_MAKE_ENCODER, 96),
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


def spawn(command: Sequence[object], log: Path, cores: Collection[int] | None = None, tree: Path = ROOT) -> Run:
    """Run a command on some cores, in a checkout of this project, its stderr going to ``log``.

    Raises:
      RuntimeError: it failed; the text holds the end of the log.
    """
    allowed = os.sched_getaffinity(0)
    started = time.time()
    try:
        os.sched_setaffinity(0, cores or allowed)  # the child inherits it
        with log.open("wb") as errors:
            process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=errors, cwd=tree)
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
