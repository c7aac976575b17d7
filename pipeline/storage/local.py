"""The local disk: atomic publish by write, fsync, rename and fsync of the directory."""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BufferedReader, FileIO
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from pipeline.progress import TALLY
from pipeline.storage.base import Sink, Stat
from pipeline.storage.options import DEFAULTS, StoreOptions

_TEMPORARY = ".latentlake-"


class LocalStore:
    """Files below a path or a ``file://`` URI. No option of a job is about them."""

    def __init__(self, options: StoreOptions = DEFAULTS) -> None:
        del options

    def list(self, prefix: str) -> Iterator[Stat]:
        # Sorted as whole URIs, as object stores list: 'a-b/x' comes before 'a/x'. Names alone are held.
        with os.scandir(_path(prefix)) as entries:
            names = sorted(e.name + "/" * e.is_dir() for e in entries if not e.name.startswith(_TEMPORARY))
        for name in names:
            uri = f"{prefix.rstrip('/')}/{name}"
            if name.endswith("/"):
                yield from self.list(uri.rstrip("/"))
            elif stat := self.stat(uri):
                yield stat

    def stat(self, uri: str) -> Stat | None:
        try:
            status = _path(uri).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _stat(uri, status) if S_ISREG(status.st_mode) else None

    def is_directory(self, uri: str) -> bool:
        return _path(uri).is_dir()

    def open(self, uri: str, *, sparse: bool = False) -> BinaryIO:
        del sparse  # a disk reads no more than it is asked for
        return BufferedReader(_CountedFile(_path(uri)), 1 << 16)

    def create(self, uri: str) -> Sink:
        return LocalSink(uri)

    def swap(self, uri: str, change: Callable[[bytes | None], bytes | None]) -> None:
        with _locked(_path(uri)) as file, _naming(uri):
            before = file.read() or None
            if (after := change(before)) != before:
                file.truncate(0)
                file.write(after or b"")
                os.fsync(file.fileno())

    def delete(self, uri: str) -> None:
        _path(uri).unlink(missing_ok=True)

    def sweep(self, prefix: str, before: float) -> None:
        for directory, _, names in os.walk(_path(prefix)):
            for left in (Path(directory, name) for name in names if name.startswith(_TEMPORARY)):
                with suppress(FileNotFoundError):  # its writer is alive, and has just published it
                    if left.stat().st_mtime < before:
                        left.unlink()


class _CountedFile(FileIO):
    """A file whose reads the progress bar sees."""

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        TALLY.add(bytes_read=count or 0)
        return count

    def readall(self) -> bytes:
        data = super().readall()
        TALLY.add(bytes_read=len(data))
        return data


class LocalSink(Sink):
    """A temporary file beside the final name, renamed over it once its bytes are on the disk."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._final = _path(uri)
        _make_directory(self._final.parent)
        with suppress(FileNotFoundError):
            self._final.lstat()  # a name that cannot be had is found out before anything else is published
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, suffix="~", dir=self._final.parent)
        self._temporary: Path | None = Path(name)
        self._file = os.fdopen(handle, "wb")
        os.fchmod(handle, 0o666 & ~_umask())

    def _put(self, view: memoryview) -> None:
        with _naming(self.uri):
            self._file.write(view)

    def written(self) -> BinaryIO:
        with _naming(self.uri):
            self._file.flush()
            os.fsync(self._file.fileno())
        return (self._temporary or self._final).open("rb")

    def publish(self) -> None:
        if self._temporary is None:
            return
        try:
            with _naming(self.uri):
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
            self._temporary.replace(self._final)
        except OSError:
            self.abort()
            raise
        self._temporary = None
        _sync_directory(self._final.parent)

    def abort(self) -> None:
        if self._temporary is not None:
            with suppress(OSError):  # what is still in the buffer may not fit, and is to go anyway
                self._file.close()
            self._temporary.unlink(missing_ok=True)
            self._temporary = None


@contextmanager
def _naming(uri: str) -> Iterator[None]:
    """Errors of an open file, such as that its disk is full, do not say which file it is: here they do."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, uri) from error


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file://") else Path(uri)


def _stat(uri: str, status: os.stat_result) -> Stat:
    return Stat(uri=uri, size=status.st_size, identity=f"{status.st_size}-{status.st_mtime_ns}")


@cache
def _umask() -> int:
    # Read once: asking means setting it, for every thread of the process.
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _locked(path: Path) -> Iterator[FileIO]:
    """A file that no other process has locked, at its start; one that is empty afterwards is removed."""
    _make_directory(path.parent)
    while True:
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file, path):  # removed by the process that had it locked
                continue
            file.seek(0)
            try:
                yield file
            finally:
                if not os.fstat(file.fileno()).st_size:
                    path.unlink()
            return


def _is_at(file: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _make_directory(path: Path) -> None:
    """Make a directory that lasts: the names of new ones are synced too."""
    if path.is_dir():
        return
    _make_directory(path.parent)
    path.mkdir(exist_ok=True)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
