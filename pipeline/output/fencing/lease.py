"""The lease of a run on its output: only one run at a time may write.

The lease is a small file beside the data, which its run renews every few seconds. A run that cannot see the holder's
process (on another machine, in another container) considers it alive until ``EXPIRY`` seconds after its last renewal.
Both times are of the store's own clock, so the clocks of the machines do not matter. On the same machine the process
itself is looked up, so the lease of a killed run can be taken over at once. A lease whose last renewal is half an hour
away, before or after now, is nobody's.

The file is changed by a conditional write (``Store.swap``): of two runs that try at the same time, one wins. A run that
lost its lease without knowing it is harmless: its writes are made under a ``Guard``.
"""

import os
import random
import socket
import time
from contextlib import suppress
from dataclasses import replace

from lake.core.errors import HeldError
from lake.core.printable import printable
from lake.core.retry import retry
from lake.storage import Guard, store_for
from pipeline.output.fencing import lease_record
from pipeline.output.fencing.lease_record import Lease, born, dump, in_use_by, parse, this_place
from pipeline.output.layout import Layout, files_below

RENEWAL = 10.0  # seconds between two renewals
_READS, _MOMENT = 5, 0.02  # how often a lease is read that is being written, and the seconds between


def acquire(output: str, run: str, *, ends_with_process: bool) -> bool:
    """Take the lease on an output.

    Args:
      output: URI of the output.
      run: id of the run.
      ends_with_process: whether the run ends with this process.

    Returns:
      Whether there was a lease of a dead run, which may have left files to clean up.

    Raises:
      HeldError: another run holds the output.
    """
    mine = Lease(
        run=run,
        host=socket.gethostname(),
        place=this_place() if ends_with_process else "",
        pid=os.getpid(),
        born=born(os.getpid()),
        beat=0.0,
    )
    found: list[bytes | None] = []

    def change(data: bytes | None) -> bytes:
        # Called once more if another writer was faster. What the last call saw counts.
        found[:] = [data]
        holder, now = None if data is None else parse(data), store_time(output)
        if holder is not None and holder.run != run and holder.alive(now):
            raise HeldError(in_use_by(output, holder, now))
        return dump(replace(mine, beat=now, run=run if data is not None else _created(run)))

    store_for(output).swap(Layout(output).lease, change)
    if found[0] is None:
        _confirm(output, mine)
    return found[0] is not None


def _confirm(output: str, mine: Lease) -> None:
    """Take a lease that this run has just created.

    The request that creates it could arrive once more, after the lease was released: that there is none is no version
    that cannot come back. So what it creates is nobody's, and only the second write makes it the run's.
    """

    def change(data: bytes | None) -> bytes:
        begun = own(output, _created(mine.run), data)
        return dump(replace(mine, beat=begun.beat))

    store_for(output).swap(Layout(output).lease, change)


def _created(run: str) -> str:
    return f"{run} (begins)"


def renew(output: str, run: str) -> None:
    """Renew the lease of a run.

    Raises:
      HeldError: the run has lost its lease: it seemed dead, and another one took over.
    """
    age = RENEWAL * random.uniform(0.5, 0.75)

    def change(data: bytes | None) -> bytes | None:
        lease, now = own(output, run, data), store_time(output)
        # Another worker has just renewed it. Object stores limit the rate of writes to one object, so of a thousand
        # workers that see it grow old not all may write at once: each waits for an age of its own.
        fresh = 0 <= now - lease.beat < age
        return data if fresh else dump(replace(lease, beat=now))

    store_for(output).swap(Layout(output).lease, change)


def await_workers(output: str, run: str) -> None:
    """Extend the lease by ``STARTUP`` seconds for workers that have yet to start.

    A launcher that detaches calls it: nobody renews the lease until a worker does, and a cluster takes minutes to
    start.

    Raises:
      HeldError: the run has lost its lease.
    """

    def change(data: bytes | None) -> bytes:
        return dump(replace(own(output, run, data), beat=store_time(output) + lease_record.STARTUP))

    store_for(output).swap(Layout(output).lease, change)


def release(output: str, run: str) -> None:
    """Release the lease on an output. Does nothing if the run does not hold it."""
    # Releasing is the last thing a run does, also after an error. A lost lease is no further one.
    with suppress(HeldError):
        hand_back(output, run)


def hand_back(output: str, run: str) -> None:
    """Release the lease on an output, at the end of a run that had it all the time.

    Raises:
      HeldError: the run has lost its lease.
    """

    def change(data: bytes | None) -> None:
        own(output, run, data)

    store_for(output).swap(Layout(output).lease, change)


def check_free(output: str) -> bool:
    """Check that no run holds an output.

    Returns:
      Whether there is no lease at all; False for the lease of a dead run, which may have left files to clean up.

    Raises:
      HeldError: a run holds the output.
    """
    store, uri = store_for(output), Layout(output).lease
    if store.stat(uri) is None:
        return True
    try:
        holder = parse(retry("a look at the lease", lambda _: _read(uri)))  # it may be renewed meanwhile
    except FileNotFoundError:  # it has just been released
        return True
    if holder is not None and holder.alive(now := store_time(output)):
        raise HeldError(in_use_by(output, holder, now))
    return False


def holder(output: str) -> Lease | None:
    """Return the lease on an output, of a run that lives or not; None if there is none.

    Args:
      output: URI of the output.
    """
    store, uri = store_for(output), Layout(output).lease
    for _ in range(_READS):
        if store.stat(uri) is None:
            return None
        try:
            lease = parse(retry("a look at the lease", lambda _: _read(uri)))
        except FileNotFoundError:
            return None
        if lease is not None:
            return lease
        # On a disk it is written in place, so that for a moment half of it is there.
        time.sleep(_MOMENT)
    return None


def _read(uri: str) -> bytes:
    with store_for(uri).open(uri) as file:
        return file.read()


def clear_staged(output: str, run: str, guard: Guard) -> None:
    """Delete what other runs have staged, as the last step of taking the lease over.

    A request of theirs that would copy it to its place, and is still on its way, then has nothing to copy.

    Args:
      output: URI of the output.
      run: id of the run, which holds the lease.
      guard: its right to delete.
    """
    layout = Layout(output)
    others = (stat for stat in files_below(layout.staged) if not stat.uri.startswith(f"{layout.staging(run)}/"))
    store_for(output).discard(others, guard, by_name=True)  # nothing is staged twice under a name


def store_time(output: str) -> float:
    """Return the time of the clock of an output's store, in seconds since the epoch."""
    return store_for(output).clock(Layout(output).lease)


def own(output: str, run: str, data: bytes | None) -> Lease:
    """Return the lease of a run.

    Args:
      output: URI of the output.
      run: id of the run.
      data: bytes of the lease; None if there is none.

    Raises:
      HeldError: it is not the lease of this run.
    """
    holder = None if data is None else parse(data)
    if holder is None or holder.run != run:
        by = "nobody holds it" if holder is None else f"run {printable(holder.run)} on {printable(holder.host)} does"
        raise HeldError(f"{output} is no longer held by run {run}, {by}; run the job again to go on")
    return holder
