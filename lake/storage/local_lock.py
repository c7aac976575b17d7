"""Locks on files of the local disk: who holds the lock of a lease is alone to change it, or what it guards."""

import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from lake.core.errors import HeldError
from lake.storage.guard import Guard
from lake.storage.location import local_path

WAIT = 60.0  # seconds that a lock is waited for; it is held for milliseconds
_PAUSE = 0.01  # longest pause in seconds between two attempts


@contextmanager
def locked(path: Path) -> Iterator[FileIO]:
    """A file under an exclusive lock, positioned at its start. It is made for that, and removed if it is empty then.

    Raises:
      HeldError: another process has had the lock all the time.
    """
    while True:
        with path.open("a+b", buffering=0) as file:
            if not _has_lock(file, path):
                continue
            try:
                yield file
            finally:
                if not os.fstat(file.fileno()).st_size:
                    path.unlink()
            return


@contextmanager
def holding(guard: Guard | None) -> Iterator[None]:
    """Keep the lease from being taken during the block. Without a guard there is nothing to keep.

    Raises:
      HeldError: the run has lost the lease, or another process has had its lock all the time.
    """
    if guard is None:
        yield
        return
    path = local_path(guard.lease)
    while True:
        try:
            file = path.open("r+b", buffering=0)  # for writing, since some network file systems ask for that
        except FileNotFoundError:
            guard.check(None)
            raise
        with file:
            if not _has_lock(file, path):
                continue
            guard.check(file.read() or None)
            yield
            return


def _has_lock(file: FileIO, path: Path) -> bool:
    """Lock a file. False if it is no longer the one at its path: its holder may have removed it meanwhile."""
    # Not waited for by the system: a process that was stopped while it had the lock would stop all others.
    end = time.monotonic() + WAIT
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise HeldError(
                    f"{path} has been locked for {WAIT:.0f} s: a process that has it open hangs; end it, and run the "
                    "job again"
                ) from None
            time.sleep(random.uniform(0, _PAUSE))
            continue
        except OSError as error:
            lacks = f"{error.strerror}: its file system has no locks, which an output needs (docs/stores.md)"
            raise OSError(error.errno, lacks, str(path)) from error
        file.seek(0)
        return _is_at(file, path)


def _is_at(file: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
