"""Sections of ``scripts/torture`` that are large: many files, a huge shard, many shards, many bad records."""

import json
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from harness.machine import machine as machine_alone
from harness.measured import Place, Run, spawn
from tests.conftest import png, write_parquet

FILES, PER_FOLDER = 1_000_000, 1_000
SIDE, SPARSE = 256, 20 << 30  # of an image in pixels, of a shard in bytes
SHARDS, NEW = 10_000, 10
RECORDS = 100_000
MOST_PLAN = 500  # MiB
MOST_NIGHT = 5.0  # seconds
LEAST_RATE = 0.9
_WIDE = """
import pathlib, sys
from lake.core.tensorflow import keras
from model.export import export
side, layers = int(sys.argv[2]), keras().layers
keras().utils.set_random_seed(0)
image = layers.Input((side, side, 1))
latent = layers.Dense(8, name="latent")(layers.Flatten()(layers.AveragePooling2D(32)(image)))
made = layers.Reshape((side // 32, side // 32, 1))(layers.Dense((side // 32) ** 2)(latent))
keras().Model(image, layers.UpSampling2D(32)(made)).save(sys.argv[1] + ".keras")
export(pathlib.Path(sys.argv[1] + ".keras"), "latent", sys.argv[1])
"""

Rows: TypeAlias = list[tuple[str, str]]


