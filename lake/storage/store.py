"""The interface of a store, and the base class of its output streams, which checksum what passes through."""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase
from typing import BinaryIO, Protocol

import google_crc32c

from lake.storage.guard import Guard

_CHUNK = 4 << 20  # bytes per read while measuring


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """What a store says about one object.

    Attributes:
      uri: of the object.
      size: bytes.
      identity: text that changes whenever the content does.
    """

    uri: str
    size: int
    identity: str


MISSING = "missing link target "  # beginning of the identity of a link whose target does not exist


def _anything(path: str) -> bool:  # noqa: ARG001
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """What is done with the symbolic links that a listing meets.

    Attributes:
      roots: real paths of directories. A link that leads out of all of them is not followed; None to follow every one.
      left: told of each link that is not followed: its path below the listed directory, with a slash at the end if it
        is one to a directory, and whether it leads back to a directory above it.
      followed: told the target of each link to a directory that is followed.
    """

    roots: Sequence[str] | None
    left: Callable[[str, bool], None]
    followed: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What of a directory is listed.

    Attributes:
      start: what the paths of the objects below the directory begin with.
      deep: whether objects below its subdirectories are meant too.
      enter: whether a subdirectory can hold what is meant, by its path below the directory. A store without directories
        does not ask.
      links: what is done with links. If it is None every link is followed but those that lead to nothing, or back to a
        directory above them. Else a link that leads to nothing is listed with an identity that begins with ``MISSING``.
    """

    start: str = ""
    deep: bool = True
    enter: Callable[[str], bool] = _anything
    links: Links | None = None


EVERYTHING = Listing()


class Store(Protocol):
    """Objects by URI. Every method raises ``OSError``, and ``FileNotFoundError`` for an object that does not exist."""

    def list(self, prefix: str, listing: Listing = EVERYTHING) -> Iterator[Stat]:
        """The objects under a directory, in the order of their URIs.

        Args:
          prefix: the directory.
          listing: which of them.
        """
        ...

    def stat(self, uri: str) -> Stat | None:
        """One object, or None if there is none. A directory is not an object."""
        ...

    def is_directory(self, uri: str) -> bool:
        """Whether ``uri`` is a directory or prefix that can be listed."""
        ...

    def open(self, uri: str, *, sparse: bool = False) -> BinaryIO:
        """A seekable stream over an object's bytes.

        Args:
          uri: of the object.
          sparse: few places of it will be read, so little should be prefetched.
        """
        ...

    def create(self, uri: str, guard: Guard | None = None, *, durable: bool = True) -> "Sink":
        """An output stream. Its bytes become visible under ``uri`` as a whole when it is published, or never.

        Args:
          uri: of the object.
          guard: the right to publish it, which is looked at when it is; None if nobody else writes there.
          durable: whether it must survive a loss of power as soon as it is published. If not, a disk is not waited for:
            after a loss of power there may be nothing, or other bytes, under its name. An object store has no such
            state.
        """
        ...

    def swap(self, uri: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Atomically replace a small object by a function of its content.

        Args:
          uri: of the object.
          change: takes the current bytes (None if there is no object) and returns the new ones (None to remove it). If
            it raises, the object stays as it was. It may be called several times, if other writers interfere.
        """
        ...

    def delete(self, uri: str) -> None:
        """Remove an object; one that is gone already is no error."""
        ...

    def discard(self, found: Iterable[Stat], guard: Guard, *, by_name: bool = False) -> None:
        """Remove objects that were found, in batches. One that is gone, or was written again since, is no error.

        Args:
          found: the objects; may be a listing that goes on.
          guard: the right to remove them, which is looked at once a batch is known.
          by_name: whether nothing is lost with what may be written under the same names by a later holder of the right,
            should a request arrive that late. Such objects a store may remove without a condition, many by one request.

        Raises:
          HeldError: the right is lost; nothing more is removed.
        """
        ...

    def sweep(self, prefix: str, before: float, guard: Guard) -> None:
        """Remove what killed writers left under a directory.

        Args:
          prefix: the directory.
          before: only remove what was not touched since this time of the store's clock, in epoch seconds.
          guard: the right to remove it.

        Raises:
          HeldError: the right is lost; nothing more is removed.
        """
        ...

    def clock(self, uri: str) -> float:
        """The store's own time, in epoch seconds, on which all that use the store agree.

        Args:
          uri: of the object whose store it is.
        """
        ...


class Sink(RawIOBase):
    """A stream of bytes to a store. Nothing is visible before ``publish``, and nothing is left after ``abort``.

    As a context manager it verifies and publishes at the end of the block, or aborts if the block raises. ``close``
    does not publish, so that neither a library that closes its output nor a garbage collector can make a partial
    object.

    Args:
      uri: of the object.

    Attributes:
      uri: of the object.
      size: bytes written so far.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.size = 0
        self._crc = 0

    @property
    def crc32c(self) -> str:
        """CRC-32C of the bytes written so far, eight hexadecimal digits."""
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
        """Make the object visible under its name, replacing what was there.

        Raises:
          OSError: the store failed; nothing is left of the object.
          HeldError: the right to publish it is lost.
        """
        raise NotImplementedError

    def abort(self) -> None:
        """Discard what was written. Does nothing after ``publish`` or a first ``abort``."""
        raise NotImplementedError

    def __enter__(self) -> "Sink":
        return self

    def finish(self) -> None:
        """Verify that the store holds what was written, and publish it.

        Raises:
          OSError: the store failed or holds other bytes; nothing is published.
        """
        try:
            self.prove()
        except BaseException:
            self.abort()
            raise
        self.publish()

    def prove(self) -> None:
        """Read back what the store holds and compare it, to catch a store that truncates or corrupts what it is given.

        This happens before the object is visible. Afterwards another attempt at the same unit may have replaced it,
        with other times in its receipt.

        Raises:
          OSError: EIO, if the store holds other bytes than were written.
        """
        with self.written() as file:
            if (self.size, self.crc32c) == measured(file):
                return
        raise OSError(errno.EIO, "reads back as other bytes than were written", self.uri)

    def written(self) -> BinaryIO:
        """A stream over the bytes that the store holds so far."""
        raise NotImplementedError

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.abort()


def measured(file: BinaryIO) -> tuple[int, str]:
    """Size and checksum of the rest of a stream.

    Returns:
      Bytes, and their CRC-32C as eight hexadecimal digits.

    >>> from io import BytesIO
    >>> measured(BytesIO(b"123456789"))
    (9, 'e3069283')
    """
    size = crc = 0
    while chunk := file.read(_CHUNK):
        size, crc = size + len(chunk), google_crc32c.extend(crc, chunk)
    return size, f"{crc:08x}"


def join(base: str, *parts: str) -> str:
    """A URI with names appended, with forward slashes. The names are made by the job, never taken from data.

    >>> join("gs://bucket/out/", "latents", "part-0.parquet")
    'gs://bucket/out/latents/part-0.parquet'
    """
    return "/".join([base.rstrip("/"), *parts])
