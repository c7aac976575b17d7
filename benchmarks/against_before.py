"""Rate and memory of this tree against another commit's, in one run, alternating.

    python -m benchmarks.against_before --before DIR --data DIR [--work DIR] [--rounds 5] [--only TEXT]

``--before`` is a checkout of the other commit, which exports the models by itself, so that it may be one whose bundles
were others. Writes ``benchmarks/results/against_before.md``. The ratio of processor time is of records per second of
it, start-up included; other work on the machine disturbs it least.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.camera import made
from benchmarks.data import make
from benchmarks.photographs import KINDS, SIZES
from benchmarks.process import HERE, run_job
from benchmarks.sections import alternate, ratio
from harness.machine import machine, on_machine
from harness.measured import Place, spawn

PHOTOGRAPHS = {SIZES[0]: 48, SIZES[1]: 240}  # of a run
# What makes a bundle of a model of the harness: the end of its file's name, and options.
EXPORTS = {
    "mnist": (".keras", "--latent", "encoded"),
    "cifar": (".keras", "--latent", "encoded"),
    "photographs": (".keras", "--latent", "global_average_pooling2d"),
    "denoiser": ("-told.keras", "--noise-input", "noise_level"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job of both trees.

    Attributes:
      what: it does.
      source: makes its shards, at a place.
      model: of the harness, or ``zoo:NAME``.
      after: this tree's model, where it is another one.
      options: of both trees.
      more: options of this tree.
    """

    what: str
    source: Callable[[Place], Path]
    model: str
    verb: str = "encode"
    after: str = ""
    options: tuple[str, ...] = ()
    more: tuple[str, ...] = ()


def jobs() -> list[Job]:
    """All jobs that are compared."""
    told, fast = ("--noise-level", "25"), ("--decode", "fast")
    gray = _shards("cifar-gray-tfrecord", 8_000)
    small = [
        Job(what="encode MNIST TFRecord", source=_shards("mnist-tfrecord", 240_000), model="mnist"),
        Job(what="encode CIFAR-10 tar", source=_shards("cifar-tar", 120_000), model="cifar"),
        Job(
            what="reconstruct CIFAR-10 tar to PNG in tar",
            source=_shards("cifar-tar", 48_000),
            model="cifar",
            verb="reconstruct",
        ),
        Job(what="denoise CIFAR-10 grey TFRecord", source=gray, model="denoiser", verb="denoise", options=told),
        Job(
            what="the same with the zoo's denoiser, now in 8 bits",
            source=gray,
            model="zoo:denoiser-gray",
            after="zoo:denoiser-gray-int8",
            verb="denoise",
            options=told,
        ),
    ]
    photographs = [
        Job(
            what=f"encode JPEG of {size[0]}x{size[1]}, {kind}, at 224x224, now with --decode fast",
            source=partial(made, kind=kind, count=PHOTOGRAPHS[size], size=size),
            model="photographs",
            options=("--resize", "stretch"),
            more=fast,
        )
        for size in SIZES
        for kind in KINDS
    ]
    return [*small, *photographs]


def main() -> None:
    """Measure every job in both trees, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=HERE / ".work")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="jobs whose names have this; nothing is written")
    options = parser.parse_args()
    before = options.before.resolve()
    place = Place(data=options.data.resolve(), work=options.work.resolve())
    place.work.mkdir(exist_ok=True, parents=True)
    lines = []
    for job in jobs():
        if options.only in job.what:
            lines.append(_measured(job, place, before, options.rounds))
            print(lines[-1], flush=True)
    if options.only:
        return
    told = subprocess.run(["git", "-C", before, "log", "-1", "--format=%h, %cs"], capture_output=True, text=True)
    head = [
        "# This tree against one before",
        "",
        f"The other one is of commit {told.stdout.strip()}.",
        f"{on_machine(machine())} {options.rounds} rounds, alternating.",
        "",
        "| job | steady rate, ratio | processor time, ratio | peak memory, ratio | records/s before, after |",
        "|---|---|---|---|---|",
    ]
    (HERE / "results/against_before.md").write_text("\n".join([*head, *lines, ""]))


def _measured(job: Job, place: Place, before: Path, rounds: int) -> str:
    source = job.source(place)
    run = partial(run_job, place, source, job.model, *job.options, verb=job.verb)
    sides = {
        "after": partial(run, *job.more, bundle=job.after or (job.model if ":" in job.model else None)),
        "before": partial(run, tree=before, bundle=_bundle_of(before, place, job.model)),
    }
    runs = alternate(rounds, sides)
    rates = ", ".join(_rate(median(run["rate_steady"] for run in runs[side])) for side in ("before", "after"))
    ratios = (ratio(runs, "after", "before", key) for key in ("rate_steady", "rate_cpu", "peak_mib"))
    return f"| {job.what} | {' | '.join(f'{value:.2f}' for value in ratios)} | {rates} |"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _bundle_of(before: Path, place: Place, model: str) -> object:
    """The bundle that the other tree makes of a model."""
    if ":" in model:
        return before / "model/zoo" / model.removeprefix("zoo:")
    ending, *options = EXPORTS[model]
    made_here, bundle = place.bundle(model), place.work / f"{model}-bundle-before"
    shutil.rmtree(bundle, ignore_errors=True)
    file = made_here.with_name(f"{made_here.name}{ending}")
    spawn([sys.executable, "-m", "model", "export", file, *options, "--output", bundle], place.log, tree=before)
    return bundle


def _shards(name: str, records: int) -> Callable[[Place], Path]:
    return lambda place: make(name, place.data, place.work, records)


if __name__ == "__main__":
    main()
