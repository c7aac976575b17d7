"""What the peers measure: when records passed the model, and the figures and checks at the end.

A worker calls ``passed`` after each batch; it may be a thread, a process or an actor, so the marks go through files.
The clock counts from the machine's boot and is one for all processes.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import checks
import numpy as np
from common import Arguments


def arguments(description: str, modes: Sequence[str]) -> Arguments:
    """Read the command line; leaves the process with status 2 where it is wrong."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--input", required=True, help="glob of the TFRecord shards, or of photographs")
    parser.add_argument(
        "--model", type=Path, required=True, help="a .keras file; to encode, with a layer 'encoded' or of latents"
    )
    parser.add_argument("--output", type=Path, required=True, help="a directory that does not exist yet")
    parser.add_argument("--mode", choices=modes, default=modes[0], help="%(choices)s; default %(default)s")
    parser.add_argument("--task", choices=("encode", "denoise"), default="encode", help="default %(default)s")
    parser.add_argument("--verify", type=int, default=0, metavar="N", help="compare N latents with the model's own")
    parser.add_argument(
        "--expected", metavar="GLOB", help="TFRecord shards: denoised images must be within 1 of theirs"
    )
    given = Arguments(**vars(parser.parse_args()))
    if not given.shards():
        parser.error(f"--input {given.input}: no file matches")
    if given.output.exists():
        parser.error(f"--output {given.output}: is there already; remove it or name another")
    given.output.mkdir(parents=True)
    return given


def now() -> float:
    """Seconds since the machine booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def process_start() -> float:
    """When this process began, on the clock of ``now``: before the interpreter, to 10 ms."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): field 22, starttime


def passed(marks: Path, records: int) -> None:
    """Note that a batch of this many records has just passed the model in this process."""
    with (marks / f"{os.getpid()}.txt").open("a") as file:
        file.write(f"{now()} {records}\n")


def finish(given: Arguments, marks: Path, end: float) -> None:
    """Check the output and print the figures as one line of JSON.

    The steady rate counts from the first batch of the process that was the last to have one, so that no worker's
    start is in it, to ``end``, when the last file was written. Records that had passed the model before that are left
    out.
    """
    start = process_start()
    workers = [np.loadtxt(file, ndmin=2) for file in sorted(marks.iterdir())]
    first = max(worker[0, 0] for worker in workers)
    batches = np.concatenate(workers)
    records, before = checks.count(given.output), int(batches[batches[:, 0] <= first, 1].sum())
    figures = {
        "records": records,
        "seconds_total": round(end - start, 3),
        "seconds_startup": round(min(worker[0, 0] for worker in workers) - start, 3),
        "seconds_steady": round(end - first, 3),
        "rate_steady": round((records - before) / (end - first), 1),
        "workers": len(workers),
    }
    print(json.dumps(figures | checks.check(given)), flush=True)
