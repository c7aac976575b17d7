"""The interface of a store, and the checksum that every store keeps while bytes pass."""

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import RawIOBase
from typing import BinaryIO, Protocol

import google_crc32c

_CHUNK = 4 << 20  # bytes that are read at once to be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """What a store says of one object. ``identity`` changes whenever the content does."""

    uri: str
    size: int
    identity: str


class Store(Protocol):
    """Objects by URI. Every method raises ``OSError`` (``FileNotFoundError`` where nothing is) from its cause."""

    def list(self, prefix: str) -> Iterator[Stat]:
        """Objects below the directory ``prefix``, in the order of their URIs."""
        ...

    def stat(self, uri: str) -> Stat | None:
        """One object, or None where there is none. A directory is not an object."""
        ...

    def is_directory(self, uri: str) -> bool:
        """Whether ``uri`` is a prefix that can be listed."""
        ...

    def open(self, uri: str, *, sparse: bool = False) -> BinaryIO:
        """A seekable stream over one object's bytes; ``sparse`` says that only few places of it are read."""
        ...

    def create(self, uri: str) -> "Sink":
        """A stream whose bytes appear under ``uri`` whole when it is published, or never."""
        ...

    def swap(self, uri: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace a small object by what ``change`` makes of it, and no other writer comes in between.

        Args:
          uri: of the object.
          change: takes its bytes, None where there is none, and gives the new ones, None for none. What it raises
            leaves the object as it was. It may be called again, where another writer was faster.
        """
        ...

    def delete(self, uri: str) -> None:
        """Remove an object; one that is already gone is no error."""
        ...

    def sweep(self, prefix: str, before: float) -> None:
        """Remove what writers that were killed left below a directory, untouched since ``before`` (epoch seconds)."""
        ...


class Sink(RawIOBase):
    """Bytes on their way to a store: nothing is visible before ``publish``, and nothing is left after ``abort``.

    As a context manager it finishes at the end of the block and aborts when the block raises. ``close`` alone does
    not publish, so a library that closes what it writes to (or a garbage collector) cannot make a partial object.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.size = 0  # bytes written so far
        self._crc = 0

    @property
    def crc32c(self) -> str:
        """Checksum of the bytes written so far, as eight hexadecimal digits."""
        return f"{self._crc:08x}"

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self._put(view)
        self._crc = google_crc32c.extend(self._crc, bytes(view))
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def _put(self, view: memoryview) -> None:
        raise NotImplementedError

    def publish(self) -> None:
        """Make the object visible under its name, replacing what was there."""
        raise NotImplementedError

    def abort(self) -> None:
        """Drop what was written. Called twice, or after ``publish``, it does nothing."""
        raise NotImplementedError

    def __enter__(self) -> "Sink":
        return self

    def finish(self) -> None:
        """Prove that the store holds what was written, and publish."""
        try:
            self.prove()
        except BaseException:
            self.abort()
            raise
        self.publish()

    def prove(self) -> None:
        """Read back what the store holds, before it is visible: one that cuts or spoils what it is given is found out.

        Not afterwards, when a twin of this writer, with other times in its receipt, may have replaced it.

        Raises:
          OSError: EIO, where it is not what was written.
        """
        with self.written() as file:
            if (self.size, self.crc32c) == measured(file):
                return
        raise OSError(errno.EIO, "reads back as other bytes than were written", self.uri)

    def written(self) -> BinaryIO:
        """A stream over what the store holds of the bytes that were written."""
        raise NotImplementedError

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.abort()


def measured(file: BinaryIO) -> tuple[int, str]:
    """Bytes that are left in a stream, and their CRC-32C as eight hexadecimal digits."""
    size = crc = 0
    while chunk := file.read(_CHUNK):
        size, crc = size + len(chunk), google_crc32c.extend(crc, chunk)
    return size, f"{crc:08x}"


def join(base: str, *parts: str) -> str:
    """Names below a URI, with forward slashes. Parts are made by the job, never taken from data."""
    return "/".join([base.rstrip("/"), *parts])
