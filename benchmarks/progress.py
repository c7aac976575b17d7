"""The estimate of the time left, at half time of jobs over skewed shards, against what it turned out to be.

    python -m benchmarks.progress [--records 200000]

Writes ``benchmarks/results/progress.md``. Half time is half of the time from the first record to the end of the job.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.process import HERE
from harness.machine import machine, on_machine

MODEL = "zoo:mnist-autoencoder"
SKEWED = (0.5, *[0.025] * 20)  # one shard has as many records as the others together
SLOW = tuple(0.2 * 0.8**number for number in range(24))
FIFTH = (0.2, *[0.02] * 40)
FALLING = tuple(0.5**number for number in range(1, 9))  # each shard has half of the one before
TWO_WORKERS = (
    "--runner=FnApiRunner",
    "--direct_running_mode=multi_processing",
    "--direct_num_workers=2",
)
_FRAME = 0.1  # seconds between two estimates


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One job. ``make`` writes the shards of so many ``times`` the number of records below a directory."""

    name: str
    how: str
    make: Callable[[Path, int], None]
    beam: tuple[str, ...] = ()
    times: int = 1


def cases() -> tuple[Case, ...]:
    """All jobs that are measured."""
    return (
        Case(name="tar, one large shard among 20", how="bytes", make=_tars(SKEWED)),
        Case(name="tar, each shard half of the one before", how="bytes", make=_tars(FALLING)),
        Case(name="tar, the large shard last", how="bytes", make=_tars(SKEWED[::-1])),
        Case(name="Parquet, each shard half of the one before", how="records", make=_parquet(FALLING)),
        Case(name="tar, shards of small and of large images", how="bytes and records", make=_mixed_tars),
        Case(name="arrays, one large shard among 20", how="records", make=_arrays(SKEWED), times=2),
        Case(name="two workers, a shard of a fifth", how="receipts", make=_arrays(FIFTH), times=12, beam=TWO_WORKERS),
        Case(name="two workers, a shard of half", how="receipts", make=_arrays(SKEWED), times=12, beam=TWO_WORKERS),
        Case(name="two workers, each smaller by 0.8", how="receipts", make=_arrays(SLOW), times=12, beam=TWO_WORKERS),
    )


