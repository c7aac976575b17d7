"""What the columns of ``--hash`` cost: the same job with and without them, alternating.

    python -m benchmarks.hashes --data DIR [--work DIR] [--rounds 5]

Writes ``benchmarks/results/hashes.md``. The ratio of processor time is of records per second of it, start-up included;
other work on the machine disturbs it least.
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

JOBS = {  # what -> set of shards, records, model, options
    "encode MNIST TFRecord": ("mnist-tfrecord", 240_000, "mnist", ()),
    "encode CIFAR-10 tar": ("cifar-tar", 60_000, "cifar", ()),
    "encode photographs of 481 x 321 in tars, at 32 x 32": ("bsd-tar", 2_000, "cifar", ("--resize", "stretch")),
}


def main() -> None:
    """Measure every job with and without hashes, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=HERE / ".work")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    place = Place(data=options.data.resolve(), work=options.work.resolve())
    place.work.mkdir(exist_ok=True, parents=True)
    lines = ["| job | steady rate, ratio | processor time, ratio | more of it for a record |", "|---|---|---|---|"]
    for what, (shards, records, model, more) in JOBS.items():
        job = partial(run_job, place, make(shards, place.data, place.work, records), model, *more)
        runs = alternate(options.rounds, {"plain": job, "hashed": partial(job, "--hash")})
        steady, processor = (ratio(runs, "hashed", "plain", key) for key in ("rate_steady", "rate_cpu"))
        pairs = zip(runs["hashed"], runs["plain"], strict=True)
        longer = median(1e6 / one["rate_cpu"] - 1e6 / other["rate_cpu"] for one, other in pairs)
        lines.append(f"| {what} | {steady:.3f} | {processor:.3f} | {longer:.1f} us |")
        print(lines[-1], flush=True)
    head = ["# The columns of `--hash`", "", f"{on_machine(machine())} {options.rounds} rounds, alternating.", ""]
    (HERE / "results/hashes.md").write_text("\n".join([*head, *lines, ""]))


if __name__ == "__main__":
    main()
