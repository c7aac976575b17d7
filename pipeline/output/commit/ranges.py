"""Ranges of units that workers commit one by one, where there are too many for one task.

A range ends where a part of the manifest does, by itself: with a unit for which ``ends_part`` holds. So the parts of
one range are the same whatever is in the others (``docs/decisions/0047-commit-in-ranges.md``).
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from lake.core import sealed_json
from lake.storage import Guard, put, store_for
from pipeline.output.commit.recovery import Recovered
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import Manifest
from pipeline.output.manifest.manifest_parts import PART_UNITS, ends_part
from pipeline.output.state.state_file import read_state_file
from pipeline.output.state.state_values import list_of, natural, relative

_LISTS = ("obsolete", "adopted", "doubtful")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRange:
    """Units whose ids come after one and not after another.

    Attributes:
      after: id before its first one; "" for none.
      last: id of its last one; None for any.
      obsolete: ids of its units that the commit drops.
      adopted: ids of its units whose receipts of earlier runs count.
      doubtful: ids of its units whose files a run may have replaced.
    """

    after: str
    last: str | None
    obsolete: Sequence[str] = ()
    adopted: Sequence[str] = ()
    doubtful: Sequence[str] = ()

    def __contains__(self, unit: object) -> bool:
        return self.after < str(unit) and (self.last is None or str(unit) <= self.last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """All ranges of a run.

    Attributes:
      lasts: the last unit of each but the last range.
      listed: by the number of a range, the lists of ``UnitRange`` that it has.
    """

    lasts: Sequence[str]
    listed: Mapping[int, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lasts) + 1


def are_many(todo: int, obsolete: Sequence[str], recovered: Recovered) -> bool:
    """Whether a run changes more units than one part of a manifest has.

    Args:
      todo: number of units to be processed.
      obsolete: ids of the units that the commit drops.
      recovered: what the run counts on of earlier ones.
    """
    return todo + len(obsolete) + len(recovered.adopted) > PART_UNITS


def make_ranges(todo: Iterable[str], before: Manifest, obsolete: Sequence[str], recovered: Recovered) -> Ranges | None:
    """Cut the units of a run into ranges.

    Args:
      todo: ids of the units to be processed, in any order.
      before: the committed state.
      obsolete: ids of the units that the commit drops.
      recovered: what the run counts on of earlier ones.

    Returns:
      The ranges; None after a version that wrote a manifest of any size as one file, for that one task commits.
    """
    if not before.parts and len(before) > PART_UNITS:
        return None
    known = (part.last for part in before.parts) if before.parts else iter(before)
    lasts = sorted(set(filter(ends_part, chain(todo, recovered.adopted, known))).difference(obsolete))
    listed: dict[int, dict[str, list[str]]] = {}
    lists = zip(_LISTS, (obsolete, recovered.adopted, recovered.doubtful), strict=True)
    for name, unit in ((name, unit) for name, units in lists for unit in units):
        listed.setdefault(bisect_left(lasts, unit), {}).setdefault(name, []).append(unit)
    return Ranges(lasts=lasts, listed=listed)


def write_ranges(layout: Layout, run: str, ranges: Ranges, guard: Guard | None = None) -> None:
    """Write the ranges of a run beside its plan.

    Args:
      layout: the output.
      run: id of the run.
      ranges: its ranges.
      guard: the right to write them.
    """
    for number, lists in ranges.listed.items():
        whole = {name: lists.get(name, ()) for name in _LISTS}
        put(layout.range_file(run, number, "json"), sealed_json.dumps(whole), guard)
    value = {"lasts": ranges.lasts, "listed": sorted(ranges.listed)}
    put(layout.ranges(run), sealed_json.dumps(value), guard)


def is_cleaned_up(layout: Layout, run: str) -> bool:
    """Whether a run has committed and has begun to remove its plan: all that is left to do is to remove the rest.

    Args:
      layout: the output.
      run: id of the run.
    """
    store = store_for(layout.output)
    return store.stat(layout.ranges(run)) is None and store.stat(layout.summary(run)) is not None


def read_lasts(layout: Layout, run: str) -> list[str]:
    """Read the last unit of each range but the last one.

    Raises:
      FileNotFoundError: the run has ended.
      VerifyError: the file is damaged.
    """
    lasts: list[str] = _read(layout, run)["lasts"]
    return lasts


def read_range(layout: Layout, run: str, number: int) -> UnitRange:
    """Read one range.

    Args:
      layout: the output.
      run: id of the run.
      number: of the range.

    Raises:
      FileNotFoundError: the run has ended.
      VerifyError: a file is damaged.
    """
    value = _read(layout, run)
    lasts, lists = value["lasts"], dict[str, list[str]]()
    if number in value["listed"]:
        lists = read_state_file(layout.range_file(run, number, "json"), dict.fromkeys(_LISTS, list_of(relative)))
    after = lasts[number - 1] if number else ""
    last = lasts[number] if number < len(lasts) else None
    return UnitRange(after=after, last=last, **{name: tuple(lists.get(name, ())) for name in _LISTS})


def _read(layout: Layout, run: str) -> dict[str, Any]:
    return read_state_file(layout.ranges(run), {"lasts": list_of(relative), "listed": list_of(natural)})
