"""The job on Flink: the steady rate of one TaskManager with one core, and of two.

    scripts/engines
    python -m benchmarks.flink [--work DIR] [--records N] [--rounds N]

Prints a table. Each TaskManager and its Python worker have a core of their own; the JobManager, the job server and
the process that started the job take their time from the same cores.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.process import spawn
from scripts.demo import digits_as_pixels, to_png, write_parquet
from tests.engines.cluster import running
from tests.faults.outputs import files

SHARDS = 120
_STEADY = (0.25, 0.85)  # of the units: before, workers start; after, one of them may have nothing left to do
_MODEL = "model/zoo/mnist-autoencoder"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/.work"))
    parser.add_argument("--records", type=int, default=120_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    work = given.work.absolute() / "flink"
    shutil.rmtree(work, ignore_errors=True)
    write_shards(work / "in", given.records // SHARDS)
    print("| round | load before | one, records/s | two, records/s | ratio |\n|---|---|---|---|---|")
    ratios = []
    for number in range(given.rounds):
        load = os.getloadavg()[0]
        one, two = (rate(work, nodes, given.records) for nodes in (1, 2))
        ratios.append(two / one)
        print(f"| {number + 1} | {load:.1f} | {one:,.0f} | {two:,.0f} | {ratios[-1]:.2f} |", flush=True)
    assert files(work / "out-1") == files(work / "out-2")
    print(f"\nMedian {median(ratios):.2f}, wanted >= 1.85; the outputs are equal byte for byte.")


def write_shards(folder: Path, records: int) -> None:
    """scikit-learn's digits, again and again."""
    images = [to_png(image) for image in digits_as_pixels()]
    for shard in range(SHARDS):
        chosen = np.arange(shard * records, (shard + 1) * records) % len(images)
        write_parquet(folder / f"{shard:05d}.parquet", [(i, images[j], 0) for i, j in enumerate(chosen.tolist())])


def rate(work: Path, nodes: int, records: int) -> float:
    """Records a second in the steady part of a run, by the times at which units were published."""
    output = work / f"out-{nodes}"
    shutil.rmtree(output, ignore_errors=True)
    named = ("--input", work / "in", "--model", _MODEL, "--resize", "stretch", "--output", output)
    with running(work / f"cluster-{nodes}", nodes, pinned=True) as cluster:
        command = [sys.executable, "-m", "pipeline", "encode", *map(str, named), *cluster.options]
        spawn(command, work / "log")
    times = sorted(path.stat().st_mtime for path in output.glob("latents/**/*.parquet"))
    first, last = (int(share * SHARDS) for share in _STEADY)
    return (last - first) * (records // SHARDS) / (times[last] - times[first])


if __name__ == "__main__":
    main()
