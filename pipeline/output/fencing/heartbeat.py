"""The heartbeat of a run: a thread of every process that works for it renews its lease, and says when it is lost."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from lake.core.errors import HeldError
from lake.storage import Guard
from pipeline.output.fencing import lease, lease_record
from pipeline.output.fencing.lease import release
from pipeline.output.layout import Layout

_Key: TypeAlias = tuple[str, str]  # output and run


def guard_of(output: str, run: str) -> Guard:
    """Return the right of a run to write to an output and to delete there."""
    layout = Layout(output)

    def check(data: bytes | None) -> None:
        lease.own(output, run, data)

    return Guard(
        run=run,
        lease=layout.lease,
        staging=layout.staging(run),
        check=check,
        confirmed=lambda: HEARTBEAT.confirmed(output, run),
    )


@contextmanager
def renewing(output: str, run: str) -> Iterator[None]:
    """Renew the lease in the background during the block, and release it at the end."""
    try:
        with HEARTBEAT.beating(output, run):
            yield
    finally:
        release(output, run)


@dataclass(slots=True)
class _Beat:
    """The thread that renews one lease, for as many users as there are."""

    users: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Heartbeat:
    """Renews the leases of all runs that a process works for, each every ``RENEWAL`` seconds, by a thread of its own.

    So a lease outlives a batch, a request to a store or the start of a model that takes longer than ``EXPIRY``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = dict[_Key, float]()  # when this process renewed a lease, on the clock of time.monotonic
        self._beats = dict[_Key, _Beat]()
        self._lost = dict[_Key, str]()  # leases that a thread has found lost: why
        self._seen = dict[_Key, float]()  # when a request was sent that found the run to hold its lease

    @contextmanager
    def beating(self, output: str, run: str) -> Iterator[None]:
        """Renew a lease in the background during the block. Blocks of one run, on any threads, share a thread.

        If the run loses its lease, the next call of ``renew_if_due`` raises the error.
        """
        self._begin((output, run))
        try:
            yield
        finally:
            self._end((output, run))

    def renew_if_due(self, output: str, run: str) -> None:
        """Renew the lease if the last renewal by this process is long enough ago.

        Raises:
          HeldError: the run has lost its lease, so the unit must stop.
        """
        key, now = (output, run), time.monotonic()
        with self._lock:
            if why := self._lost.get(key):
                raise HeldError(why)
            # An older time says no more than none does.
            self._last = {known: last for known, last in self._last.items() if now - last < lease.RENEWAL}
            self._seen = {known: seen for known, seen in self._seen.items() if now - seen < lease_record.EXPIRY}
            if key in self._last:
                return
            self._last[key] = now
        try:
            renewed = _try_to_renew(output, run)
        except HeldError:
            with self._lock:
                self._seen.pop(key, None)
            raise
        if renewed:
            with self._lock:
                self._seen[key] = now

    def confirmed(self, output: str, run: str) -> bool:
        """Whether this process saw the lease to be the run's so short a time ago that nobody can have taken it over.

        Raises:
          HeldError: the run has lost its lease.
        """
        with self._lock:
            if why := self._lost.get((output, run)):
                raise HeldError(why)
            seen = self._seen.get((output, run))
        return seen is not None and time.monotonic() - seen < lease_record.EXPIRY / 2

    def _begin(self, key: _Key) -> None:
        with self._lock:
            beat = self._beats.setdefault(key, _Beat())
            beat.users += 1
            if beat.thread is None:
                # In the context of the run, which has its store options. A daemon: it must not keep a failed process
                # alive, and so its lease.
                renew = partial(copy_context().run, self._keep_renewing, key, beat)
                beat.thread = threading.Thread(target=renew, name="lease", daemon=True)
                beat.thread.start()

    def _end(self, key: _Key) -> None:
        with self._lock:
            beat = self._beats[key]
            beat.users -= 1
            if beat.users:
                return
            beat.done.set()
            del self._beats[key]
            self._lost.pop(key, None)
        # What it is writing must not come after what the process writes next. A store that hangs is not waited for.
        assert beat.thread is not None
        beat.thread.join(lease.RENEWAL)

    def _keep_renewing(self, key: _Key, beat: _Beat) -> None:
        while True:
            try:
                self.renew_if_due(*key)
            except HeldError as error:
                self._lose(key, beat, str(error))
                return
            if beat.done.wait(lease.RENEWAL):
                return

    def _lose(self, key: _Key, beat: _Beat, why: str) -> None:
        with self._lock:
            if self._beats.get(key) is beat:  # else the work has ended, and released the lease itself
                self._lost[key] = why


HEARTBEAT = Heartbeat()


def _try_to_renew(output: str, run: str) -> bool:
    """Renew the lease; log a failure of the store. Returns whether it was renewed.

    One failed renewal must not end a run. The lease expires only after several.
    """
    try:
        lease.renew(output, run)
    except OSError as error:
        logging.getLogger(__name__).warning("the lease could not be renewed and will be tried again: %s", error)
        return False
    return True
