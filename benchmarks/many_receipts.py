"""What the commit of very many units takes on two workers: seconds, the longest task, memory above the start.

    python -m benchmarks.many_receipts [--receipts N ...] [--work DIR]    prints the table of results/many_shards.md

Units are not run: each leaves the receipt of a table that is not there, in memory as an engine has it, and a file to be
removed. Two processes take the tasks of the pipeline's steps as they become free. The peak of a process is the highest
of its resident size, less what it was when modules had been loaded.
"""

import argparse
import multiprocessing
import os
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.many_shards import mib
from harness.machine import machine, on_machine
from harness.measured import Place

RECEIPTS = (100_000, 1_000_000)
_WORKERS = 2
_BUNDLE = 10_000  # receipts that a worker keys at a time
_FOLDER = 1_000  # units of a directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one task took: seconds of its processor, on the clock, and the process with its MiB above the start."""

    cpu: float
    clock: float
    process: int
    mib: float
    value: Any


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/dev/shm"), help="scratch space for as many names")
    parser.add_argument("--receipts", type=int, nargs="+", default=RECEIPTS)
    given = parser.parse_args()
    print(f"{on_machine(machine())}\n\n| receipts | step | tasks | seconds of a processor | longest | on the clock |")
    print("|---" * 6 + "|")
    for count in given.receipts:
        for line in measure(given.work, count):
            print(line, flush=True)
    return 0


def measure(work: Path, count: int) -> Iterator[str]:
    """Commit so many receipts, and say what each step took."""
    place = Path(tempfile.mkdtemp(prefix="many_receipts-", dir=work))
    try:
        ranges = begin(place, count)
        bundles = range(0, count, _BUNDLE)
        keyed = run(key, [(place, start, min(start + _BUNDLE, count)) for start in bundles])
        yield row(count, "make and key", keyed)
        blocks = sorted((number, path) for task in keyed for number, path in task.value)
        by_range = [[path for number, path in blocks if number == one] for one in range(ranges)]
        yield from committed(place, count, by_range)
    finally:
        shutil.rmtree(place)


def committed(place: Path, count: int, by_range: Sequence[Sequence[Path]]) -> Iterator[str]:
    """The steps of the commit, by processes that have done nothing else."""
    with pool() as workers:
        folded = run(fold, [(place, number, paths) for number, paths in enumerate(by_range)], workers)
        joined = run(join, [(place, [task.value for task in folded])], workers)
        cleaned = run(clean, [(place, one) for one in joined[0].value], workers)
        ended = run(end, [(place,)], workers)
    steps = {"fold": folded, "join": joined, "clean up": cleaned, "end": ended}
    for name, tasks in steps.items():
        yield row(count, name, tasks)
    every = [task for tasks in steps.values() for task in tasks]
    yield row(count, "commit", every, [*steps.values()])
    peaks = {task.process: max(one.mib for one in every if one.process == task.process) for task in every}
    longest = max(task.cpu for task in every) / sum(task.cpu for task in every)
    texts = " and ".join(f"{peak:.0f}" for peak in sorted(peaks.values()))
    yield f"\n{count:,} receipts: {texts} MiB above the start; the longest task is {longest:.1%} of the processor\n"


