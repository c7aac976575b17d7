"""The job on Flink: the steady rate of one TaskManager with one core, and of two.

    scripts/engines
    python -m benchmarks.flink [--work DIR] [--records N] [--rounds N]

Prints a table. Each TaskManager and its Python worker have a core of their own; the JobManager, the job server and the
process that started the job take their time from the same cores, and so does all else that the machine does: the share
of their cores that they got is told, and the rate that they would have had with all of them.
"""

import argparse
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from harness.digits import digits_as_pixels, to_png, write_parquet
from harness.engines.flink import Flink, running
from harness.engines.jobs import begun
from harness.machine import machine, on_machine
from harness.processes import cpu_seconds, until

SHARDS = 120
_STEADY = (0.25, 0.85)  # of the units: before, workers start; after, one of them may have nothing left to do
_MODEL = "model/zoo/mnist-autoencoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """An instant of a run: in seconds, of the clock and of the CPU time of TaskManagers and their workers."""

    clock: float
    cpu: float
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """Records a second in the steady part of a run, and how much of its cores it had."""

    rate: float
    share: float

    def __str__(self) -> str:
        return f"{self.rate:,.0f} with {self.share:.0%}"


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
    print(f"{on_machine(machine())}\n")
    print("| load before | one, records/s with this share of its core | two | ratio | with all of the cores |")
    print("|---|---|---|---|---|")
    ratios = list[tuple[float, float]]()
    for _ in range(given.rounds):
        load = os.getloadavg()[0]
        one, two = (measure(work, nodes, given.records) for nodes in (1, 2))
        ratios.append((two.rate / one.rate, two.rate / two.share / (one.rate / one.share)))
        print(f"| {load:.1f} | {one} | {two} | {ratios[-1][0]:.2f} | {ratios[-1][1]:.2f} |", flush=True)
    assert files(work / "out-1") == files(work / "out-2")
    seen, whole = (median(values) for values in zip(*ratios, strict=True))
    print(f"\nMedians {seen:.2f} and {whole:.2f}, wanted >= 1.85. The outputs are equal byte for byte.")


def write_shards(folder: Path, records: int) -> None:
    """scikit-learn's digits, again and again."""
    images = [to_png(image) for image in digits_as_pixels()]
    for shard in range(SHARDS):
        chosen = np.arange(shard * records, (shard + 1) * records) % len(images)
        write_parquet(folder / f"{shard:05d}.parquet", [(i, images[j], 0) for i, j in enumerate(chosen.tolist())])


def measure(work: Path, nodes: int, records: int) -> Steady:
    """One run, from some units done to more units done."""
    output = work / f"out-{nodes}"
    shutil.rmtree(output, ignore_errors=True)
    named = ("--input", work / "in", "--model", _MODEL, "--resize", "stretch", "--output", output)
    with (
        running(work / f"cluster-{nodes}", nodes, pinned=True) as cluster,
        begun(["encode", *map(str, named), *cluster.options], work / f"job-{nodes}") as job,
    ):
        first, last = (mark(cluster, output, int(share * SHARDS)) for share in _STEADY)
        assert job.wait() == 0, job.part.said
    seconds = last.clock - first.clock
    rate = (last.units - first.units) * (records // SHARDS) / seconds
    return Steady(rate=rate, share=(last.cpu - first.cpu) / seconds / nodes)


def mark(cluster: Flink, output: Path, units: int) -> Mark:
    """The instant when at least so many units are done."""
    until(lambda: done(output) >= units, f"{units} units", seconds=300)
    pids = [pid for node in cluster.nodes for pid in (node.manager.pid, *node.workers)]
    return Mark(clock=time.monotonic(), cpu=sum(map(cpu_seconds, pids)), units=done(output))


def done(output: Path) -> int:
    """Units that were published."""
    return len([*output.glob("latents/*.parquet")])


def files(output: Path) -> dict[str, bytes]:
    """Every file of results, and the manifest."""
    found = [
        *(output / "latents").rglob("*.parquet"),
        *(output / "rejects").rglob("*.parquet"),
        output / "_manifest.parquet",
    ]
    return {str(path.relative_to(output)): path.read_bytes() for path in found}


if __name__ == "__main__":
    main()
