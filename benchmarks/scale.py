"""How time, memory and requests grow with the number of shards and workers: measured here, and reckoned beyond.

    python -m benchmarks.scale [--work DIR] [--shards N ...]    measure, into results/scale.json
    python -m benchmarks.scale --reckon                         the table and plot of docs/scale.md from that

Measured are shards without a record, so that what is left is what the job itself does for each of them: list, plan,
open, write, receipt, commit. What is reckoned is said beside each figure.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from harness.machine import machine, on_machine
from harness.measured import Place, spawn

RESULTS = Path(__file__).parent / "results"
SHARDS = (1_000, 10_000, 100_000)
WORKERS = (1, 10, 100, 1_000)
RECKONED = (10**4, 10**5, 10**6, 10**7)
CORES = 4  # of a worker
RECORDS = 10_000  # of a shard, ...
RATE = 17_000  # ... records a second on a core: half of bench.md's rate of two
PLAN, COLUMNS = (
    37 << 20,
    53,
)  # bytes of a plan, and of each shard in it: results/many_shards.md, with names that are hashes
PAGE, LISTING = 1_000, 0.2  # names of one listing request, and its seconds
OVERHEAD = 0.15  # seconds of a small shard's requests that nothing else covers, with two units at once
ASKED = 16  # requests of the commit at once ...
LATENCY = 0.05  # ... and seconds of each
RANGE = 17_000  # units of a range, which one worker commits; fewer are committed by one task
WRITES, READS = 1_000, 5_000  # a second that Cloud Storage takes below one prefix before it has spread it
A, B = 0.005e-3, 0.0004e-3  # dollars of a request of class A (2 for a shard) and B (2)
CORE_HOUR = 0.05  # dollars
_UNITS = {"seconds": " s", "mib": " MiB"}


def measure(place: Path, count: int) -> dict[str, Any]:
    """Plan, run and run again over so many shards without a record."""
    source = place / "in"
    empty = place / "empty.npy"
    np.save(empty, np.zeros((0, 8, 8), np.uint8))
    data = empty.read_bytes()
    for folder in range(count // 1_000):
        (source / f"{folder:05d}").mkdir(parents=True)
        for number in range(1_000):
            (source / f"{folder:05d}/{number:03d}.npy").write_bytes(data)
    with (source / "00000/000.npy").open("wb") as file:  # one record, for there must be one to tell the columns
        np.save(file, np.zeros((1, 8, 8), np.uint8))
    bundle = Place(data=place, work=place).bundle("digits")
    words = ["encode", "--input", source, "--model", bundle, "--output", place / "out", "--json"]
    found: dict[str, Any] = {"shards": count, "machine": machine()}
    for name, command in (("plan", ["plan", *words]), ("run", words), ("again", words), ("commit", words)):
        if name == "commit":  # nothing else is left to do
            (place / "out/_SUCCESS").unlink()
        run = spawn([sys.executable, "-m", "pipeline", *command], place / "log")
        found |= {f"{name}_seconds": round(run.seconds, 2), f"{name}_mib": round(run.peak_mib)}
    summary = json.loads((place / "out/_SUCCESS").read_text())
    assert summary["total"]["units"] == count
    return found | {"manifest_bytes": summary["manifest"]["size"]}


def reckon(measured: Sequence[dict[str, Any]]) -> str:
    """The table of ``docs/scale.md``."""
    one = slopes(measured)
    head = "| shards | workers | list | plan | graph | run | requests/s | commit | manifest | $ per million images |"
    lines = [head, "|---" * head.count(" | ") + "|---|"]
    return "\n".join([*lines, *(row(shards, workers, one) for shards in RECKONED for workers in WORKERS)])


def row(shards: int, workers: int, one: dict[str, float]) -> str:
    """One line: of a launcher here, workers of ``CORES`` cores, and shards of ``RECORDS`` records in a store."""
    run = shards * (RECORDS / (RATE * CORES) + OVERHEAD / 2) / workers
    commit = commit_seconds(shards, workers, one)
    graph = shards / 1_000 * 150
    hours = run * workers * CORES / 3600  # of cores
    cost = (shards * (2 * A + 2 * B) + hours * CORE_HOUR) / (shards * RECORDS)
    asked = 4 * shards / run
    cells = [
        f"{shards:,}",
        f"{workers:,}",
        seconds(shards / PAGE * LISTING),
        f"{(PLAN + shards * COLUMNS) / (1 << 20):,.0f} MiB",
    ]
    cells += [f"{graph / 1e3:,.0f} kB", seconds(run), f"{asked:,.0f}{' !' if asked > READS else ''}", seconds(commit)]
    cells += [f"{shards * one['manifest'] / 1e6:,.0f} MB", f"{cost * 1e6:.4f}"]
    return f"| {' | '.join(cells)} |"


def commit_seconds(shards: int, workers: int, one: dict[str, float]) -> float:
    """How long the commit takes, in which each receipt is read and removed."""
    return shards * (one["commit"] + LATENCY / ASKED) / min(workers, max(1, shards // RANGE))


def slopes(measured: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What each further shard costs, between the smallest and the largest measurement."""
    first, last = measured[0], measured[-1]
    more = last["shards"] - first["shards"]
    return {
        "commit": (last["commit_seconds"] - first["commit_seconds"]) / more,
        "manifest": last["manifest_bytes"] / last["shards"],
    }


