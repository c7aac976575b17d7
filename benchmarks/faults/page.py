"""What is kept of the sides, and the page for people."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.faults.sides import SIDES
from benchmarks.process import HERE
from harness.machine import by_machine, machine, on_machine

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
apart. What a run has left is read whatever its status. Where runs came to different figures, all are given in order.
What a side lacks below was not measured.

- Daft runs on its native runner: its checkpoints, which need that of Ray, are not measured.
- Ray Data drops blocks that fail (`max_errored_blocks`), of 64 rows. Its reader takes all these shards, of 64 KB each,
  in one read, since that may have 128 MiB, whatever `override_num_blocks` and `target_min_block_size` say (of the
  latter 1 was tried): one damaged page costs the rows of all.
  Its actor has no share of the two processors: with half of one, a run that went on after a kill stood still, since its
  checkpoint's filter has one and the task that lists files waits for another.
- LitData runs with `use_checkpoint`, the same call and the same list of records: after a kill amid its run, rows that
  were done are missing, and as many others are there twice.
- latentlake runs with `--on-damage reject --max-reject-fraction 50%`: rows of a damaged page are lost, but for PNG
  images that are whole by their own checksums, and each lost one is a reject with its key.

- **lost**: records that must have a latent, and have none in what the tool itself reads
- **doubled**: rows beyond the first of a key
- **wrong**: a latent or label that is not the record's, or a latent of what is no image
- **told**: of bad images and damaged shards, those that the output or the log names
"""


def kept(side: str, versions: str, records: int) -> list[Mapping[str, Any]]:
    """What earlier runs of a side have found; nothing if there were none.

    Raises:
      ValueError: they had other versions of its packages, or so many records.
    """
    before = (json.loads(_FILE.read_text()) if _FILE.exists() else {}).get(side)
    if before is None:
        return []
    if (before["versions"], before["records"]) != (versions, records):
        raise ValueError(f"{side}: not {versions} and {records} records, but {before['versions']}, {before['records']}")
    return list(before["found"])


def keep(side: str, versions: str, records: int, found: Sequence[Mapping[str, Any]]) -> None:
    """Keep what was found of a side, and write the page."""
    sides = json.loads(_FILE.read_text()) if _FILE.exists() else {}
    sides[side] = {"versions": versions, "records": records, "machine": machine(), "found": found}
    _FILE.write_text(json.dumps(sides, indent=1) + "\n")
    _FILE.with_suffix(".md").write_text(page(sides))


def page(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of all sides."""
    sides = {side.name: kept[side.name] for side in SIDES if side.name in kept}
    first = next(iter(sides.values()))
    names = [f"{name} ({side['versions']})" if side["versions"] else name for name, side in sides.items()]
    absent = [side.name for side in SIDES if side.name not in kept]
    machines = [on_machine(*group) for group in by_machine({name: side["machine"] for name, side in sides.items()})]
    lines = [_HEAD.format(records=first["records"]), *machines, f"Sides: {'; '.join(names)}."]
    lines += [f"Not measured yet: {', '.join(absent)}."] if absent else []
    lines += ["", "## Damaged input", ""]
    lines += _table(("", "fault", "runs", "status", "lost", "doubled", "wrong", "told"), _inputs(sides))
    lines += ["", "## kill -9 of all its processes, and the same command again", ""]
    lines += [
        "When so many of the records had passed the model. Redone: records that passed it again.",
        "",
    ]
    head = ("", "killed at", "kills", "status of the second run", "lost", "doubled", "wrong", "redone")
    lines += _table(head, _kills(sides))
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
            if runs := _of(side, fault):
                rows = [(_ended(one), *_counts(one), _told(one)) for one in runs]
                yield name, words, len(runs), *_together(rows)


def _kills(sides: Mapping[str, Mapping[str, Any]]) -> Iterator[Sequence[object]]:
    for name, side in sides.items():
        for fault in dict.fromkeys(one["fault"] for one in side["found"] if one["fault"].startswith("kill")):
            runs = _of(side, fault)
            late = "" if all(one["killed"] or one["status"] is None for one in runs) else " (it had ended)"
            rows = [(_ended(one), *_counts(one), _redone(one)) for one in runs]
            yield name, f"{fault.removeprefix('kill at ')}{late}", len(runs), *_together(rows)


def _outputs(sides: Mapping[str, Mapping[str, Any]]) -> Iterator[Sequence[object]]:
    for name, side in sides.items():
        if runs := _of(side, "output"):
            counts = [sum(one[kind] for one in runs) for kind in ("found", "silent", "harmless")]
            yield name, sum(counts), *counts


def _of(side: Mapping[str, Any], fault: str) -> Sequence[Mapping[str, Any]]:
    return [one for one in side["found"] if one["fault"] == fault]


def _together(rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Columns of all runs: a figure that is the same in all stands once."""
    for column in zip(*(map(str, row) for row in rows), strict=True):
        yield column[0] if len(set(column)) == 1 else " / ".join(value or "-" for value in column)


def _ended(one: Mapping[str, Any]) -> object:
    return f"did not finish in {one['seconds']:.0f} s" if one["status"] is None else one["status"]


def _counts(one: Mapping[str, Any]) -> tuple[object, ...]:
    if "unreadable" in one:
        return "all, unreadable", "", ""
    if "lost" not in one:  # it was not killed in its time, so nothing was read
        return "", "", ""
    return one["lost"], one["doubled"], one["wrong"]


def _redone(one: Mapping[str, Any]) -> object:
    return "" if one["status"] != 0 else one["redone"]  # of a run that did not go through it says nothing


def _told(one: Mapping[str, Any]) -> str:
    images, shards, told = one.get("of bad", 0), one.get("of shards", 0), one.get("told", 0)
    words = [f"{told} of {images} images"] if images else [f"{told} images"] if told else []
    return ", ".join([*words, *([f"{one['shards named']} of {shards} shards"] if shards else [])])


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(map(str, cells))} |"
