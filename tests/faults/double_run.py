"""A staged job whose units are run by processes of their own, as engines do that lost sight of a worker."""

import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.cli.command import job_options
from pipeline.cli.parser import parse
from pipeline.job.prepare import Job
from pipeline.job.stage import begin
from pipeline.output.commit.commit import commit
from pipeline.output.units.receipts import Receipt
from pipeline.worker.run_unit import run_unit
from tests.faults.torture import Work

CALL = "tests.faults.double_run:main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A job whose hold is taken and whose plan is written, and where it lies for other processes."""

    job: Job
    path: Path

    def commit(self, receipts: Sequence[Receipt]) -> None:
        """End the job."""
        commit(self.job.config, self.job.options.gate, self.job.run, receipts)


def stage(work: Work, output: Path) -> Staged:
    """Hold and stage the job, as a launcher does that does not run its units."""
    options, _ = parse(work.command(output))
    job = begin(job_options(options, work.verb), ends_with_process=False)
    path = output.with_name(f"{output.name}.job")
    # Units that look first would find that they are done, and here each is to be run by all.
    config = replace(job.config, restarts=False)
    path.write_bytes(pickle.dumps((config, list(job.plan.todo))))
    return Staged(job=job, path=path)


def run_all(path: Path, order: int) -> list[Receipt]:
    """Every unit of a staged job, from the first to the last, or the other way round."""
    config, units = pickle.loads(path.read_bytes())
    return [run_unit(unit, config) for unit in units[::order]]


def interleaved(path: Path) -> list[Receipt]:
    """Every unit by two threads at once."""
    config, units = pickle.loads(path.read_bytes())
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run_unit, unit, config) for unit in units for _ in range(2)]
        return [run.result() for run in runs][::2]


def main(arguments: Sequence[str]) -> int:
    """In a process of its own: the staged job, and the order of its units."""
    run_all(Path(arguments[0]), int(arguments[1]))
    return 0
