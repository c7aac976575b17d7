"""Run jobs with nothing to do again and again, on a busy machine, and count how they end.

    python -m benchmarks.idle_reruns --runs 500

Every other run is ``plan``. Exits with status 1 if one of them ended otherwise than with status 0.
"""

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lake.storage import put

_ROOT = Path(__file__).parent.parent
_COMMANDS = (["encode"], ["plan", "encode"])
_SHARDS, _RECORDS = 8, 4  # a manifest of several units, and an input of several footers


def main() -> int:
    """Count the exit statuses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60, help="how many reruns (default 60)")
    parser.add_argument("--load", type=int, default=4, help="processes that keep the machine busy (default 4)")
    parser.add_argument("--tree", type=Path, default=_ROOT, help="checkout that runs (default: this one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        job = _job(Path(place))
        if (first := _status(options.tree, _COMMANDS[0], job)) != 0:
            raise SystemExit(f"the first run ended with status {first}")
        with _busy(options.load):
            statuses = Counter(_status(options.tree, _COMMANDS[run % 2], job) for run in range(options.runs))
    for status, count in sorted(statuses.items()):
        print(f"status {status}: {count} of {options.runs} runs")
    return int(set(statuses) != {0})


def _job(place: Path) -> list[str]:
    """The arguments of a job over small shards of Parquet."""
    picture = place / "picture.png"
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(picture)
    table = pa.table({"image": [picture.read_bytes()] * _RECORDS, "label": [0] * _RECORDS})
    for number in range(_SHARDS):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        put(str(place / "in" / f"{number}.parquet"), sink.getvalue().to_pybytes())
    return ["--input", str(place / "in"), "--model", "zoo:mnist-autoencoder", "--output", str(place / "out")]


def _status(tree: Path, command: Sequence[str], job: Sequence[str]) -> int:
    """The status of one run; that of a signal as a shell gives it."""
    ended = subprocess.run([sys.executable, "-m", "pipeline", *command, *job], cwd=tree, capture_output=True)
    return ended.returncode if ended.returncode >= 0 else 128 - ended.returncode


@contextmanager
def _busy(processes: int) -> Iterator[None]:
    """Keep cores busy during the block."""
    spinning = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(processes)]
    for process in spinning:
        process.start()
    try:
        yield
    finally:
        for process in spinning:
            process.terminate()


def _spin() -> None:
    while True:
        pass


if __name__ == "__main__":
    sys.exit(main())
