"""Marks of units that have begun and not ended: what a process leaves behind that a unit has ended with it.

A mark is written before a unit begins and removed when it ends, well or not. So a unit with a mark that nobody runs was
under way when its process ended: perhaps because of it, perhaps for another reason.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from lake.core import sealed_json
from lake.core.errors import VerifyError
from lake.storage import put, store_for
from pipeline.output.fencing.heartbeat import guard_of
from pipeline.output.layout import Layout
from pipeline.output.state.state_file import read_state_file
from pipeline.output.state.state_values import natural


def mark_name(unit: str) -> str:
    """The name of a unit's mark. Ids of units may be longer than the name of a file."""
    return hashlib.sha256(unit.encode()).hexdigest()[:32]


@contextmanager
def marked(layout: Layout, run: str, unit: str, starts: int) -> Iterator[None]:
    """Mark a unit during the block.

    Args:
      layout: the output.
      run: id of the run.
      unit: id of the unit.
      starts: how many times it was begun, with this one.

    Raises:
      OSError: the output cannot be written.
    """
    uri = layout.mark(run, mark_name(unit))
    # It tells of a process that has ended. Of a machine that has, all units are innocent.
    put(uri, sealed_json.dumps({"starts": starts}), guard_of(layout.output, run), durable=False)
    try:
        yield
    finally:
        with suppress(OSError):  # the commit removes it
            store_for(uri).delete(uri)


def mark_replaced(layout: Layout, run: str, unit: str) -> None:
    """Mark a finished unit whose files a run replaces; the commit removes it.

    Its receipt says so, too, but has a name that other runs remove: one that had committed before may do so late.

    Args:
      layout: the output.
      run: id of the run.
      unit: id of the unit.

    Raises:
      OSError: the output cannot be written.
    """
    put(layout.replaced(run, mark_name(unit)), sealed_json.dumps({}), guard_of(layout.output, run), durable=False)


def find_marks(layout: Layout, run: str) -> Mapping[str, str]:
    """List the marks of a run.

    Returns:
      The URI of each, by its name.
    """
    return {name: uri for _, name, uri in _all_marks(layout, f"{layout.plan(run)}/begun")}


def read_starts(uri: str) -> int:
    """How many times the unit of a mark was begun; 1 if the mark is gone or damaged meanwhile."""
    try:
        return int(read_state_file(uri, {"starts": natural})["starts"])
    except (FileNotFoundError, VerifyError):
        return 1


def adopt_marks(layout: Layout, run: str) -> None:
    """Copy the marks that dead runs have left to a run that begins.

    Args:
      layout: the output.
      run: id of the run that begins.
    """
    starts = dict[str, int]()
    for owner, name, uri in _all_marks(layout, layout.plans):
        if owner != run:
            starts[name] = max(starts.get(name, 0), read_starts(uri))
    for name, count in starts.items():
        put(layout.mark(run, name), sealed_json.dumps({"starts": count}), guard_of(layout.output, run))


def _all_marks(layout: Layout, below: str) -> Iterator[tuple[str, str, str]]:
    """Yield the run, name and URI of every mark below a directory of plans."""
    store = store_for(below)
    for stat in store.list(below) if store.is_directory(below) else ():
        owner, *parts = stat.uri[len(layout.plans) + 1 :].split("/")
        if len(parts) == 2 and parts[0] == "begun":
            yield owner, parts[1].removesuffix(".json"), stat.uri
