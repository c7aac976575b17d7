"""The hold of a run on its output: one run at a time writes, and a run that died lets go of it by itself.

The hold is a small object beside the data that its run keeps beating: who cannot see the run's process (on another
machine, in another container) believes that it lives while its last beat is younger than ``EXPIRY``. Clocks may differ
by less than that. On the same machine the process itself is asked, so a killed run can be followed at once.
"""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipeline.errors import HeldError
from pipeline.layout import Layout
from pipeline.storage import store_for

BEAT = 10.0  # seconds between two beats
EXPIRY = 60.0  # seconds after the last one, when the hold is a dead run's
STARTUP = 1800.0  # seconds that workers have until their first beat, where the launcher has left


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Who holds an output.

    place, pid, born: the process that the run ends with, and where it can be seen; place is "" where its end says
      nothing, as of a launcher that may leave.
    beat: when the run last said that it lives, in seconds since the epoch.
    """

    run: str
    host: str
    place: str
    pid: int
    born: str
    beat: float

    @property
    def alive(self) -> bool:
        """Whether the run may still write."""
        if self.place and self.place == _place():
            return _born(self.pid) == self.born
        return time.time() - self.beat < EXPIRY


def take(output: str, run: str, *, ends_here: bool) -> bool:
    """Hold an output for a run; gives whether a run that died had left its hold.

    Args:
      output: URI of the output.
      run: id of the run.
      ends_here: the run ends with this process.

    Raises:
      HeldError: another run holds it.
    """
    mine = Hold(
        run=run,
        host=socket.gethostname(),
        place=_place() if ends_here else "",
        pid=os.getpid(),
        born=_born(os.getpid()),
        beat=time.time(),
    )
    found: list[bytes | None] = []

    def change(data: bytes | None) -> bytes:
        found[:] = [data]
        holder = None if data is None else _parse(data)
        if holder is not None and holder.run != run and holder.alive:
            raise HeldError(_held_by(output, holder))
        return _dump(mine)

    store_for(output).swap(Layout(output).hold, change)
    return found[0] is not None


def beat(output: str, run: str) -> None:
    """Say that a run lives.

    Raises:
      HeldError: it lost its hold: another run took the output for a dead run's.
    """

    def change(data: bytes | None) -> bytes | None:
        hold, now = _own(output, run, data), time.time()
        fresh = 0 <= now - hold.beat < BEAT / 2  # by another worker: stores allow few writes to one object
        return data if fresh else _dump(replace(hold, beat=now))

    store_for(output).swap(Layout(output).hold, change)


def await_workers(output: str, run: str) -> None:
    """Hold an output for workers that have yet to begin: the launcher leaves, and a cluster takes minutes to start.

    Raises:
      HeldError: the run lost its hold.
    """

    def change(data: bytes | None) -> bytes:
        return _dump(replace(_own(output, run, data), beat=time.time() + STARTUP))

    store_for(output).swap(Layout(output).hold, change)


def release(output: str, run: str) -> None:
    """Let go of an output; does nothing where the run does not hold it."""

    def change(data: bytes | None) -> None:
        _own(output, run, data)

    with suppress(HeldError):
        store_for(output).swap(Layout(output).hold, change)


def check_free(output: str) -> bool:
    """Whether nothing is there to clean up after a run that died.

    Raises:
      HeldError: a run holds the output.
    """
    store, uri = store_for(output), Layout(output).hold
    if store.stat(uri) is None:
        return True
    with store.open(uri) as file:
        holder = _parse(file.read())
    if holder is not None and holder.alive:
        raise HeldError(_held_by(output, holder))
    return False


@contextmanager
def beating(output: str, run: str) -> Iterator[None]:
    """Beat in the background while the block runs, and release at its end."""
    done = threading.Event()
    thread = threading.Thread(target=_keep_beating, args=(output, run, done), name="hold", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        release(output, run)


class Pulse:
    """Beats of a worker process, for all of its units: often enough, and not with every batch."""

    def __init__(self) -> None:
        self._lock, self._last = threading.Lock(), dict[tuple[str, str], float]()

    def beat(self, output: str, run: str) -> None:
        """Beat, if the last beat is long enough ago.

        Raises:
          HeldError: the run lost its hold, so the unit must not go on.
        """
        now = time.monotonic()
        with self._lock:
            if now - self._last.get((output, run), -BEAT) < BEAT:
                return
            self._last = {(output, run): now}
        _beat_if_possible(output, run)


PULSE = Pulse()


def _keep_beating(output: str, run: str, done: threading.Event) -> None:
    while not done.wait(BEAT):
        try:
            _beat_if_possible(output, run)
        except HeldError:  # the units and the commit look for themselves
            return


def _beat_if_possible(output: str, run: str) -> None:
    """A store that fails now and then must not end a run that is well otherwise: there are more beats than needed."""
    try:
        beat(output, run)
    except OSError as error:
        logging.getLogger(__name__).warning("the hold could not be renewed, and will be tried again: %s", error)


def _own(output: str, run: str, data: bytes | None) -> Hold:
    holder = None if data is None else _parse(data)
    if holder is None or holder.run != run:
        by = "nobody holds it" if holder is None else f"run {holder.run} on {holder.host} does"
        raise HeldError(f"{output} is no longer held by run {run}, {by}; run the job again to go on")
    return holder


def _held_by(output: str, holder: Hold) -> str:
    return (
        f"{output} is in use by run {holder.run} (process {holder.pid} on {holder.host}, {_heard(holder)})"
        f"; wait for its end, or {EXPIRY:.0f} s after it was killed, or name another --output"
    )


def _heard(holder: Hold) -> str:
    age = time.time() - holder.beat
    if age < -EXPIRY:  # more than clocks differ
        return f"whose workers have {EXPIRY - age:.0f} s to begin"
    return f"last heard of {max(0.0, age):.0f} s ago"


def _dump(hold: Hold) -> bytes:
    return (json.dumps(asdict(hold)) + "\n").encode()


def _parse(data: bytes) -> Hold | None:
    """None for what a writer that was killed left of one."""
    try:
        return Hold(**json.loads(data))
    except (ValueError, TypeError):
        return None


def _place() -> str:
    """This boot of this machine and its space of process ids; "" where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process began, in clock ticks after the boot; "" where there is none of this number, or a dead one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # proc(5): state is field 3, starttime field 22
