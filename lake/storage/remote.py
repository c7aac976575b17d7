"""The base class of object stores over a network.

A write is one conditional request: it names the version that it replaces. It carries an attempt id, so a retry whose
first answer was lost recognises its own success.
"""

import errno
import io
import random
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BufferedReader
from typing import BinaryIO

import google_crc32c

from lake.storage.fencing import discard, is_written, write
from lake.storage.guard import Guard
from lake.storage.parallel_listing import list_objects
from lake.storage.per_process import PerProcess
from lake.storage.prefetch import MOST, ObjectFile, read_whole
from lake.storage.remote_object import PAGE, ConflictError, Head, ListedPage, Upload, attempt_id
from lake.storage.remote_sink import IN_MEMORY, RemoteSink
from lake.storage.store import EVERYTHING, Listing, Sink, Stat, Store
from lake.storage.store_clock import StoreClock

__all__ = ["PAGE", "ConflictError", "Head", "ListedPage", "PerProcess", "RemoteSink", "RemoteStore", "Upload", "split"]

_ROUNDS = 16  # attempts against concurrent writers of the same object
_TURN, _LONGEST = 0.05, 3.0  # longest pause in seconds after the first conflict, and after any


class RemoteStore(Store):
    """A store that is implemented by a few requests: page, head, fetch, send, copy, remove, and optionally begin.

    Each request is retried inside the store (``lake.storage.request_retry``). A request that fails for good raises an
    ``OSError`` with the URI and what to do: ``FileNotFoundError``, ``PermissionError``, ``ConflictError`` or another
    one.

    Attributes:
      dates: the store's clock, if the store's answers have dates.
      many: the most objects that ``remove_many`` takes; 1 for a store that has no such request.
    """

    dates: StoreClock | None = None
    many = 1

    @abstractmethod
    def page(self, uri: str, *, most: int = PAGE, deep: bool = True, after: str = "", token: str = "") -> ListedPage:
        """List objects whose URIs begin with a prefix: the next ones, in URI order.

        Args:
          uri: the prefix.
          most: the most objects to list.
          deep: also those with a slash after the prefix; if False, the answer has their directories instead.
          after: URI after which the listing begins; "" for its beginning.
          token: of the page before this one; then ``after`` is not looked at.
        """

    @abstractmethod
    def head(self, uri: str) -> Head | None:
        """The size, version and checksum of one object; None if there is none."""

    def begin(self, uri: str, most: int) -> tuple[Head, bytes] | None:
        """An object's head and its first bytes, if the store can give both in one request.

        Args:
          uri: of the object.
          most: the most bytes to give.

        Returns:
          The head and up to ``most`` bytes; None if there is no object.
        """
        del most
        head = self.head(uri)
        return None if head is None else (head, b"")

    @abstractmethod
    def fetch(self, uri: str, start: int, stop: int, version: str) -> bytes:
        """Exactly the bytes ``[start, stop)`` of one version of an object.

        Args:
          uri: of the object.
          start: first byte.
          stop: end, exclusive; at most the object's size.
          version: of the object, as ``head`` gave it.
        """

    @abstractmethod
    def send(self, uri: str, upload: Upload, version: str | None) -> None:
        """Write an object. The store verifies the checksum and makes no object of other bytes.

        Args:
          uri: of the object.
          upload: its bytes.
          version: the version that it replaces; None if there must be no object.

        Raises:
          ConflictError: the store holds another version.
        """

    @abstractmethod
    def copy(self, source: str, uri: str) -> None:
        """Copy an object within the store, with its metadata, replacing whatever is there.

        Args:
          source: URI of the object that is copied, in the same bucket.
          uri: of the object that is written.

        Raises:
          FileNotFoundError: there is no object to copy.
        """

    @abstractmethod
    def remove(self, uri: str, version: str | None) -> None:
        """Remove an object; one that is gone already is no error.

        Args:
          uri: of the object.
          version: the version to remove; None for any.

        Raises:
          ConflictError: the store holds another version, if it can tell.
        """

    def remove_many(self, uris: Sequence[str]) -> Sequence[str]:
        """Remove objects of one bucket by one request, whatever their versions.

        Args:
          uris: of the objects, at most ``many``.

        Returns:
          Those that may not be removed, for whatever reason: all of them on a server without such a request. When
          ``remove`` is asked for one of them, it removes it or says why not.
        """
        return uris

    def list(self, prefix: str, listing: Listing = EVERYTHING) -> Iterator[Stat]:
        # Web consoles create empty objects whose names end in a slash to show folders.
        found = list_objects(self.page, f"{prefix.rstrip('/')}/{listing.start}", deep=listing.deep)
        return (stat for stat in found if not stat.uri.endswith("/"))

    def stat(self, uri: str) -> Stat | None:
        head = self.head(uri) if split(uri)[1] else None
        return None if head is None else Stat(uri=uri, size=head.size, identity=head.version)

    def is_directory(self, uri: str) -> bool:
        try:
            page = self.page(uri.rstrip("/") + "/", most=1)
            while page.token and not page.stats:
                page = self.page(uri.rstrip("/") + "/", most=1, token=page.token)
            return bool(page.stats)
        except FileNotFoundError:  # there is no such bucket
            return False

    def open(self, uri: str, *, sparse: bool = False) -> BinaryIO:
        if (begun := self._opened(uri, sparse=sparse)) is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", uri)
        head, start = begun
        file = ObjectFile(uri, head.size, self._fetch(uri, head), head.crc32c, start=start, sparse=sparse)
        return BufferedReader(file, 1 << 16)

    def create(self, uri: str, guard: Guard | None = None, *, durable: bool = True) -> Sink:
        del durable  # what a store has accepted is durable
        return RemoteSink(self, uri, guard)

    def replace(self, uri: str, upload: Upload, guard: Guard | None = None) -> None:
        """Write an object, replacing whatever is there.

        Args:
          uri: of the object.
          upload: its bytes.
          guard: the right to write it; None if nobody else writes there.

        Raises:
          OSError: EBUSY, if other writers keep replacing it.
          HeldError: the right is lost.
        """
        # A large upload should not be sent in vain only to learn of a conflict, so it asks for the version first.
        head = self.head(uri) if upload.size > IN_MEMORY else None
        for number in range(_ROUNDS):
            if head is not None and is_written(upload, head, guard):
                return None
            try:
                return write(self, uri, upload, head, guard)
            except ConflictError:
                _back_off(number)
            head = self.head(uri)
        raise _busy(uri)

    def swap(self, uri: str, change: Callable[[bytes | None], bytes | None]) -> None:
        for number in range(_ROUNDS):
            try:
                return self._swap(uri, change)
            except ConflictError:
                _back_off(number)
        raise _busy(uri)

    def delete(self, uri: str) -> None:
        self.remove(uri, None)

    def discard(self, found: Iterable[Stat], guard: Guard, *, by_name: bool = False) -> None:
        discard(self, found, guard, by_name=by_name)

    def sweep(self, prefix: str, before: float, guard: Guard) -> None:
        """Do nothing: an upload that was not completed is no object and takes no space."""

    def clock(self, uri: str) -> float:
        if self.dates is None:
            return time.time()
        if not self.dates.heard:
            self.head(uri)
        return self.dates.now()

    def look(self, guard: Guard) -> None:
        """Read the lease of a guard.

        Raises:
          HeldError: the run has lost it.
        """
        for number in range(_ROUNDS):
            try:
                return guard.check(self._current(guard.lease)[1])
            except ConflictError:  # it was renewed while it was read
                _back_off(number)
        raise _busy(guard.lease)

    def _swap(self, uri: str, change: Callable[[bytes | None], bytes | None]) -> None:
        # Read, change, and write on condition that the version is still the one that was read.
        version, data = self._current(uri)
        if (after := change(data)) == data:
            return
        if after is None:
            self.remove(uri, version)
            return
        upload = Upload(file=io.BytesIO(after), size=len(after), crc32c=_crc32c(after), attempt=attempt_id())
        try:
            self.send(uri, upload, version)
        except ConflictError:
            # The attempt id tells this write's own success, whose answer was lost, from another writer's.
            now = self.head(uri)
            if now is None or now.attempt != upload.attempt:
                raise

    def _current(self, uri: str) -> tuple[str | None, bytes | None]:
        """Version and bytes of a small object; (None, None) if there is none."""
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


def split(uri: str) -> tuple[str, str]:
    """Bucket and object name of a URI.

    >>> split("gs://bucket/a/b.parquet")
    ('bucket', 'a/b.parquet')
    """
    bucket, _, name = uri.partition("://")[2].partition("/")
    return bucket, name


def _back_off(number: int) -> None:
    """Wait after losing a round to another writer: longer each time, at random so that writers fall out of step."""
    time.sleep(random.uniform(0, min(_LONGEST, _TURN * 2.0**number)))


def _busy(uri: str) -> OSError:
    return OSError(errno.EBUSY, "other writers replace it all the time; stop them, or run the job again", uri)


def _crc32c(data: bytes) -> str:
    return f"{google_crc32c.value(data):08x}"
