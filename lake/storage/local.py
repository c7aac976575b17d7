"""The local disk. A file is published by write, fsync, rename and fsync of its directory, so it is whole or absent."""

import errno
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, FileIO
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, BinaryIO

from lake.core.batches import in_batches
from lake.core.counters import TALLY
from lake.core.errors import HeldError
from lake.storage.guard import Guard
from lake.storage.local_lock import holding, locked
from lake.storage.local_walk import NOTHING_THERE, TEMPORARY, stat_of, walk
from lake.storage.location import local_path
from lake.storage.options import DEFAULTS, StoreOptions
from lake.storage.store import EVERYTHING, Listing, Sink, Stat


class LocalStore:
    """Files under a path or a ``file://`` URI.

    Args:
      options: unused; no store option is about local files.
    """

    def __init__(self, options: StoreOptions = DEFAULTS) -> None:
        del options

    def list(self, prefix: str, listing: Listing = EVERYTHING) -> Iterator[Stat]:
        return walk(prefix, local_path(prefix), listing)

    def stat(self, uri: str) -> Stat | None:
        try:
            status = local_path(uri).stat()
        except OSError as error:
            if error.errno not in NOTHING_THERE:
                raise
            return None
        return stat_of(uri, status) if S_ISREG(status.st_mode) else None

    def is_directory(self, uri: str) -> bool:
        return local_path(uri).is_dir()

    def open(self, uri: str, *, sparse: bool = False) -> BinaryIO:
        del sparse  # nothing is prefetched from a disk
        return BufferedReader(_CountedFile(local_path(uri), opener=_open_regular), 1 << 16)

    def create(self, uri: str, guard: Guard | None = None, *, durable: bool = True) -> Sink:
        return LocalSink(uri, guard, durable=durable)

    def swap(self, uri: str, change: Callable[[bytes | None], bytes | None]) -> None:
        _make_directory(local_path(uri).parent)
        with locked(local_path(uri)) as file, _with_file_name(uri):
            before = file.read() or None  # locked() makes the file, so an empty one means that there is no object
            if (after := change(before)) != before:
                file.truncate(0)
                file.write(after or b"")
                os.fsync(file.fileno())

    def delete(self, uri: str) -> None:
        local_path(uri).unlink(missing_ok=True)

    def discard(self, found: Iterable[Stat], guard: Guard, *, by_name: bool = False) -> None:
        del by_name  # under the lock nothing arrives late
        # A batch is listed before its look at the lease, so nothing in it is of a run that took the lease since.
        for batch in in_batches(found):
            with holding(guard):
                for stat in batch:
                    self.delete(stat.uri)

    def sweep(self, prefix: str, before: float, guard: Guard) -> None:
        for batch in in_batches(_temporary(local_path(prefix))):
            with holding(guard):
                for left in batch:
                    with suppress(FileNotFoundError):  # its writer is alive, and has just published it
                        if left.stat().st_mtime < before:
                            left.unlink()

    def clock(self, uri: str) -> float:
        # The machine that keeps the files sets their times: the same one for all that share them.
        try:
            _make_directory(local_path(uri).parent)
            with tempfile.NamedTemporaryFile(prefix=TEMPORARY, suffix="~", dir=local_path(uri).parent) as file:
                return os.fstat(file.fileno()).st_mtime
        except OSError:  # who only looks may not be allowed to write
            return time.time()


def _temporary(root: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(root):
        yield from (Path(directory, name) for name in names if name.startswith(TEMPORARY))


def _open_regular(path: str, flags: int) -> int:
    """Open a file, but nothing that waits for a writer or has no end: a pipe, a socket, a device."""
    handle = os.open(path, flags | os.O_NONBLOCK)
    if S_ISREG(mode := os.fstat(handle).st_mode) or S_ISDIR(mode):  # for a directory the caller raises the usual error
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "Not a regular file", str(path))


class _CountedFile(FileIO):
    """A file that adds what is read to the process counters, for the progress bar."""

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        TALLY.add(bytes_read=count or 0)
        return count

    def readall(self) -> bytes:
        data = super().readall()
        TALLY.add(bytes_read=len(data))
        return data


class LocalSink(Sink):
    """A temporary file beside the final name, renamed over it once its bytes are safely on the disk.

    Args:
      uri: final name of the file.
      guard: what must hold when it gets its name; None for nothing.
      durable: whether ``publish`` waits until file and name would survive a loss of power.

    Raises:
      OSError: the directory cannot be made, or the name cannot be used.
    """

    def __init__(self, uri: str, guard: Guard | None = None, *, durable: bool = True) -> None:
        super().__init__(uri)
        self._final, self._guard = local_path(uri), guard
        self._durable = durable
        self._synced: int | None = None  # bytes that are on the disk
        self._directory = self._final.parent
        _make_directory(self._directory)
        with suppress(FileNotFoundError):
            # Fails for a name that is too long, before the unit publishes its other files.
            if S_ISDIR(self._final.lstat().st_mode):
                raise IsADirectoryError(errno.EISDIR, "this is a directory; name a file", uri)
        # With the usual mode of files. `tempfile` makes private ones, and takes three times as long.
        self._temporary: Path | None = self._directory / f"{TEMPORARY}{secrets.token_hex(8)}~"
        self._file = self._temporary.open("xb")

    def _put(self, view: memoryview) -> None:
        with _with_file_name(self.uri):
            self._file.write(view)

    def written(self) -> BinaryIO:
        with _with_file_name(self.uri):
            self._flush()
        return (self._temporary or self._final).open("rb")

    def prove(self) -> None:
        if not self._durable:
            return  # a file that may be lost, or have other bytes, after it was published is checked by who reads it
        try:
            super().prove()
        except FileNotFoundError:
            with holding(self._guard):  # who took the lease over has swept the temporary file
                raise

    def publish(self) -> None:
        if self._temporary is None:
            return
        try:
            with _with_file_name(self.uri):
                self._flush()
                self._file.close()
            with holding(self._guard):
                self._temporary.replace(self._final)  # atomic: readers see the old file or the whole new one
        except (OSError, HeldError):
            self.abort()
            raise
        self._temporary = None
        if self._durable:
            sync_path(self._directory)

    def _flush(self) -> None:
        self._file.flush()
        if self._durable and self._synced != self.size:  # once to prove it is enough to publish it
            os.fsync(self._file.fileno())
            self._synced = self.size

    def abort(self) -> None:
        if self._temporary is not None:
            with suppress(OSError):  # flushing the buffer may fail on a full disk; it is dropped anyway
                self._file.close()
            self._temporary.unlink(missing_ok=True)
            self._temporary = None


@contextmanager
def _with_file_name(uri: str) -> Iterator[None]:
    """Add the file name to an ``OSError`` that lacks it, as errors of an open file (such as a full disk) do."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, uri) from error


def _make_directory(path: Path) -> None:
    """Make a directory and its parents durably: each parent is synced after a name was added to it."""
    if path.is_dir():
        return
    _make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_path(path.parent)


def sync_path(path: Path) -> None:
    """Wait until a file, or the names in a directory, would survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
