"""Writes and deletes of a run in an object store, made so that they have no effect once the run has lost its lease.

A request may arrive long after it was sent, when another run holds the lease. No store makes a request conditional on
another object, so each kind has its own protection (``docs/decisions/0013-fencing.md``): a new name is created only if
there is none; an object is replaced by a copy of a staged one; a version is deleted, not a name, unless nothing is lost
with the name (``docs/decisions/0055-many-deletes.md``).
"""

import errno
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lake.core.batches import in_batches
from lake.core.counters import RETRIES
from lake.core.ordered_map import requested
from lake.core.retry import Backoff, retry
from lake.storage import request_retry
from lake.storage.guard import Guard
from lake.storage.remote_object import ConflictError, Head, Upload, attempt_id
from lake.storage.store import Stat, join

if TYPE_CHECKING:
    from lake.storage.remote import RemoteStore

_LANES = 4  # requests for many objects at once: of 1,000 each, as many deletes as S3 takes in a second below one prefix


def is_written(upload: Upload, head: Head, guard: Guard | None) -> bool:
    """Whether an object is an upload: an earlier attempt succeeded and its answer was lost, or a twin wrote the same.

    Under a guard a twin is of the same run. What another run wrote may yet be removed by a request of that run which is
    under way, so the same bytes are written again, as an object of this run.
    """
    mine = guard is None or head.attempt == upload.attempt or head.attempt.startswith(f"{guard.run}.")
    return mine and upload.is_at(head)


def write(store: "RemoteStore", uri: str, upload: Upload, head: Head | None, guard: Guard | None) -> None:
    """Write an object once.

    Args:
      store: where.
      uri: of the object.
      upload: its bytes.
      head: the object that is there, as far as is known; None for none.
      guard: the right to write it; None if nobody else writes there.

    Raises:
      ConflictError: there is another object.
      HeldError: the right is lost.
    """
    if guard is None:
        store.send(uri, upload, head.version if head else None)
    elif head is not None or guard.staged:
        _replace(store, uri, upload, guard)
    else:
        # A run that was stopped for a while looks at its lease first: what it writes now, nobody has asked for.
        _confirm(store, guard)
        store.send(uri, upload, None)


def _replace(store: "RemoteStore", uri: str, upload: Upload, guard: Guard) -> None:
    """Stage an object, look at the lease, copy it to its place.

    Who takes the lease over deletes what others have staged, so a copy that arrives later has no source. What is staged
    later is not copied, for its writer looks at the lease in between; and under its name nothing is staged again.
    """
    source = retry(f"stage {uri}", partial(_stage, store, upload, guard), _again)
    store.look(guard)
    try:
        store.copy(source, uri)
    except FileNotFoundError as error:
        store.look(guard)
        raise ConflictError(errno.ESTALE, "what was staged for it is gone; run the job again", uri) from error
    store.remove(source, None)


def _stage(store: "RemoteStore", upload: Upload, guard: Guard, number: int) -> str:
    """Send an object to a name of its own.

    A request that seems lost may arrive later, when what it made was deleted. So it is never repeated for the same
    name, and nobody copies from the name of one that seemed lost.
    """
    if number:
        RETRIES.add()
    source = join(guard.staging, attempt_id())
    store.send(source, replace(upload, once=True), None)
    return source


def _again(error: Exception) -> Backoff | None:
    return request_retry.REQUESTS if isinstance(error, (TimeoutError, ConflictError)) else None


def discard(store: "RemoteStore", found: Iterable[Stat], guard: Guard, *, by_name: bool) -> None:
    """Remove objects, as ``Store.discard``. Requests of a batch run concurrently."""
    for batch in in_batches(_left(store, found, guard) if by_name and store.many > 1 else found):
        # After the batch was listed: what a run wrote that has the lease by now is not in it.
        store.look(guard)
        deque(requested(partial(_remove, store, guard), batch), maxlen=0)  # raises the first error


def _left(store: "RemoteStore", found: Iterable[Stat], guard: Guard) -> Iterator[Stat]:
    """Remove objects by their names, many by one request, and yield those that were not removed."""
    for some in in_batches(found, _LANES * store.many):
        store.look(guard)
        for left in requested(partial(_remove_many, store, guard), in_batches(some, store.many)):
            yield from left


def _remove_many(store: "RemoteStore", guard: Guard, some: Sequence[Stat]) -> list[Stat]:
    _confirm(store, guard)
    left = frozenset(store.remove_many([stat.uri for stat in some]))
    return [stat for stat in some if stat.uri in left]


def _confirm(store: "RemoteStore", guard: Guard) -> None:
    """Look at the lease if this process may have been stopped since it last did."""
    if not guard.confirmed():
        store.look(guard)


def _remove(store: "RemoteStore", guard: Guard, stat: Stat) -> None:
    _confirm(store, guard)
    with suppress(ConflictError):  # it was written again, so it is not what was found
        store.remove(stat.uri, stat.identity)
