"""Ctrl-C: it is answered at once, and ends the process with the status that shells expect, whatever it waits for."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

INTERRUPTED = 130  # 128 and the number of SIGINT, as shells count
_PATIENCE = 1.5  # seconds that an interrupted command has to clean up


@contextmanager
def hearing_interrupts(advice: str) -> Iterator[threading.Event]:
    """Print a line as soon as the block is interrupted, and raise ``KeyboardInterrupt`` in it.

    Engines wrap that error, and some only end after the work at hand. So if the block has not ended a moment later, the
    process does: a request may wait for its store for minutes, on any thread.

    Args:
      advice: what the line says after "interrupted".

    Yields:
      Set once the block was interrupted.
    """
    heard = threading.Event()

    def hear(*_: object) -> None:
        heard.set()
        raise KeyboardInterrupt

    # Only the main thread may set handlers, and one that somebody else has set stays.
    ours = threading.current_thread() is threading.main_thread()
    if not (ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler):
        yield heard
        return
    with _watched(advice):
        signal.signal(signal.SIGINT, hear)
        try:
            yield heard
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _watched(advice: str) -> Iterator[None]:
    """Watch for the signal on a thread of its own: the main thread may be in native code, and so not hear it."""
    # A duplicate, since stderr itself is redirected while TensorFlow starts.
    out = os.dup(2) if sys.stderr is not None else -1
    arrived, arrives = os.pipe()
    os.set_blocking(arrives, False)
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(arrived, out, advice, ended), name="interrupts", daemon=True)
    before = signal.set_wakeup_fd(arrives, warn_on_full_buffer=False)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        os.write(arrives, b"\0")  # no signal has this number
        watcher.join()
        for descriptor in (arrived, arrives, *([out] if out >= 0 else ())):
            os.close(descriptor)


def _watch(arrived: int, out: int, advice: str, ended: threading.Event) -> None:
    """Wait for the number of a signal to arrive on a pipe; after SIGINT, end the process unless the block has ended."""
    while (number := os.read(arrived, 1)) != b"\0":
        if number[0] != signal.SIGINT:
            continue
        if (deferral := _deferral) is not None and not deferral.heard:
            deferral.heard = True
            _say(out, deferral.promise)
            continue
        _say(out, advice)
        if not ended.wait(_PATIENCE):
            _leave()
        return


def _say(out: int, text: str) -> None:
    if out >= 0:
        # Not by print: the interrupted code may hold the lock of the stream.
        bar_end = "\n" if os.isatty(out) else ""
        os.write(out, f"{bar_end}interrupted{text}\n".encode())


class _Deferral:
    """Of a block that ends by itself once it is interrupted."""

    def __init__(self, promise: str) -> None:
        self.promise, self.heard = promise, False


_deferral: _Deferral | None = None  # of the block that runs


@contextmanager
def deferring_interrupts(promise: str) -> Iterator[threading.Event]:
    """Let a block end by itself when it is interrupted. Interrupted once more, it ends as without this.

    Args:
      promise: what the line says after "interrupted", where ``hearing_interrupts`` prints one.

    Yields:
      Set once the block was interrupted.
    """
    global _deferral
    asked, before = threading.Event(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        again = asked.is_set()
        asked.set()
        if again:
            before(number, frame)

    _deferral = _Deferral(promise)
    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        _deferral = None
        signal.signal(signal.SIGINT, before)


@contextmanager
def noticing_interrupts() -> Iterator[threading.Event]:
    """Notice whether the block is interrupted, whatever error an engine makes of the ``KeyboardInterrupt`` in it.

    The handler that is set is called, as without this.

    Yields:
      Set once the block was interrupted.
    """
    noticed = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    # Only the main thread may set handlers. One of native code, or none, raises nothing here.
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield noticed
        return

    def notice(number: int, frame: FrameType | None) -> None:
        noticed.set()
        before(number, frame)

    signal.signal(signal.SIGINT, notice)
    try:
        yield noticed
    finally:
        if signal.getsignal(signal.SIGINT) is notice:  # else the block has set another one for what follows
            signal.signal(signal.SIGINT, before)


def leave_if_interrupted(status: int) -> int:
    """End the process at once after an interruption, without waiting for threads that still work; else do nothing.

    What those threads write is either complete or not there, as after any other end of the process.

    Args:
      status: exit status of the command, which is returned.
    """
    if status == INTERRUPTED:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        _leave()
    return status


def _leave() -> None:
    """End the process, and those that it has started: workers and servers of engines, which nobody else would end."""
    for pid in _descendants(os.getpid()):
        with suppress(OSError):
            os.kill(pid, signal.SIGTERM)
    os._exit(INTERRUPTED)


def _descendants(ancestor: int) -> list[int]:
    """Ids of the processes that a process has started, and those that these have."""
    started = dict[int, list[int]]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
            parent = int(stat.read_text().rpartition(")")[2].split()[1])  # proc(5): after name and state
            started.setdefault(parent, []).append(int(stat.parent.name))
    found = list[int]()
    level = [ancestor]
    while level := [child for pid in level for child in started.get(pid, ())]:
        found += level
    return found
