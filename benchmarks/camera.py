"""Photographs of a camera to latents, against other ways to do it: a section of the benchmark."""

import shutil
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import sections
from benchmarks.photographs import KINDS, SIZES, photograph, read
from benchmarks.process import run_job, run_peer
from benchmarks.sections import Plan, Side
from harness.measured import Place

_PER_RUN = 33  # of ``--photographs``, which counts small ones, one of these


def camera(plan: Plan) -> dict[str, Any]:
    """JPEG of 12 megapixels to a MobileNetV2 of 224x224, against Ray Data and tf.data as people write them."""
    count = max(8, plan.photographs // _PER_RUN)
    return {kind: _measured(plan, made(plan.place, kind, count)) for kind in KINDS}


def _measured(plan: Plan, source: Path) -> dict[str, Any]:
    place, python = plan.place, plan.peers or Path(sys.executable)
    job = partial(run_job, place, source, "photographs", "--resize", "stretch", "--decode")
    limited = ("--resize", "stretch", "--decode", "fast", "--batches", 8)  # of megabytes a photograph
    sides: dict[str, Side] = {
        "latentlake": partial(job, "fast"),
        "latentlake, exact": partial(job, "exact"),
        "tf.data script": partial(_peer, place, "tfdata_photographs.py", source, Path(sys.executable)),
        "Ray Data": partial(_peer, place, "ray_photographs.py", source, python),
        "limit": partial(sections.limit, place, "encode", source, "photographs", *limited),
    }
    runs = sections.alternate(plan.rounds, sides)
    shares = [a["rate_steady"] / b["composed"] for a, b in zip(runs["latentlake"], runs["limit"], strict=True)]
    ratios = {name: sections.ratio(runs, "latentlake", name) for name in sides if name not in ("latentlake", "limit")}
    return {"runs": runs, "ratios": ratios, "share_of_limit": median(shares)}


def _peer(place: Place, program: str, source: Path, python: Path) -> Mapping[str, float]:
    return run_peer(place, program, f"{source}/*", python, name="photographs")


def made(place: Place, kind: str, count: int, size: tuple[int, int] = SIZES[0]) -> Path:
    """A directory of photographs of one of ``KINDS``, made once."""
    source = place.work / f"camera-{kind.replace(' ', '-')}-{size[0]}-{count}"
    if not source.is_dir():
        partial_directory = place.work / f".{source.name}.partial"
        shutil.rmtree(partial_directory, ignore_errors=True)
        partial_directory.mkdir(parents=True)
        originals = read(place.data / "bsd400")
        for number in range(count):
            picture = KINDS[kind](originals, number % len(originals), size)
            (partial_directory / f"{number:04d}.jpg").write_bytes(photograph(picture).file)
        partial_directory.rename(source)
    return source


SECTIONS = {"camera": camera}
