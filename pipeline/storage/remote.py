"""What stores of objects over a network have in common: a write is one conditional request that knows itself again."""

import errno
import io
import os
import random
import tempfile
import threading
import time
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import BinaryIO, Generic, TypeVar

import google_crc32c

from pipeline.storage.ahead import MOST, ObjectFile, read_whole
from pipeline.storage.base import Sink, Stat, Store

T = TypeVar("T")

_IN_MEMORY = 8 << 20  # bytes of an object on its way out that are held in memory; more wait on the worker's disk
_ROUNDS = 16  # tries against other writers of the same object
_TURN, _LONGEST = 0.05, 3.0  # seconds before the next one: at most so many after the first, and after the last


class ConflictError(OSError):
    """A precondition failed: another writer was there, or an earlier try whose answer was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a store says of one object.

    version: changes with every write; preconditions name it.
    crc32c: of its bytes, as eight hexadecimal digits; "" where the store does not know it.
    attempt: id of the write that made it; "" for one that another program made.
    """

    size: int
    version: str
    crc32c: str = ""
    attempt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An object on its way out: ``size`` bytes of ``file`` from its beginning, and by what it is known again."""

    file: BinaryIO
    size: int
    crc32c: str
    attempt: str

    def is_at(self, head: Head) -> bool:
        """Whether the object that a store has is this one, by this write or by another of the same bytes."""
        return head.attempt == self.attempt or (head.size, head.crc32c) == (self.size, self.crc32c)


class PerProcess(Generic[T]):
    """Something that is made when it is first asked for, and again in a fork: connections cannot be shared with it."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._lock, self._made = make, threading.Lock(), dict[int, T]()

    def __call__(self) -> T:
        with self._lock:
            process = os.getpid()
            if process not in self._made:
                self._made[process] = self._make()
            return self._made[process]


