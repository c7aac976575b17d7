"""The long forms of what ``tests/faults`` does in short, and what is too large for a test.

    python -m tests.torture [SECTION ...] [--work DIR] [--results DIR]

Every section fails with an error where something is not as it must be; what it measured is kept in ``torture.json`` and
shown in ``torture.md``. A disk that fills up needs the right to mount one.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from harness.machine import by_machine, on_machine
from tests.conftest import make_model
from tests.faults.damaged import containers
from tests.faults.forkserver import Child, Nursery
from tests.faults.test_flips import CHECKED, flips
from tests.faults.torture import (
    FOUR_WORKERS,
    Kill,
    Work,
    check_halfway,
    check_said,
    check_whole,
    finish,
    instants,
    log_of,
    make_shards,
    marks,
    race,
    session,
    survive,
    unchanged,
    undisturbed,
)
from tests.torture import large

KILLS, KILLS_OF_WORKERS, RACES, FILLS, FLIPS = 50, 15, 10, 20, 300
WHOM = ("all", "launcher", "worker")
DISK = 160  # KiB: what the undisturbed run needs, and less than a run needs on its way

Rows: TypeAlias = list[tuple[str, str]]


def kill(place: Path) -> Rows:
    """Kills of the only process at instants, before calls of the store and as files appear; each is then completed."""
    statuses: Counter[str] = Counter()
    with working(place) as (nursery, work):
        for number, (name, harm) in enumerate(instants(work, KILLS, seed=1)):
            print(f"  {name}", file=sys.stderr)
            ended = survive(nursery, work, place / f"kill{number}", [harm])[0]
            statuses["killed" if ended else "had ended before"] += 1
            shutil.rmtree(place / f"kill{number}")
    said = ", ".join(f"{count} {name}" for name, count in statuses.most_common())
    return [(f"kill -9 of the job, {KILLS} times, and run again", f"{KILLS} of {KILLS} to the same bytes ({said})")]


def kill_workers(place: Path) -> Rows:
    """Kills in a job with two worker processes, which is run again at once, also beside workers that are left over."""
    ends, dice = Counter[str](), random.Random(2)
    with working(place) as (nursery, work):
        several = replace(work, options=(*work.options, *FOUR_WORKERS))
        started = time.monotonic()
        finish(nursery, several, place / "whole")
        seconds = time.monotonic() - started
        for number in range(KILLS_OF_WORKERS):
            output, whom = place / f"workers{number}", WHOM[number % len(WHOM)]
            instant = dice.uniform(0, seconds)
            print(f"  {whom} after {instant:.2f} of {seconds:.2f} s", file=sys.stderr)
            child = Kill.of_several(instant, whom)(nursery, several, output)
            ends[f"of {whom} {'in time' if child.wait() else 'too late'}"] += 1
            done = marks(output)
            finish(nursery, work, output)
            unchanged(output, done)
            outlast(child)
            check_whole(work, output)
    said = ", ".join(f"{count} {name}" for name, count in ends.items())
    return [
        (f"kill -9 in a job of 2 workers, {KILLS_OF_WORKERS} times, and run again", f"all to the same bytes ({said})")
    ]


def outlast(child: Child) -> None:
    """Wait until nothing is left of what a child started: Beam's workers look for a launcher for a minute."""
    end = time.monotonic() + 150
    while (left := session(child.pid)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left, left


def races(place: Path) -> Rows:
    """Two jobs that start at once on one output."""
    with working(place) as (nursery, work):
        ended = Counter(tuple(race(nursery, work, place / f"race{number}")) for number in range(RACES))
    assert set(ended) <= {(0, 4), (0, 0)}, ended
    return [
        (f"two jobs at once, {RACES} times", f"{ended[(0, 4)]} times one ended with 4; the output was whole each time")
    ]


def full_disk(place: Path) -> Rows:
    """A small disk that fills up at so many points of a run, which goes on where there is room."""
    failed = 0
    with working(place) as (nursery, work):
        for number in range(FILLS):
            with mounted(place / "disk") as disk:
                (disk / "filler").write_bytes(bytes((DISK - 6 * number - 8) << 10))
                child = nursery.run(work.command(disk / "out"), log_of(place / f"full{number}"))
                check_said(child)
                assert child.status == 0 or "No space left on device" in child.said, child.said
                failed += child.status != 0
                check_halfway(work, disk / "out")
                shutil.copytree(disk / "out", place / f"full{number}", symlinks=True)
            finish(nursery, work, place / f"full{number}")
    return [(f"disk full at {FILLS} points", f"{failed} clear errors, {FILLS} of {FILLS} completed afterwards")]


def flip(place: Path) -> Rows:
    """Single flipped bits in shards of every kind, read as the job reads them."""
    from sklearn.datasets import load_digits

    made = containers((load_digits().images * 15.9375).astype("uint8"))
    rows = []
    for kind in (*CHECKED, "tar", "npy"):
        tally = flips(made[kind], place, FLIPS, seed=7, salvage=True)
        assert kind not in CHECKED or not tally.silent, (kind, tally.silent)
        kinds = ", ".join(f"{name}: {count}" for name, count in tally.outcomes.most_common())
        rows.append((f"{FLIPS} flipped bits, {kind}", f"{len(tally.silent)} silent; {kinds}"))
    return rows


SECTIONS: dict[str, Callable[[Path], Rows]] = {
    "kill": kill,
    "kill-workers": kill_workers,
    "races": races,
    "full-disk": full_disk,
    "flips": flip,
    "files": large.files,
    "sparse": large.sparse,
    "nightly": large.nightly,
    "bad": large.bad,
}


@contextmanager
def working(place: Path) -> Iterator[tuple[Nursery, Work]]:
    """A job of a second, and a process that starts it at once."""
    make_shards(place / "in")
    bundle = Path(make_model(place / "model", seed=1).bundle)
    with Nursery() as nursery:
        yield nursery, undisturbed(nursery, Work(verb="reconstruct", source=place / "in", bundle=bundle), place)


@contextmanager
def mounted(disk: Path) -> Iterator[Path]:
    """A disk of ``DISK`` KiB for the block."""
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}k", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def report(results: Path, section: str, rows: Rows) -> None:
    """Both files, of all sections that ever ran; one table for each machine."""
    kept = results / "torture.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    found[section] = rows
    machines = found.setdefault("machines", {})
    machines[section] = large.machine()
    kept.write_text(json.dumps(found, indent=2) + "\n")
    lines = ["# Torture", ""]
    for used, names in by_machine({name: machines.get(name) for name in SECTIONS if name in found}):
        lines += [on_machine(used, names), "", "| what | found |", "|---|---|"]
        lines += [f"| {what} | {figure} |" for name in names for what, figure in found[name]]
        lines += [""]
    ending = "`scripts/torture` measures all of it; `results/fuzz.txt` has the decoders."
    (results / "torture.md").write_text("\n".join([*lines, ending, ""]))


def main() -> int:
    """Run the sections that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", nargs="*", choices=[*SECTIONS, []], help="all by default")
    parser.add_argument("--work", type=Path, help="scratch space, with 30 GB for 'sparse' and 'files'")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    for name in given.section or SECTIONS:
        print(f"{name} ...", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=given.work) as place:
            rows = SECTIONS[name](Path(place))
        report(given.results, name, rows)
        print("\n".join(f"  {what}: {figure}" for what, figure in rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
