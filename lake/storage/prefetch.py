"""A seekable file over a remote object: prefetched in growing spans, and compared with the store's checksum."""

import errno
import io
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from io import RawIOBase
from itertools import pairwise
from typing import Any

import google_crc32c

from lake.core.counters import RETRIES, TALLY

WHOLE = 32 << 20  # objects of at most this many bytes are fetched and verified before their first byte is given
_FIRST, MOST = 64 << 10, 8 << 20  # bytes of one fetch: the first after a seek, and the most for sequential reads
_GROWTH = 4  # factor by which fetches of a sequential reader grow
_AHEAD = 3  # spans that are prefetched for a sequential reader
_PLACES = 4  # read positions that are followed at once; a Parquet reader has one for each column
_THREADS = 16  # concurrent fetches of the process
_TIMES = 3  # attempts at bytes that match the checksum

Fetch = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class _Span:
    """Bytes ``[start, stop)`` of an object, possibly still being fetched."""

    start: int
    stop: int
    data: "Future[bytes]"


class ObjectFile(RawIOBase):
    r"""A seekable read-only stream over one object.

    A sequential reader is served from ever larger spans that are prefetched. After a seek a small span is fetched at
    the new place. Four places are followed at once, as when the columns of a Parquet file are read.

    The bytes are compared with the store's checksum as far as that is possible. An object of at most ``WHOLE`` bytes is
    fetched and verified before its first byte is given. A larger one is verified before its last byte is given, if it
    is read from beginning to end. A large object that is read in places is not verified.

    Args:
      uri: of the object, for errors.
      size: of the object, in bytes.
      fetch: returns exactly the bytes ``[start, stop)``; called from several threads.
      crc32c: CRC-32C of the object, eight hexadecimal digits; "" if the store does not know it.
      start: the object's first bytes, if they are known already.
      sparse: few places will be read, so that not even a small object is fetched whole.

    Raises:
      OSError: while reading: EIO if the bytes do not match the checksum, else what ``fetch`` raises.

    >>> data = bytes(range(10))
    >>> file = ObjectFile("gs://b/x", len(data), lambda start, stop: data[start:stop], "")
    >>> file.seek(-2, io.SEEK_END), file.read()
    (8, b'\x08\t')
    """

    def __init__(
        self, uri: str, size: int, fetch: Fetch, crc32c: str, *, start: bytes = b"", sparse: bool = False
    ) -> None:
        self.name = uri
        self._size, self._fetch, self._wanted, self._start, self._sparse = size, fetch, crc32c, start, sparse
        self._at = self._checked = self._crc = 0
        self._tracks: list[_Track] = []  # most recently read first

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "a position before the beginning", self.name)
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if self._at >= self._size or not len(view):
            return 0
        span = self._span(len(view))
        self._check(span)  # before any of its bytes are given
        part = memoryview(span.data.result())[self._at - span.start :][: len(view)]
        view[: len(part)] = part
        self._at += len(part)
        TALLY.add(bytes_read=len(part))
        return len(part)

    def close(self) -> None:
        for track in self._tracks:
            track.drop()
        self._tracks.clear()
        super().close()

    def _span(self, wanted: int) -> _Span:
        track = next((track for track in self._tracks if track.follows(self._at)), None)
        if track is None:
            track = self._track(wanted)
        else:
            self._tracks.remove(track)
        self._tracks.insert(0, track)
        # The least recently read places are given up.
        for forgotten in self._tracks[_PLACES:]:
            forgotten.drop()
        del self._tracks[_PLACES:]
        return track.span(self._at, wanted)

    def _track(self, wanted: int) -> "_Track":
        """A track for a new read position, with the prefetching that suits how the reader came there."""
        # A small object is fetched whole. A reader at the beginning is likely to read on; elsewhere it may jump again.
        if self._size <= WHOLE and not self._sparse:
            whole = read_whole(self.name, self._size, self._fetch, self._wanted, self._take_start())
            self._checked = self._size
            return _Track(self._fetch, self._size, 0, _known_start(whole), width=MOST)
        if self._at < len(self._start):
            return _Track(self._fetch, self._size, 0, _known_start(self._take_start()), width=MOST, ahead=_AHEAD)
        if self._at == 0 and not self._sparse:
            return _Track(self._fetch, self._size, 0, width=MOST, ahead=_AHEAD)
        return _Track(self._fetch, self._size, self._at, width=min(MOST, max(_FIRST, wanted)))

    def _take_start(self) -> bytes:
        start, self._start = self._start, b""
        return start

    def _check(self, span: _Span) -> None:
        """Extend the running checksum if the span follows the bytes that were checked, and compare it at the end."""
        # After a seek the spans no longer join up, and the checksum of the whole cannot be computed.
        if span.start != self._checked:
            return
        self._crc = google_crc32c.extend(self._crc, span.data.result())
        self._checked = span.stop
        if span.stop == self._size and self._wanted not in ("", f"{self._crc:08x}"):
            raise _checksum_error(self.name)


