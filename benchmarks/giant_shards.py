"""One giant tar and one giant TFRecord shard, encoded by one worker and by two, in turns.

    python -m benchmarks.giant_shards --data DIR --work DIR [--rounds 2] [--mib 3850] [--slice-mib 128]

Writes ``benchmarks/results/giant_shards.md``. ``--data`` is that of the bench. A worker is a process of Beam's local
runner with one thread. The processor time of each tells how much it had to do, whatever else the machine is busy with:
the work of one worker, start-up apart, divided by that of the busier of two is how much faster two are on cores of
their own. All runs must give the same rows. Shards of ``--mib`` are cut as the job cuts them; smaller ones than those
which it cuts, too.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds

from benchmarks import data
from benchmarks.process import HERE, Use, used_by_each
from harness.machine import machine, on_machine
from lake.formats.common import cuts
from lake.inputs import giants
from lake.inputs.discover import find_shards

MODEL = "zoo:mnist-autoencoder"
SETS = {"cifar-tar": 2_570, "cifar-tfrecord": 1_033}  # bytes of a record, about
# The launcher alone decides where shards are cut.
LAUNCH = """
import sys
from lake.formats.common import cuts
from lake.inputs import giants
from pipeline.cli.command import main
giants.GIANT_BYTES, cuts.SLICE_BYTES = %d, %d
if __name__ == "__main__":
    sys.exit(main())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One job.

    seconds: from the first result to the end of the commit.
    launcher: what it took.
    workers: what each took, the busiest first.
    """

    seconds: float
    launcher: Use
    workers: tuple[Use, ...]


def main() -> None:
    """Measure both formats, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--mib", type=int, default=3_850, help="of each shard, about; default %(default)s: 4 GB")
    parser.add_argument("--slice-mib", type=int, default=cuts.SLICE_BYTES >> 20)
    given = parser.parse_args()
    giants.GIANT_BYTES = min(giants.GIANT_BYTES, given.mib << 19)
    cuts.SLICE_BYTES = given.slice_mib << 20
    lines = [line for name in SETS for line in _measured(name, given)]
    head = [
        "# Giant shards",
        "",
        "One shard of CIFAR-10's images, repeated, encoded by `zoo:mnist-autoencoder` with `--resize fit --color",
        "convert`, by one worker and by two in turns. Workers are processes of Beam's local runner, a thread",
        f"each. Shards were cut into slices of {given.slice_mib} MiB. Seconds are from the first result to the end of",
        "the commit. Processor seconds of a worker are without its start-up, which is that of a run over one image.",
        "*Divided* is the work of one worker by that of the busier of two: how much faster two are, where each has a",
        "core of its own. Memory is the most that the launcher and each worker held, shared pages with it, and what",
        "that is above the run over one image. A pass is what the launcher does once to find where records begin.",
        "All runs of a shard gave the same rows. `python -m benchmarks.giant_shards` measures it.",
        "",
        on_machine(machine()),
        "",
        "| shard | slices | pass, processor s | workers | s | processor s of each | divided | MiB of each process |",
        "|---|---|---|---|---|---|---|---|",
    ]
    (HERE / "results/giant_shards.md").write_text("\n".join([*head, *lines, ""]))


def _measured(name: str, given: argparse.Namespace) -> Iterator[str]:
    records = int((given.mib << 20) / SETS[name])
    folder = data.make(name, given.data, given.work, records, one_shard=True)
    found, before = find_shards([str(folder)]), time.process_time()
    ((shard, slices),) = giants.find_cuts(found, dict, lambda _: False).items()
    passed = time.process_time() - before
    size = f"{name}, {shard[2] / 2**20:,.0f} MiB, {records:,} records | {len(slices.offsets)} | {passed:.1f}"
    with tempfile.TemporaryDirectory(dir=given.work) as place:
        start = _run(data.make(name, given.data, given.work, 1, one_shard=True), Path(place) / "start", 1)
        for number in range(given.rounds):
            runs = {workers: _run(folder, Path(place) / f"{workers}-{number}", workers) for workers in (1, 2)}
            assert len({_rows(Path(place) / f"{workers}-{number}") for workers in runs}) == 1
            work = {workers: run.workers[0].cpu - start.workers[0].cpu for workers, run in runs.items()}
            for workers, run in runs.items():
                ratio = f"{work[1] / work[2]:.2f}" if workers > 1 else ""
                seconds, mib = _cells(run, start, workers)
                line = f"| {size} | {workers} | {run.seconds:.1f} | {seconds} | {ratio} | {mib} |"
                print(line, file=sys.stderr)
                yield line


def _cells(run: Run, start: Run, workers: int) -> tuple[str, str]:
    """Processor seconds of each worker, and MiB of the launcher and of each worker, above those of the start."""
    some = run.workers[:workers]
    seconds = " and ".join(f"{use.cpu - start.workers[0].cpu:.1f}" for use in some)
    pairs = [(run.launcher, start.launcher), *((use, start.workers[0]) for use in some)]
    mib = ", ".join(f"{use.peak_mib:,.0f} ({use.peak_mib - first.peak_mib:+,.0f})" for use, first in pairs)
    return seconds, mib


def _rows(output: Path) -> str:
    """A digest of all rows."""
    table = ds.dataset(output / "latents", format="parquet").to_table(columns=["index", "latent"]).sort_by("index")
    columns = table.column("index"), *(chunk.flatten() for chunk in table.column("latent").chunks)
    return hashlib.sha256(b"".join(column.to_numpy().tobytes() for column in columns)).hexdigest()


def _run(source: Path, output: Path, workers: int) -> Run:
    runner = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    options = ["--threads=1", "--resize=fit", "--color=convert"]
    script = output.with_suffix(".py")
    script.write_text(LAUNCH % (giants.GIANT_BYTES, cuts.SLICE_BYTES))
    command = [sys.executable, str(script), "encode", "--input", str(source), "--model", MODEL, "--output", str(output)]
    with output.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *options, *runner],
            cwd=HERE.parent,
            env=os.environ | {"PYTHONPATH": str(HERE.parent)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        launcher, *started = used_by_each(process)
    assert process.returncode == 0, output.with_suffix(".log").read_text()
    run = json.loads((output / "_SUCCESS").read_text())["run"]
    return Run(seconds=run["ended"] - run["first_result"], launcher=launcher, workers=tuple(started))


if __name__ == "__main__":
    main()