def files(place: Path) -> Rows:
    """A folder tree of many tiny images: planned, and encoded."""
    images = [png(image) for image in np.random.default_rng(3).integers(0, 256, (64, 8, 8), np.uint8)]
    for folder in range(FILES // PER_FOLDER):
        directory = place / "in" / f"{folder:04d}"
        directory.mkdir(parents=True)
        for number in range(PER_FOLDER):
            (directory / f"{number:04d}.png").write_bytes(images[(folder + number) % len(images)])
    bundle = small_model(place)
    plan = job(place, "plan", "encode", "--input", place / "in", "--model", bundle, "--output", place / "out")
    run = job(place, "encode", "--input", place / "in", "--model", bundle, "--output", place / "out")
    state = json.loads(run.text)["run"]
    assert (state["read"], state["rejects"]) == (FILES, 0)
    assert plan.peak_mib <= MOST_PLAN, plan.peak_mib
    rate = state["read"] / (state["ended"] - state["first_result"])
    return [
        (f"{FILES:,} files, planned", f"{plan.seconds:.0f} s, {plan.peak_mib:.0f} MiB at most (wanted {MOST_PLAN})"),
        (f"{FILES:,} files, encoded", f"{run.seconds:.0f} s ({rate:,.0f} a second), {run.peak_mib:.0f} MiB at most"),
    ]


def sparse(place: Path) -> Rows:
    """One shard that is a large sparse file, beside one of a sixteenth of it."""
    spawn([sys.executable, "-c", _WIDE, place / "bundle", SIDE], place / "log")
    peaks = dict[int, Run]()
    for size in (SPARSE // 16, SPARSE):
        shard, count = place / f"{size}.npy", size // SIDE**2
        with shard.open("wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": (count, SIDE, SIDE)}
            )
            file.truncate(file.tell() + count * SIDE**2)
        run = job(place, "encode", "--input", shard, "--model", place / "bundle", "--output", place / f"out{size}")
        assert json.loads(run.text)["run"]["results"] == count
        peaks[size] = run
    one, all_ = peaks.values()
    rate = SPARSE / all_.seconds / (1 << 20)
    found = f"{all_.peak_mib:.0f} MiB at most; {one.peak_mib:.0f} with a sixteenth; {rate:.0f} MiB/s"
    return [(f"a sparse shard of {SPARSE >> 30} GiB (.npy), encoded", found)]


def nightly(place: Path) -> Rows:
    """Ten new shards over ten thousand that are unchanged, beside the ten alone."""
    bundle = small_model(place)
    more = 3 * NEW
    arrays = np.random.default_rng(5).integers(0, 256, (SHARDS + more, 4, 8, 8), np.uint8)
    put(place / "in", arrays, range(SHARDS))
    first = job(place, "encode", "--input", place / "in", "--model", bundle, "--output", place / "out")
    over, alone = list[Run](), list[Run]()
    for night in range(3):
        new = range(SHARDS + night * NEW, SHARDS + (night + 1) * NEW)
        put(place / "in", arrays, new)
        put(place / f"new{night}", arrays, new)
        for source, output, runs in (("in", "out", over), (f"new{night}", f"alone{night}", alone)):
            run = job(place, "encode", "--input", place / source, "--model", bundle, "--output", place / output)
            assert json.loads(run.text)["run"]["units"] == NEW
            runs.append(run)
    clock, spent = (statistics.median(more) for more in zip(*map(_more, over, alone), strict=True))
    assert max(clock, spent) < MOST_NIGHT, (clock, spent)
    found = (
        f"{clock:.1f} s more than the {NEW} alone, {spent:.1f} s of them of the processor (wanted {MOST_NIGHT:.0f}); "
        f"{spread(over)} against {spread(alone)}, {max(run.peak_mib for run in over):.0f} MiB at most"
    )
    return [
        (f"{SHARDS:,} small shards, the first run", f"{first.seconds:.0f} s, {first.peak_mib:.0f} MiB at most"),
        (f"{NEW} new shards over {SHARDS:,} unchanged", found),
    ]


def bad(place: Path) -> Rows:
    """Shares of records that are no images, through the job, beside as many that all are, and beside hardly any."""
    bundle = Place(data=place, work=place).bundle("cifar")
    shares = {"few": 0.0, "clean": 0.0, "5%": 0.05, "50%": 0.5}
    for name, share in shares.items():
        mixed(place / name, RECORDS // 100 if name == "few" else RECORDS, share)
    spent, clock, peaks = ({name: list[float]() for name in shares} for _ in range(3))
    for number in range(5):
        for name in shares:
            words = ("--input", place / name, "--model", bundle, "--output", place / f"out-{name}-{number}")
            run = job(place, "encode", *words, "--max-reject-fraction", 1)
            state = json.loads(run.text)["run"]
            spent[name].append(run.cpu - (spent["few"][-1] if name != "few" else 0))  # without starting up
            clock[name].append(state["ended"] - state["first_result"])
            peaks[name].append(run.peak_mib)
    rows = []
    for name in ("5%", "50%"):
        share = compared(spent[name], spent["clean"])
        assert share >= LEAST_RATE, share
        found = (
            f"{share:.2f} of the clean rate by time of the processor (wanted {LEAST_RATE}), "
            f"{compared(clock[name], clock['clean']):.2f} by the clock; "
            f"{max(peaks[name]):.0f} MiB at most, clean {max(peaks['clean']):.0f}"
        )
        rows.append((f"{name} of PNG records of 32x32x3 are bad, through the job", found))
    return rows


def mixed(directory: Path, count: int, share: float) -> None:
    """Four shards of images, a share of which are empty, pages of HTML and cut off."""
    rng = np.random.default_rng(9)
    images = [png(image) for image in rng.integers(0, 256, (512, 8, 8, 3), np.uint8).repeat(4, 1).repeat(4, 2)]
    broken = [b"", b"<!DOCTYPE html><title>404</title>".ljust(900), images[0][:-200]]
    wrong = rng.random(count) < share
    records = [broken[at % 3] if wrong[at] else images[at % len(images)] for at in range(count)]
    for shard in range(4):
        part = slice(shard * count // 4, (shard + 1) * count // 4)
        write_parquet(directory / f"{shard}.parquet", records[part], range(count)[part])


def compared(seconds: Sequence[float], clean: Sequence[float]) -> float:
    """A rate as a share of the clean one of the same rounds."""
    return statistics.median(other / own for own, other in zip(seconds, clean, strict=True))


def _more(run: Run, alone: Run) -> tuple[float, float]:
    """By how much a run took longer: seconds by the clock and of the processor."""
    return run.seconds - alone.seconds, run.cpu - alone.cpu


def small_model(place: Path) -> Path:
    """A bundle, made by another process: what this one ever held would count for those that it starts."""
    return Place(data=place, work=place).bundle("digits")


def machine() -> dict[str, Any]:
    """What figures are of."""
    return {**machine_alone(), "linux": platform.release()}


def job(place: Path, *arguments: object) -> Run:
    """One command, whose result is JSON."""
    return spawn([sys.executable, "-m", "pipeline", *arguments, "--json"], place / "log")


def put(directory: Path, arrays: Any, numbers: Sequence[int]) -> None:
    """Small shards of some numbers."""
    directory.mkdir(exist_ok=True)
    for number in numbers:
        np.save(directory / f"{number:06d}.npy", arrays[number])


def spread(runs: Sequence[Run]) -> str:
    """Times of some runs, from the least to the most."""
    seconds = [run.seconds for run in runs]
    return f"{min(seconds):.1f} to {max(seconds):.1f} s"
