"""Rate and memory of this tree against another commit's, in one run, alternating.

    python -m benchmarks.against_before --before DIR --data DIR [--work DIR] [--rounds 5]

``--before`` is a checkout of the other commit. Writes ``benchmarks/results/against_before.md``. The ratio of processor
time is of records per second of it, start-up included; other work on the machine disturbs it least.
"""

import argparse
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.data import make
from benchmarks.process import HERE, run_job
from benchmarks.sections import alternate, ratio
from harness.machine import machine, on_machine
from harness.measured import Place

JOBS = {  # what -> set of shards, records, model, verb, options
    "encode MNIST TFRecord": ("mnist-tfrecord", 240_000, "mnist", "encode", ()),
    "reconstruct CIFAR-10 tar to PNG in tar": ("cifar-tar", 48_000, "cifar", "reconstruct", ()),
    "denoise CIFAR-10 grey TFRecord": ("cifar-gray-tfrecord", 8_000, "denoiser", "denoise", ("--noise-level", "25")),
}


def main() -> None:
    """Measure every job in both trees, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=HERE / ".work")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    place = Place(data=options.data.resolve(), work=options.work.resolve())
    place.work.mkdir(exist_ok=True, parents=True)
    lines = ["| job | steady rate, ratio | processor time, ratio | peak memory, ratio | records/s before, after |"]
    lines += ["|---|---|---|---|---|"]
    for what, (shards, records, model, verb, more) in JOBS.items():
        source = make(shards, place.data, place.work, records)
        trees = {"after": HERE.parent, "before": options.before.resolve()}
        sides = {
            side: partial(run_job, place, source, model, *more, verb=verb, tree=tree) for side, tree in trees.items()
        }
        runs = alternate(options.rounds, sides)
        rates = ", ".join(f"{median(run['rate_steady'] for run in runs[side]):,.0f}" for side in ("before", "after"))
        ratios = (ratio(runs, "after", "before", key) for key in ("rate_steady", "rate_cpu", "peak_mib"))
        lines.append(f"| {what} | {' | '.join(f'{value:.3f}' for value in ratios)} | {rates} |")
        print(lines[-1], flush=True)
    head = [
        "# This tree against the one before",
        "",
        f"{on_machine(machine())} {options.rounds} rounds, alternating.",
        "",
    ]
    (HERE / "results/against_before.md").write_text("\n".join([*head, *lines, ""]))


if __name__ == "__main__":
    main()
