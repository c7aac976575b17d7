"""The job on Flink: the seconds from its launch to its first record, by what they are spent on.

    scripts/engines
    python -m benchmarks.flink_startup [--work DIR] [--rounds N]

Prints a table: a job server of the job's own, one that stays and has had a job before, and none, in turns. Loading
TensorFlow and the model is measured by itself, in as many processes at once as the cluster has workers, and taken off
the total.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import median

from benchmarks.flink import write_shards
from harness.engines.flink import Flink, job_server, running
from harness.engines.jobs import begun
from harness.machine import machine, on_machine
from harness.processes import ROOT, until
from pipeline.output.state.state_file import read_summary

_MODEL, _NODES, _RECORDS = "model/zoo/mnist-autoencoder", 2, 100
_LOAD = """
import time
began = time.monotonic()
from model.bundle import Bundle
from model.runtime.runtime import runtime_for
uri = "model/zoo/mnist-autoencoder"
runtime_for(uri, Bundle.open(uri).digest)
print(time.monotonic() - began)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """Seconds of one start.

    Attributes:
      plan: from the launch until the job is planned and staged.
      submit: until the JobManager has the job: it was translated, and its jars were sent.
      workers: until both pools have started a worker.
      first: until the first batch is finished.
      model: of these, TensorFlow and the model.
    """

    plan: float
    submit: float
    workers: float
    first: float
    model: float

    @property
    def ours(self) -> float:
        """All of them without the model's."""
        return self.plan + self.submit + self.workers + self.first - self.model


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/.work"))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    work = given.work.absolute() / "flink_startup"
    shutil.rmtree(work, ignore_errors=True)
    write_shards(work / "in", _RECORDS)
    names = [field.name for field in fields(Startup)]
    print(f"{on_machine(machine())}\n\n| job server | load before | {' | '.join(names)} | total without the model |")
    print("|---|---|" + "---|" * (len(names) + 1))
    (work / "server").mkdir(parents=True)
    with (
        running(work / "cluster", _NODES) as cluster,
        running(work / "with_beam", _NODES, beam=True) as with_beam,
        job_server(cluster, work / "server") as port,
    ):
        ways = {
            "its own": (cluster, cluster.options),
            "one that stays": (cluster, cluster.through(port)),
            "none": (with_beam, with_beam.without_server),
        }
        for name in ("one that stays", "none"):
            measure(work, name + ", warms up", *ways[name])
        rounds = [[measure(work, name, *way) for name, way in ways.items()] for _ in range(given.rounds)]
    medians = [
        f"{median(start.ours for start in starts):.1f} s with {name}"
        for name, starts in zip(ways, zip(*rounds, strict=True), strict=True)
    ]
    print(f"\nMedians {', '.join(medians)}; wanted <= 15.")


def load_model() -> float:
    """Seconds until the slowest of as many processes as there are workers has the model."""
    began = [subprocess.Popen([sys.executable, "-c", _LOAD], stdout=subprocess.PIPE, cwd=ROOT) for _ in range(_NODES)]
    return max(float(process.communicate()[0]) for process in began)


def measure(work: Path, name: str, cluster: Flink, options: Sequence[str]) -> Startup:
    """One run, which prints its row."""
    load, model, output = os.getloadavg()[0], load_model(), work / "out"
    shutil.rmtree(output, ignore_errors=True)
    before = {job["jid"] for job in cluster.ask("jobs/overview")["jobs"]}
    named = ("--input", work / "in", "--model", _MODEL, "--resize", "stretch", "--output", output)
    launched = time.time()
    with begun(["encode", *map(str, named), *options], work / "job") as job:
        until(lambda: any(output.glob("_plan/*/run.json")), "the plan", job.part, seconds=300)
        planned = time.time()
        until(lambda: bool(new_jobs(cluster, before)), "the job", job.part, seconds=300)
        submitted = time.time()
        until(lambda: all(node.workers for node in cluster.nodes), "workers", job.part, seconds=300)
        there = time.time()
        assert job.wait() == 0, job.part.said
    first = read_summary(str(output / "_SUCCESS"))["run"]["first_result"]
    start = Startup(
        plan=planned - launched, submit=submitted - planned, workers=there - submitted, first=first - there, model=model
    )
    print(
        f"| {name} | {load:.1f} | {' | '.join(f'{value:.1f}' for value in (*astuple(start), start.ours))} |", flush=True
    )
    return start


def new_jobs(cluster: Flink, before: set[str]) -> set[str]:
    """Ids of the jobs that the cluster has got since."""
    return {job["jid"] for job in cluster.ask("jobs/overview")["jobs"]} - before


if __name__ == "__main__":
    main()
