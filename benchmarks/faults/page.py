"""What is kept of the sides, and the page for people."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import eq
from typing import Any

from benchmarks.faults.sides import SIDES
from benchmarks.process import HERE
from harness.machine import machine, on_machine

_FILE = HERE / "results/faults.json"
_INPUTS = {
    "clean": "nothing",
    "bad": "24 bad images",
    "bad, caught by the user's function": "the same, caught by the user's function",
    "cut": "a truncated shard",
    "flipped": "one flipped bit in each of 12 shards",
}
_HEAD = """# Faults

{records:,} handwritten digits in 24 Parquet shards with checksums of pages, the same ONNX encoder everywhere, and what
became of the rows. `python -m benchmarks.faults` does it; every tool has the settings that its documentation names for
faults (`benchmarks/peers/faults_*.py`, with links). Rows are compared by key with labels and latents that were computed
apart. What a run has left is read whatever its status. Daft runs on its native runner: its checkpoints, which need that
of Ray, are not measured, nor is Ray Data. latentlake runs with `--on-damage reject --max-reject-fraction 50%`: what
follows a damaged page in its shard is lost, and a reject tells so. Kills that a side lacks below were not measured.

- **lost**: records that must have a latent, and have none in what the tool itself reads
- **doubled**: rows beyond the first of a key
- **wrong**: a latent or label that is not the record's, or a latent of what is no image
- **told**: of bad images and damaged shards, those that the output or the log names
"""


def keep(side: str, versions: str, records: int, found: Sequence[Mapping[str, Any]]) -> None:
    """Keep what was found of a side, and write the page."""
    kept = json.loads(_FILE.read_text()) if _FILE.exists() else {}
    kept[side] = {"versions": versions, "records": records, "machine": machine(), "found": found}
    _FILE.write_text(json.dumps(kept, indent=1) + "\n")
    _FILE.with_suffix(".md").write_text(page(kept))


def page(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of all sides."""
    sides = {side.name: kept[side.name] for side in SIDES if side.name in kept}
    first = next(iter(sides.values()))
    names = [f"{name} ({side['versions']})" if side["versions"] else name for name, side in sides.items()]
    absent = [side.name for side in SIDES if side.name not in kept]
    lines = [_HEAD.format(records=first["records"]), f"{on_machine(first['machine'])} Sides: {'; '.join(names)}."]
    lines += [f"Not measured yet: {', '.join(absent)}."] if absent else []
    lines += ["", "## Damaged input", ""]
    lines += _table(("", "fault", "status", "lost", "doubled", "wrong", "told"), _inputs(sides))
    lines += ["", "## kill -9 of all its processes, and the same command again", ""]
    lines += [
        "When so many of the records had passed the model. Redone: records that passed it again.",
        "",
    ]
    lines += _table(("", "killed at", "status of the second run", "lost", "doubled", "wrong", "redone"), _kills(sides))
    lines += ["", "## Flipped bits in the output", ""]
    lines += [
        "One at a time, anywhere in the files with rows, which the tool then reads (this job's after `verify --deep`).",
        "Harmless: every row is right, to 1e-4 of the largest latent.",
        "",
    ]
    lines += _table(("", "bits", "an error", "wrong rows, silently", "harmless"), _outputs(sides))
    return "\n".join([*lines, ""])


def _inputs(sides: Mapping[str, Mapping[str, Any]]) -> Iterator[Sequence[object]]:
    for fault, words in _INPUTS.items():
        for name, side in sides.items():
            for one in _of(side, partial(eq, fault)):
                yield name, words, one["status"], *_counts(one), _told(one)


def _kills(sides: Mapping[str, Mapping[str, Any]]) -> Iterator[Sequence[object]]:
    for name, side in sides.items():
        for one in _of(side, lambda fault: fault.startswith("kill")):
            late = "" if one["killed"] else " (it had ended)"
            yield name, f"{one['fault'].removeprefix('kill at ')}{late}", one["status"], *_counts(one), one["redone"]


def _outputs(sides: Mapping[str, Mapping[str, Any]]) -> Iterator[Sequence[object]]:
    for name, side in sides.items():
        for one in _of(side, partial(eq, "output")):
            counts = [one[kind] for kind in ("found", "silent", "harmless")]
            yield name, sum(counts), *counts


def _of(side: Mapping[str, Any], wanted: Callable[[str], bool]) -> Iterator[Mapping[str, Any]]:
    return (one for one in side["found"] if wanted(one["fault"]))


def _counts(one: Mapping[str, Any]) -> tuple[object, ...]:
    if "unreadable" in one:
        return "all, unreadable", "", ""
    return one["lost"], one["doubled"], one["wrong"]


def _told(one: Mapping[str, Any]) -> str:
    images, shards, told = one.get("of bad", 0), one.get("of shards", 0), one.get("told", 0)
    words = [f"{told} of {images} images"] if images else [f"{told} images"] if told else []
    return ", ".join([*words, *([f"{one['shards named']} of {shards} shards"] if shards else [])])


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(map(str, cells))} |"
