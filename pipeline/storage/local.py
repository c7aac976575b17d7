"""The local disk: atomic publish by write, fsync, rename and fsync of the directory."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from pipeline.progress import TALLY
from pipeline.storage.base import Sink, Stat

_TEMPORARY = ".latentlake-"


class LocalStore:
    """Files below a path or a ``file://`` URI."""

    def list(self, prefix: str) -> Iterator[Stat]:
        # Sorted as whole URIs, as object stores list: 'a-b/x' comes before 'a/x'.
        with os.scandir(_path(prefix)) as entries:
            found = [entry for entry in entries if not entry.name.startswith(_TEMPORARY)]
        for entry in sorted(found, key=lambda e: e.name + "/" * e.is_dir()):
            uri = f"{prefix.rstrip('/')}/{entry.name}"
            if entry.is_dir():
                yield from self.list(uri)
            elif entry.is_file():
                yield _stat(uri, entry.stat())

    def stat(self, uri: str) -> Stat | None:
        path = _path(uri)
        return _stat(uri, path.stat()) if path.is_file() else None

    def is_directory(self, uri: str) -> bool:
        return _path(uri).is_dir()

    def open(self, uri: str) -> BinaryIO:
        return BufferedReader(_CountedFile(_path(uri)), 1 << 16)

    def create(self, uri: str) -> Sink:
        return LocalSink(uri)

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
        self._final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, suffix="~", dir=self._final.parent)
        self._temporary: Path | None = Path(name)
        self._file = os.fdopen(handle, "wb")

    def _put(self, view: memoryview) -> None:
        self._file.write(view)

    def publish(self) -> None:
        if self._temporary is None:
            return
        try:
            self._file.flush()
            os.fchmod(self._file.fileno(), 0o666 & ~_umask())
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
            self._file.close()
            self._temporary.unlink(missing_ok=True)
            self._temporary = None


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


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