class _Track:
    """A read position of an object and the spans from there on."""

    def __init__(self, fetch: Fetch, size: int, at: int, *spans: _Span, width: int, ahead: int = 0) -> None:
        self._fetch, self._size, self._next = fetch, size, spans[-1].stop if spans else at
        self._spans = deque(spans)
        self._width, self._ahead = width, ahead

    def follows(self, at: int) -> bool:
        """Whether the byte is in a span, or is the next one to fetch."""
        return (self._spans[0].start if self._spans else self._next) <= at <= self._next

    def span(self, at: int, wanted: int) -> _Span:
        """The span with the byte ``at``. Spans before it are dropped, and spans after it are prefetched."""
        while self._spans and self._spans[0].stop <= at:
            self._spans.popleft()
            if not self._spans and not self._ahead:  # the reader went on sequentially
                self._width, self._ahead = min(MOST, self._width * _GROWTH), _AHEAD
        # Enough spans for the bytes that are wanted now, so that they are fetched at the same time.
        spans = 1 + min(_AHEAD, max(self._ahead, -(-wanted // self._width) - 1))
        while len(self._spans) < spans and self._next < self._size:
            self._extend()
        return self._spans[0]

    def drop(self) -> None:
        """Cancel the fetches that have not started."""
        for span in self._spans:
            span.data.cancel()

    def _extend(self) -> None:
        stop = min(self._next + self._width, self._size)
        self._spans.append(_Span(self._next, stop, _pool(os.getpid()).submit(self._fetch, self._next, stop)))
        self._next = stop
        if self._ahead:
            self._width = min(MOST, self._width * _GROWTH)


def read_whole(uri: str, size: int, fetch: Fetch, crc32c: str, start: bytes) -> bytes:
    """Fetch a whole object in parts, in parallel, and verify its checksum.

    Args:
      uri: of the object, for errors.
      size: of the object, in bytes.
      fetch: returns exactly the bytes ``[start, stop)``; called from several threads.
      crc32c: CRC-32C of the object, eight hexadecimal digits; "" if the store does not know it.
      start: the object's first bytes, if they are known already.

    Raises:
      OSError: EIO, if the bytes do not match the checksum three times in a row; else what ``fetch`` raises.
    """
    for _ in range(_TIMES):
        edges = [*range(len(start), size, MOST), size]
        parts = [_pool(os.getpid()).submit(fetch, *edge) for edge in pairwise(edges)]
        data = b"".join([start, *(part.result() for part in parts)])
        if crc32c in ("", f"{google_crc32c.value(data):08x}"):
            return data
        start = b""  # may be the part that is wrong
        RETRIES.add()
    raise _checksum_error(uri)


def _known_start(data: bytes) -> _Span:
    """A span of an object's first bytes, which are known already."""
    span: Future[bytes] = Future()
    span.set_result(data)
    return _Span(0, len(data), span)


def _checksum_error(uri: str) -> OSError:
    return OSError(errno.EIO, "its bytes are not those of its checksum; check the network, and run the job again", uri)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The thread pool of one process. A forked process has none of its parent's threads, so it needs its own."""
    del process
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="fetch")
