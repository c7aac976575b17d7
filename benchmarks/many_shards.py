"""What one process of a job takes at very many shards: seconds, and memory above its start.

    python -m benchmarks.many_shards [--shards N ...] [--work DIR]    prints the table of results/many_shards.md

The shards hold no record and are links to one file, and units are not run: each leaves the receipt of a table that is
not there. So what is left is what grows in a single process: to list and plan, to write the plan, to fold receipts and
commit them, and to find on the next night that there is nothing to do. Every phase is a process of its own. Its memory
is the highest of its resident size, less what it was when modules and model had been loaded.
"""

import argparse
import json
import os
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from harness.machine import machine, on_machine
from harness.measured import Place, spawn

SHARDS = (10_000, 100_000)
PHASES = ("plan", "run", "commit", "again", "one more", "committed")
_FOLDER = 1_000  # shards in a directory


def main() -> int:
    """Measure, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/dev/shm"), help="scratch space for as many names")
    parser.add_argument("--shards", type=int, nargs="+", default=SHARDS)
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.phase:
        print(json.dumps(measured(given.phase, given.work)))
        return 0
    rows = [row for count in given.shards for row in measure(given.work, count)]
    print(f"{on_machine(machine())}\n\n{table(rows)}")
    return 0


def measure(work: Path, count: int) -> Iterator[dict[str, Any]]:
    """Every phase over so many shards, each in a process."""
    place = Path(tempfile.mkdtemp(prefix="many_shards-", dir=work))
    try:
        make_shards(place / "in", count)
        Place(data=place, work=place).bundle("digits")
        for phase in PHASES:
            command = [sys.executable, "-m", "benchmarks.many_shards", "--work", place, "--phase", phase]
            found = json.loads(spawn(command, place / "log").text.splitlines()[-1])
            yield {"shards": count, "phase": phase, **found}
            print(count, phase, found, file=sys.stderr)
    finally:
        shutil.rmtree(place)


def make_shards(folder: Path, count: int) -> None:
    """Shards without a record, and one with, for there must be one to tell the columns."""
    for number in range(0, count, _FOLDER):
        (folder / f"{number // _FOLDER:05d}").mkdir(parents=True)
    empty = folder.parent / "empty.npy"
    np.save(empty, np.zeros((0, 8, 8), np.uint8))
    for number in range(1, count):
        shard(folder, number).hardlink_to(empty)
    np.save(shard(folder, 0), np.zeros((1, 8, 8), np.uint8))


def shard(folder: Path, number: int) -> Path:
    """Where a shard is."""
    return folder / f"{number // _FOLDER:05d}/part-of-a-lake-{number:08d}.npy"


def measured(name: str, place: Path) -> dict[str, Any]:
    """One phase: its seconds, those of its processor, and MiB above its start."""
    act = _PHASES[name](place)
    Path("/proc/self/clear_refs").write_text("5")  # the highest size begins anew
    before, cpu, began = mib("VmRSS"), time.process_time(), time.monotonic()
    said = act()
    spent = {"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu, "mib": mib("VmHWM") - before}
    return {key: round(value, 2) for key, value in spent.items()} | (said or {})


def mib(field: str) -> float:
    """A size of this process, as the kernel tells it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def _begin(place: Path) -> Callable[[], dict[str, Any] | None]:
    """List, plan, take the lease and stage, as a launcher does."""
    from pipeline.job.stage import begin
    from pipeline.options.job_options import JobOptions

    options = JobOptions(
        verb="encode", input=[str(place / "in")], model=str(place / "digits-bundle"), output=str(place / "out")
    )
    _warm(place)

    def act() -> dict[str, Any]:
        job = begin(options, ends_with_process=False)
        if not job.nothing_to_do:
            (place / "job").write_bytes(pickle.dumps((job.config, options.gate, job.run, job.parts)))
        return {"todo": len(job.plan.todo)}

    return act


def _warm(place: Path) -> None:
    """Load what every launcher loads, however many shards there are: modules, the model and its executor."""
    from pipeline.job.prepare import prepare
    from pipeline.options.job_options import JobOptions

    few = place / "few"
    few.mkdir(exist_ok=True)
    np.save(few / "a.npy", np.zeros((1, 8, 8), np.uint8))
    prepare(JobOptions(verb="encode", input=[str(few)], model=str(place / "digits-bundle"), output=str(place / "none")))


def _run(place: Path) -> Callable[[], None]:
    """Leave a receipt for each unit of the plan, as workers do."""
    from lake.core import sealed_json
    from pipeline.output.layout import Layout

    layout = Layout(str(place / "out"))

    def act() -> None:
        lines = (place / "lines").open("w")
        for receipt in _receipts(place):
            path = Path(layout.receipt(receipt.unit))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sealed_json.dumps(receipt.to_dict()))
            lines.write(receipt.to_json() + "\n")
        lines.close()

    return act


def _receipts(place: Path) -> Iterator[Any]:
    from lake.core.records import OutputFile
    from pipeline.config import fingerprint, options_digest
    from pipeline.output.layout import LATENTS, table_name
    from pipeline.output.state.plan_files import read_units, unpack_unit
    from pipeline.output.units.receipts import Receipt

    config, _, _, parts = pickle.loads((place / "job").read_bytes())
    options = options_digest(config)
    for unit in (unpack_unit(packed) for part in parts for packed in read_units(part, config.stores)):
        table = OutputFile(name=table_name(LATENTS, unit.id), size=2000, rows=0, crc32c=f"{len(unit.id):08x}")
        yield Receipt(
            unit=unit.id, fingerprint=fingerprint(unit, config), options=options, outputs=(table,), seconds=0.01,
            first=time.time(), run=config.run, spent={"read": 0.01, "write": 0.01},
        )  # fmt: skip


def _commit(place: Path) -> Callable[[], None]:
    """Fold all receipts and commit them, as the last step of the pipeline does."""
    from pipeline.beam.steps import AccumulateReceipts, commit_receipts

    config, gate, run, _ = pickle.loads((place / "job").read_bytes())

    def act() -> None:
        fold = AccumulateReceipts()
        receipts = fold.create_accumulator()
        with (place / "lines").open() as lines:
            for line in lines:
                receipts = fold.add_input(receipts, line.rstrip("\n"))
        summary = commit_receipts(fold.extract_output(receipts), config, gate, run)
        assert summary["complete"], summary

    return act


def _one_more(place: Path) -> Callable[[], dict[str, Any] | None]:
    """The next night, with one new shard."""
    np.save(place / "in/one more.npy", np.zeros((1, 8, 8), np.uint8))
    act = _begin(place)

    def begun() -> dict[str, Any] | None:
        said = act()
        _run(place)()
        return said

    return begun


_PHASES: dict[str, Callable[[Path], Callable[[], dict[str, Any] | None]]] = {
    "plan": _begin,
    "run": _run,
    "commit": _commit,
    "again": _begin,
    "one more": _one_more,
    "committed": _commit,
}


def table(rows: list[dict[str, Any]]) -> str:
    """What was measured."""
    lines = ["| shards | phase | seconds | of a processor | MiB above its start |", "|---" * 5 + "|"]
    for row in rows:
        cells = f"{row['shards']:,}", row["phase"], f"{row['seconds']:.1f}", f"{row['cpu']:.1f}", f"{row['mib']:.0f}"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