def seconds(value: float) -> str:
    """A time that a person reads."""
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if value >= 2 * size:
            return f"{value / size:,.1f} {name}"
    return f"{value:,.1f} s"


def table(measured: Sequence[dict[str, Any]]) -> str:
    """What was measured."""
    lines = ["| shards | plan | | run | a shard | | again | | plan and commit | |", "|---" * 10 + "|"]
    for found in measured:
        each = 1e3 * found["run_seconds"] / found["shards"]
        cells = [f"{found['shards']:,}", f"{found['plan_seconds']:.1f} s", f"{found['plan_mib']} MiB"]
        cells += [f"{found['run_seconds']:.1f} s", f"{each:.2f} ms", f"{found['run_mib']} MiB"]
        cells += [f"{found[f'{name}_{what}']}{unit}" for name in ("again", "commit") for what, unit in _UNITS.items()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(measured: Sequence[dict[str, Any]], path: Path) -> None:
    """Hours of a run by workers, for every number of shards, with the commit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    one = slopes(measured)
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for shards in RECKONED:
        commits = [commit_seconds(shards, workers, one) / 3600 for workers in WORKERS]
        runs = [shards * (RECORDS / (RATE * CORES) + OVERHEAD / 2) / workers / 3600 for workers in WORKERS]
        axes.loglog(WORKERS, [*map(add, runs, commits)], "o-", label=f"{shards:,} shards")
        axes.loglog(WORKERS, commits, ":", color=axes.lines[-1].get_color())
    axes.set(xlabel=f"workers of {CORES} cores", ylabel="hours (dotted: the commit's part)")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120, metadata={"Software": None})


def main() -> int:
    """Measure, or reckon."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="scratch space with room for as many small files")
    parser.add_argument("--shards", type=int, nargs="+", default=SHARDS)
    parser.add_argument("--reckon", action="store_true")
    given = parser.parse_args()
    kept = RESULTS / "scale.json"
    if not given.reckon:
        measured = []
        for count in given.shards:
            place = Path(tempfile.mkdtemp(dir=given.work))
            measured.append(measure(place, count))
            shutil.rmtree(place)
            print(measured[-1], file=sys.stderr)
        kept.write_text(json.dumps(measured, indent=2) + "\n")
    measured = json.loads(kept.read_text())
    plot(measured, RESULTS / "scale.png")
    print(f"{on_machine(measured[-1].get('machine'))}\n\n{table(measured)}\n\n{reckon(measured)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