def row(count: int, name: str, tasks: Sequence[Task], steps: Sequence[Sequence[Task]] | None = None) -> str:
    """One line of the table. Steps come one after the other."""
    clock = sum(on_clock(one) for one in steps or [tasks])
    longest = max(task.cpu for task in tasks)
    cells = (
        f"{count:,}",
        name,
        f"{len(tasks)}",
        f"{sum(task.cpu for task in tasks):.1f}",
        f"{longest:.2f}",
        f"{clock:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def on_clock(tasks: Sequence[Task]) -> float:
    """Seconds until the last of the processes has done its tasks."""
    return max(sum(one.clock for one in tasks if one.process == task.process) for task in tasks)


def pool() -> ProcessPoolExecutor:
    """Two workers."""
    return ProcessPoolExecutor(_WORKERS, multiprocessing.get_context("spawn"), _loaded)


def run(
    act: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: ProcessPoolExecutor | None = None
) -> list[Task]:
    """Run the tasks of one step, on workers of its own if there are none; in the order of their numbers."""
    if workers is None:
        with pool() as own:
            return run(act, tasks, own)
    futures = {workers.submit(_timed, act, *task): number for number, task in enumerate(tasks)}
    done = {futures[future]: future.result() for future in as_completed(futures)}
    return [done[number] for number in sorted(done)]


_START = 0.0


def _loaded() -> None:
    """Load the modules of every step."""
    global _START
    import pipeline.beam.range_steps  # noqa: F401

    Path("/proc/self/clear_refs").write_text("5")  # the highest size begins anew
    _START = mib("VmRSS")


def _timed(act: Callable[..., Any], *arguments: Any) -> Task:
    cpu, clock = time.process_time(), time.monotonic()
    value = act(*arguments)
    spent = {"cpu": time.process_time() - cpu, "clock": time.monotonic() - clock}
    return Task(**spent, process=os.getpid(), mib=mib("VmHWM") - _START, value=value)


def begin(place: Path, count: int) -> int:
    """Plan one shard, and write the ranges of so many units; gives how many there are."""
    from pipeline.job.stage import begin as begin_job
    from pipeline.options.job_options import JobOptions
    from pipeline.output.commit.ranges import make_ranges, write_ranges
    from pipeline.output.commit.recovery import Recovered
    from pipeline.output.fencing.heartbeat import guard_of
    from pipeline.output.layout import Layout
    from pipeline.output.manifest.manifest import read_manifest

    (place / "in").mkdir()
    np.save(place / "in/a.npy", np.zeros((1, 8, 8), np.uint8))
    Place(data=place, work=place).bundle("digits")
    options = JobOptions(
        verb="encode", input=[str(place / "in")], model=str(place / "digits-bundle"), output=str(place / "out")
    )
    job = begin_job(options, ends_with_process=False)
    layout, name = Layout(job.config.output), job.config.run
    ranges = make_ranges(map(unit, range(count)), read_manifest(layout), (), Recovered())
    assert ranges is not None, "too few receipts"
    write_ranges(layout, name, ranges, guard_of(job.config.output, name))
    of_many = replace(job.run, units=count, todo=count, ranges=len(ranges))
    (place / "job").write_bytes(pickle.dumps((job.config, options.gate, of_many)))
    one = place / "receipt"
    one.write_bytes(b"{}")
    for number in range(count):
        path = Path(layout.receipt(unit(number)))
        if number % _FOLDER == 0:
            path.parent.mkdir(parents=True)
        os.link(one, path)
    return len(ranges)


def unit(number: int) -> str:
    """The id of a unit."""
    return f"{number // _FOLDER:05d}/part-of-a-lake-{number:08d}"


def key(place: Path, start: int, stop: int) -> list[tuple[int, Path]]:
    """Give receipts to their ranges; the blocks wait in files, as an engine's shuffle keeps them."""
    from pipeline.beam.range_steps import KeyByRange

    step = KeyByRange(pickle.loads((place / "job").read_bytes())[0])
    step.start_bundle()
    keyed = [pair for number in range(start, stop) for pair in step.process(_line(number))]
    keyed += [pair.value for pair in step.finish_bundle()]
    found = []
    for at, (number, block) in enumerate(keyed):
        path = place / f"{start}-{at}.block"
        path.write_bytes(block)
        found.append((number, path))
    return found


def _line(number: int) -> str:
    from lake.core.records import OutputFile
    from pipeline.output.units.receipts import Receipt

    name = unit(number)
    table = OutputFile(name=f"latents/{name}.parquet", size=2000, rows=0, crc32c=f"{number:08x}")
    return Receipt(
        unit=name, fingerprint=f"{number:064x}", options=f"{7:064x}", outputs=(table,), seconds=0.01,
        first=1e9 + number, run="20260101T000000Z-000000", spent={"read": 0.01, "write": 0.01},
    ).to_json()  # fmt: skip


def fold(place: Path, number: int, paths: Sequence[Path]) -> Any:
    """Fold one range, as the step does."""
    from pipeline.beam import range_steps

    config, _, facts = pickle.loads((place / "job").read_bytes())
    return range_steps.fold_receipts((number, (path.read_bytes() for path in paths)), config, facts)


def join(place: Path, folded: Sequence[Any]) -> list[Any]:
    """Join the ranges."""
    from pipeline.beam import range_steps

    config, gate, facts = pickle.loads((place / "job").read_bytes())
    return [*range_steps.join_ranges(folded, config, gate, facts)]


def clean(place: Path, cleaned: Any) -> None:
    """Clean up one range."""
    from pipeline.beam import range_steps

    assert range_steps.clean_up_range(cleaned, pickle.loads((place / "job").read_bytes())[0]) is None


def end(place: Path) -> None:
    """End the run."""
    from pipeline.beam import range_steps

    config, _, facts = pickle.loads((place / "job").read_bytes())
    summary = range_steps.end_run([], config, facts)
    assert (summary["complete"], summary["total"]["units"]) == (True, facts.todo), summary
    assert not any(path.is_file() for path in Path(config.output, "_receipts").rglob("*"))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
