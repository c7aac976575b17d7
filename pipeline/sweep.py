"""After a commit: what nothing names any more goes."""

import time
from collections import deque
from collections.abc import Iterable, Iterator

from pipeline.layout import DATA, Layout
from pipeline.pool import requested
from pipeline.storage import store_for


def sweep(layout: Layout, superseded: set[str], current: set[str], *, tidy: bool) -> None:
    """Drop outputs that no unit has any more, receipts that the manifest holds now, plans, and dead writers' leavings.

    Args:
      layout: of the output.
      superseded: names of files that units had before, relative to the output.
      current: names that they have now.
      tidy: also look for files that no receipt names; a run that ended before its receipts leaves them.
    """
    _delete(layout.at(name) for name in sorted(superseded - current))
    if tidy:
        _delete(layout.at(name) for name in unnamed(data_sizes(layout), current))
    # All units are done: who still writes was given up for dead by its engine, and must not publish any more.
    store_for(layout.output).sweep(layout.output, time.time())
    _delete([*unfinished(layout)])  # last: while there are any, the next run looks for leavings


def unfinished(layout: Layout) -> Iterator[str]:
    """URIs of plans and receipts: they last as long as their run, so where none runs one did not come to its end."""
    yield from (uri for uri in _below(layout.plans) if not uri.endswith("/summary.json"))
    yield from _below(layout.receipts)


def data_sizes(layout: Layout) -> dict[str, int]:
    """Bytes of every file among the data, by its name relative to the output."""
    store = store_for(layout.output)
    below = (layout.at(directory) for directory in DATA)
    listings = (store.list(uri) for uri in below if store.is_directory(uri))
    return {stat.uri[len(layout.output) + 1 :]: stat.size for listing in listings for stat in listing}


def unnamed(found: Iterable[str], known: set[str]) -> list[str]:
    """Names of files among the data that no unit has, sorted.

    These directories are the job's own, but for names that begin with ``_`` or ``.``: engines keep indexes under such,
    and no reader takes them for data.
    """
    return sorted(n for n in found if n not in known and not n.rpartition("/")[2].startswith(("_", ".")))


def _delete(uris: Iterable[str]) -> None:
    deque(requested(lambda uri: store_for(uri).delete(uri), uris), maxlen=0)


def _below(directory: str) -> Iterator[str]:
    store = store_for(directory)
    return (stat.uri for stat in store.list(directory)) if store.is_directory(directory) else iter(())