def main() -> None:
    """Measure all jobs and write the table; ``--run`` is one of them, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--only", default="", help="jobs whose names have this")
    parser.add_argument("--run", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        _run(*given.run)
        return
    lines = []
    for case in cases():
        if given.only in case.name:
            with tempfile.TemporaryDirectory() as folder:
                lines.append(_measure(case, Path(folder), given.records))
                print(lines[-1], flush=True)
    if given.only:
        return
    head = [
        "# The time left, at half time",
        "",
        f"Jobs over shards of very different sizes, of {given.records:,} records and more; encode with",
        f"`{MODEL}` and a thread per worker. At half of the time from the first record to the end, what the",
        "bar says is left, what turned out to be left, and how far the one is from the other; and the largest such",
        "difference between a quarter and three quarters of the time. Seconds are of the processor, as other work",
        "went on beside it; of two workers they are those of a clock. `python -m benchmarks.progress` measures it.",
        "",
        "Where some tars hold small images and others large ones, the time left goes by records and by bytes",
        "(`pipeline/output/progress/pace.py`); until both have been met nothing tells what the others cost, and the",
        "bar says a range, of which the likely time is measured here.",
        "Rows of two workers also hold what else the machine did meanwhile; its load is said below.",
        "`tests/pipeline/output/progress/test_remaining.py` plays such runs without that, and holds the error to 15%.",
        "",
        on_machine(machine()),
        f"Load of the machine when it ended: {os.getloadavg()[0]:.1f}.",
        "",
        "| shards | told from | seconds in all | left, said | left, in truth | error | largest error, 25% to 75% |",
        "|---|---|---|---|---|---|---|",
    ]
    (HERE / "results/progress.md").write_text("\n".join([*head, *lines, ""]))


def _measure(case: Case, folder: Path, records: int) -> str:
    source = folder / "in"
    source.mkdir()
    case.make(source, records * case.times)
    command = [sys.executable, "-m", "benchmarks.progress", "--run", str(source), str(folder / "out")]
    result = subprocess.run([*command, *case.beam], check=True, capture_output=True, text=True)
    found = json.loads(result.stdout.splitlines()[-1])
    first, end, frames = found["first"], found["end"], found["frames"]
    half = _error(frames, first, end, 0.5)
    parts = [part / 20 for part in range(5, 16) if frames[0][0] <= first + part / 20 * (end - first)]
    worst = max(_error(frames, first, end, part)[2] for part in parts)
    seconds = f"{end - first:.1f} | {half[0]:.1f} | {half[1]:.1f}"
    return f"| {case.name} | {case.how} | {seconds} | {half[2]:.0%} | {worst:.0%} |"


def _error(frames: list[list[float]], first: float, end: float, part: float) -> tuple[float, float, float]:
    """What was said to be left at a part of the time, what was, and their difference as a share of the latter."""
    at = first + part * (end - first)
    said = [left for when, left in frames if when <= at]
    truth = end - at
    return said[-1], truth, abs(said[-1] - truth) / truth


def _run(source: str, output: str, *beam: str) -> None:
    from pipeline.beam.launch import launch
    from pipeline.options.job_options import make_options

    asked = {"input": source, "model": MODEL, "output": output, "threads": 1, "resize": "stretch"}
    # Of a job in this process by the time of its processor, which does not depend on what else the machine does.
    clock = time.monotonic if beam else time.process_time
    frames = list[list[float]]()
    summary = launch(make_options("encode", asked), beam, show=lambda *given: _recording(frames, clock, *given))
    first = time.monotonic() - time.time() + summary["run"]["first_result"] if beam else frames[0][0]
    said = [frame for frame in frames if frame[1] >= 0]
    print(json.dumps({"first": first, "end": frames[-1][0], "frames": said}))


@contextmanager
def _recording(frames: list[list[float]], clock: Callable[[], float], *given: Any) -> Iterator[None]:
    """In the place of the bar: notes what it would say is left, with the time; -1 where it says nothing."""
    from pipeline.cli.progress_bar import Progress

    progress, ended = Progress(*given), threading.Event()

    def record() -> None:
        progress.count_records()
        while not ended.wait(_FRAME):
            if (shown := progress.shown(now := clock())) is not None:
                frames.append([now, -1.0 if shown.left is None else shown.left])

    thread = threading.Thread(target=record, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        frames.append([clock(), -1.0])


def _images(records: int, side: int = 28) -> Iterator[bytes]:
    """PNG files of noise and gradients, of which a few hundred differ."""
    rng = np.random.default_rng(3)
    files = []
    for _ in range(256):
        data = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (side, side), np.uint8) // 4 * 3).save(data, "PNG", compress_level=1)
        files.append(data.getvalue())
    return (files[number % 256] for number in range(records))


def _tars(shares: tuple[float, ...]) -> Callable[[Path, int], None]:
    def make(source: Path, records: int) -> None:
        for number, share in enumerate(shares):
            _tar(source / f"{number:03d}.tar", _images(round(records * share)))

    return make


def _mixed_tars(source: Path, records: int) -> None:
    for number in range(8):
        _tar(source / f"{number:03d}.tar", _images(records // 10))
    for number in range(8, 12):
        _tar(source / f"{number:03d}.tar", _images(records // 160, side=256))


def _tar(path: Path, images: Iterator[bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for number, data in zip(count(), images):
            member = tarfile.TarInfo(f"{number:07d}.png")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def _parquet(shares: tuple[float, ...]) -> Callable[[Path, int], None]:
    def make(source: Path, records: int) -> None:
        for number, share in enumerate(shares):
            files = [*_images(round(records * share))]
            # A column that is not read, so that bytes say nothing of the records.
            other = pa.array([os.urandom(1000 * (number % 3)) for _ in files], pa.binary())
            table = pa.table({"image": pa.array(files, pa.binary()), "other": other})
            pq.write_table(table, source / f"{number:03d}.parquet", row_group_size=4096)

    return make


def _arrays(shares: tuple[float, ...]) -> Callable[[Path, int], None]:
    def make(source: Path, records: int) -> None:
        rng = np.random.default_rng(3)
        for number, share in enumerate(shares):
            rows = rng.integers(0, 256, (round(records * share), 28, 28), np.uint8)
            np.save(source / f"{number:03d}.npy", rows)

    return make


if __name__ == "__main__":
    main()
