"""Runs that are held up at random requests while another one takes their output over.

    scripts/servers
    python -m tests.torture.overtaken [--times 20] [--seed 1] [--on disk gs s3]

Each story of ``tests/faults/overtaken.py`` is told so many times on each kind of store. A run is held up for a random
time, or until the next one is done: on a disk it is stopped (SIGSTOP) at a call of its store or up to 20 ms later; on
a server its requests are kept on their way, and half of the runs give them up and send them again meanwhile.

Afterwards the output must be what the next run makes alone, byte for byte, and what it was when that run had ended; a
run that lost it must have ended with status 4 and one line; ``verify --deep`` must find nothing, and one more run
nothing to do. Figures are kept in ``overtaken.json`` and shown in ``overtaken.md``. The exit status is 1 if anything
was wrong.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.machine import by_machine, machine, on_machine
from harness.servers import gcs_server, s3_server
from tests.conftest import make_model
from tests.faults.forkserver import Nursery
from tests.faults.overtaken import Ends, Place, tell
from tests.faults.overtaken_on_disk import Disk
from tests.faults.overtaken_stories import STORIES, Moment, Story
from tests.stores.overtaken_on_servers import S3, Gcs

_PLACES = ("disk", "gs", "s3")
_OUTCOMES = ("lost the output", "had let it go", "kept it", "wrong")
_HEAD = """# Runs that are overtaken

A run is held up at a random request, for a random time, while another run works on the same output.

- *lost the output*: the next run took it meanwhile; the late one ended with status 4 and changed nothing;
- *kept it*: the late run went on before its lease had expired, or had the lock of a disk's lease all the time;
- *had let it go*: it was held up at its very end;
- *wrong*: anything else. Each time the output is compared, byte by byte, with what the next run makes alone and with
  what it was when that run had ended; `verify --deep` finds nothing, and one more run has nothing to do.

`python -m tests.torture.overtaken` writes this page.
"""


def main() -> int:
    """Tell all stories, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="of each story (default 20)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--on", nargs="+", choices=_PLACES, default=_PLACES, help="all by default")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    wrong = 0
    for name in given.on:
        rows = list[list[Any]]()
        with tempfile.TemporaryDirectory() as folder, _place(name, Path(folder)) as place:
            for story in STORIES:
                rows.append([story.name, *_told(place, story, given.times, f"{name} {story} {given.seed}")])
                _report(given.results, name, rows)
        wrong += sum(row[-1] for row in rows)
    return int(wrong > 0)


@contextmanager
def _place(name: str, folder: Path) -> Iterator[Place]:
    models = [make_model(folder / f"model{seed}", seed).bundle for seed in (7, 8)]
    if name == "disk":
        with Nursery() as nursery:
            yield Disk(nursery, folder, models)
    elif name == "s3":
        os.environ.update(s3_server.ENVIRONMENT)  # before the nursery, whose children inherit it
        with s3_server.serving() as s3, Nursery() as nursery:
            yield S3(nursery, folder, models, s3)
    else:
        with gcs_server.serving() as gcs, Nursery() as nursery:
            yield Gcs(nursery, folder, models, gcs)


def _told(place: Place, story: Story, times: int, seed: str) -> list[int]:
    """How often it was told, and how often with each outcome."""
    dice, outcomes = random.Random(seed), Counter[str]()
    for number in range(times):
        moment = Moment.random(dice, place.requests(story))
        outcome = _outcome(place, story, moment, f"{story}-{number}")
        print(f"{seed}, {number}: {moment}: {outcome}", file=sys.stderr)
        outcomes[outcome] += 1
    return [times, *(outcomes[name] for name in _OUTCOMES)]


def _outcome(place: Place, story: Story, moment: Moment, output: str) -> str:
    try:
        return _named(tell(place, story, moment, output, place.folder))
    except AssertionError:
        traceback.print_exc()
        return "wrong"


def _named(ends: Ends) -> str:
    if ends.overtook:
        return "lost the output"
    return "kept it" if ends.held else "had let it go"


def _report(results: Path, name: str, rows: Sequence[Sequence[Any]]) -> None:
    """Keep the figures of one kind of store, and show all that were ever kept."""
    kept = results / "overtaken.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    found[name] = {"machine": machine(), "rows": rows}
    kept.write_text(json.dumps(found, indent=2) + "\n")
    lines = [_HEAD]
    for used, names in by_machine({name: found[name]["machine"] for name in _PLACES if name in found}):
        lines += [on_machine(used, names), ""]
        lines += [f"| on | story | times | {' | '.join(_OUTCOMES)} |", f"|---|---|---|{'---|' * len(_OUTCOMES)}"]
        lines += [f"| {name} | {' | '.join(map(str, row))} |" for name in names for row in found[name]["rows"]]
        lines += [""]
    (results / "overtaken.md").write_text("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