class RemoteStore(Store):
    """A store as five requests.

    Each of them is persisted with by the store (``pipeline.storage.tries``), and raises ``OSError``: FileNotFoundError,
    PermissionError, ConflictError, or what else went wrong, with the URI and what to do.
    """

    @abstractmethod
    def pages(self, uri: str, most: int | None = None) -> Iterator[Stat]:
        """Objects whose URIs begin with ``uri``, in their order, page by page; ``most`` of them."""

    @abstractmethod
    def head(self, uri: str) -> Head | None:
        """One object, None where there is none."""

    def begin(self, uri: str, most: int) -> tuple[Head, bytes] | None:
        """One object and up to ``most`` of its first bytes, where both are one request; None where there is none."""
        del most
        head = self.head(uri)
        return None if head is None else (head, b"")

    @abstractmethod
    def fetch(self, uri: str, start: int, stop: int, version: str) -> bytes:
        """Bytes ``start`` to ``stop`` of one version of an object: all of them."""

    @abstractmethod
    def send(self, uri: str, upload: Upload, version: str | None) -> None:
        """Make an object, in place of ``version``, or where there is none.

        The store compares what it got with the checksum, and makes no object of other bytes.

        Raises:
          ConflictError: there is another version.
        """

    @abstractmethod
    def remove(self, uri: str, version: str | None) -> None:
        """Remove one version of an object, or whatever there is; one that is gone is no error.

        Raises:
          ConflictError: there is another version, where the store can tell.
        """

    def list(self, prefix: str) -> Iterator[Stat]:
        return (stat for stat in self.pages(prefix.rstrip("/") + "/") if not stat.uri.endswith("/"))

    def stat(self, uri: str) -> Stat | None:
        head = self.head(uri) if split(uri)[1] else None
        return None if head is None else Stat(uri=uri, size=head.size, identity=head.version)

    def is_directory(self, uri: str) -> bool:
        try:
            return next(self.pages(uri.rstrip("/") + "/", most=1), None) is not None
        except FileNotFoundError:  # there is no such bucket
            return False

    def open(self, uri: str, *, sparse: bool = False) -> BinaryIO:
        if (begun := self._opened(uri, sparse=sparse)) is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", uri)
        head, start = begun
        file = ObjectFile(uri, head.size, self._fetch(uri, head), head.crc32c, start=start, sparse=sparse)
        return BufferedReader(file, 1 << 16)

    def create(self, uri: str) -> Sink:
        return RemoteSink(self, uri)

    def replace(self, uri: str, upload: Upload) -> None:
        """Make an object, in place of whatever is there.

        Raises:
          OSError: EBUSY, where others write it again and again.
        """
        head = self.head(uri) if upload.size > _IN_MEMORY else None  # a conflict that is there already costs no upload
        for number in range(_ROUNDS):
            if head is not None and upload.is_at(head):
                return None
            try:
                return self.send(uri, upload, head.version if head else None)
            except ConflictError:
                _give_way(number)
            head = self.head(uri)
        raise _busy(uri)

    def swap(self, uri: str, change: Callable[[bytes | None], bytes | None]) -> None:
        for number in range(_ROUNDS):
            try:
                return self._swap(uri, change)
            except ConflictError:
                _give_way(number)
        raise _busy(uri)

    def delete(self, uri: str) -> None:
        self.remove(uri, None)

    def sweep(self, prefix: str, before: float) -> None:
        """Nothing: an upload that did not end is no object, and takes no space."""

    def _swap(self, uri: str, change: Callable[[bytes | None], bytes | None]) -> None:
        version, data = self._now(uri)
        if (after := change(data)) == data:
            return
        if after is None:
            self.remove(uri, version)
            return
        upload = Upload(file=io.BytesIO(after), size=len(after), crc32c=_crc32c(after), attempt=_attempt())
        try:
            self.send(uri, upload, version)
        except ConflictError:
            now = self.head(uri)
            if now is None or now.attempt != upload.attempt:
                raise

    def _now(self, uri: str) -> tuple[str | None, bytes | None]:
        """Version and bytes of a small object; None where there is none."""
        if (begun := self._opened(uri, sparse=False)) is None:
            return None, None
        head, start = begun
        try:
            return head.version, read_whole(uri, head.size, self._fetch(uri, head), head.crc32c, start)
        except FileNotFoundError as error:
            raise ConflictError(errno.ESTALE, "was replaced while it was read", uri) from error

    def _opened(self, uri: str, *, sparse: bool) -> tuple[Head, bytes] | None:
        if not split(uri)[1]:
            return None
        if not sparse:
            return self.begin(uri, MOST)
        head = self.head(uri)
        return None if head is None else (head, b"")

    def _fetch(self, uri: str, head: Head) -> Callable[[int, int], bytes]:
        return lambda start, stop: self.fetch(uri, start, stop, head.version)


class RemoteSink(Sink):
    """Bytes that wait here until all of them are known: one request with their checksum then makes the object."""

    def __init__(self, store: RemoteStore, uri: str) -> None:
        super().__init__(uri)
        self._store = store
        self._spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 (closed by publish and abort)

    def _put(self, view: memoryview) -> None:
        self._spool.write(view)

    def publish(self) -> None:
        if self._spool.closed:
            return
        try:
            upload = Upload(file=self._spool, size=self.size, crc32c=self.crc32c, attempt=_attempt())  # type: ignore[arg-type]
            self._store.replace(self.uri, upload)
        finally:
            self._spool.close()

    def prove(self) -> None:
        """Nothing is left to do: the store compared what it got with the checksum."""

    def abort(self) -> None:
        self._spool.close()


def split(uri: str) -> tuple[str, str]:
    """Bucket and name of an object."""
    bucket, _, name = uri.partition("://")[2].partition("/")
    return bucket, name


def _give_way(number: int) -> None:
    """Wait after a round that another writer won: longer each time, and out of step."""
    time.sleep(random.uniform(0, min(_LONGEST, _TURN * 2.0**number)))


def _busy(uri: str) -> OSError:
    return OSError(errno.EBUSY, "other writers replace it all the time; stop them, or run the job again", uri)


def _attempt() -> str:
    return uuid.uuid4().hex


def _crc32c(data: bytes) -> str:
    return f"{google_crc32c.value(data):08x}"
