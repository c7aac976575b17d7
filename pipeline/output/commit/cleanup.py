"""Clean up an output after a commit: remove the files that no unit has any more.

Data files that are to go are found before the commit. Whatever appears later is none of this run's business.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import filterfalse

from lake.core.ordered_map import requested
from lake.storage import Guard, Stat, store_for
from pipeline.output.fencing.lease import store_time
from pipeline.output.layout import DATA, Layout, files_below


def leftovers(layout: Layout, superseded: Iterable[str], current: Container[str], *, tidy: bool) -> list[Stat]:
    """Find the data files that go with a commit; called before it.

    Args:
      layout: the output.
      superseded: names of the files that units had before the commit, relative to the output.
      current: names of the files that they will have.
      tidy: also look for files that no receipt names. A run that died before it wrote its receipts leaves such files.

    Returns:
      The files, with the versions that are to go.
    """
    gone = sorted({name for name in superseded if name not in current})
    old = requested(store_for(layout.output).stat, map(layout.at, gone))
    found = {stat.uri: stat for stat in old if stat is not None}
    if tidy:
        found |= {stat.uri: stat for stat in unnamed_files(layout, current)}
    return list(found.values())


def unnamed_files(layout: Layout, current: Container[str]) -> list[Stat]:
    """Find the data files that belong to no unit.

    Args:
      layout: the output.
      current: names of the files of all units.
    """
    return [stat for stat in _data(layout) if unnamed([stat.uri[len(layout.output) + 1 :]], current)]


def clean_up(layout: Layout, leftover: Sequence[Stat], guard: Guard, *, reuse: bool = False) -> None:
    """Remove leftovers, receipts that the manifest now holds, plans, and unfinished uploads of dead writers.

    Args:
      layout: the output.
      leftover: what ``leftovers`` returned.
      guard: the right to remove them.
      reuse: whether there may be tables and an index that were kept for reuse, of this run or of one that died.

    Raises:
      HeldError: the run has lost its lease; nothing more is removed.
    """
    store = store_for(layout.output)
    store.discard(leftover, guard)
    if reuse:
        store.discard(files_below(layout.reuse), guard)
    # All units are done. A writer that is still at work was given up by its engine, and must not publish any more.
    store.sweep(layout.output, store_time(layout.output), guard)
    # Last: as long as there are plans and receipts, the next run knows that there may be files to clean up. Plans after
    # receipts, since a receipt without the plan of its run says nothing. A receipt that the next run writes may be lost
    # with its name, which makes a unit be done again; and what is below the plan of a run, no other run writes.
    store.discard(files_below(layout.receipts), guard, by_name=True)
    store.discard(filterfalse(is_summary, files_below(layout.plans)), guard, by_name=True)


def is_summary(stat: Stat) -> bool:
    """Whether a file of the plans' directory is the summary of a run, which stays."""
    return stat.uri.endswith("/summary.json")


def unfinished(layout: Layout) -> Iterator[str]:
    """Yield the URIs of plans and receipts.

    They exist as long as their run. If there are any while no run holds the output, a run did not come to its end.
    """
    yield from (stat.uri for stat in files_below(layout.plans) if not is_summary(stat))
    yield from (stat.uri for stat in files_below(layout.receipts))


def data_sizes(layout: Layout) -> dict[str, int]:
    """Return the size in bytes of every data file, by its name relative to the output."""
    return {stat.uri[len(layout.output) + 1 :]: stat.size for stat in _data(layout)}


def unnamed(found: Iterable[str], known: Container[str]) -> list[str]:
    """Return the names of data files that belong to no unit, sorted.

    Names that begin with ``_`` or ``.`` are left out. Query engines keep indexes under such names, and readers of a
    dataset ignore them by convention.

    Args:
      found: names of data files, relative to the output.
      known: names of the files of all units.

    >>> unnamed(["latents/a.parquet", "latents/old.parquet", "latents/_index"], {"latents/a.parquet"})
    ['latents/old.parquet']
    """
    return sorted(n for n in found if n not in known and not n.rpartition("/")[2].startswith(("_", ".")))


def _data(layout: Layout) -> Iterator[Stat]:
    for directory in DATA:
        yield from files_below(layout.at(directory))
