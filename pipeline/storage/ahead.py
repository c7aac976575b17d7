"""An object of a store over a network as a file: its bytes are fetched ahead of the reader, and checked."""

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

from pipeline.progress import TALLY
from pipeline.storage.tries import RETRIES

WHOLE = 32 << 20  # bytes of an object that is fetched and checked whole before its first byte is given
_FIRST, MOST = 64 << 10, 8 << 20  # bytes of one fetch: few where a reader jumps, more as it goes on
_GROWTH = 4
_AHEAD = 3  # fetches that run while a reader that goes on is busy
_PLACES = 4  # that are followed at once
_THREADS = 16  # of the process
_TIMES = 3  # that bytes which are not those of the checksum are fetched

Fetch = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class _Span:
    """Bytes ``start`` to ``stop`` of an object, on their way."""

    start: int
    stop: int
    data: "Future[bytes]"


class ObjectFile(RawIOBase):
    """A seekable stream over one object.

    A reader that goes on where it was is met by ever larger spans that are fetched ahead; one that jumps costs a small
    fetch at each place. A few places are followed at once, as the columns of a Parquet file are. An object that is
    small is fetched whole and compared with the store's checksum before its first byte is given, one that is read from
    its beginning to its end before its last; a large one that is read in places is not compared.

    Args:
      uri: of the object, for errors.
      size: of the object, in bytes.
      fetch: gives bytes ``start`` to ``stop``, all of them; called from threads.
      crc32c: of the object, as eight hexadecimal digits; "" where the store does not know it.
      start: its first bytes, where they are there already.
      sparse: only few places are read, so not even a small object is fetched whole.
    """

    def __init__(
        self, uri: str, size: int, fetch: Fetch, crc32c: str, *, start: bytes = b"", sparse: bool = False
    ) -> None:
        self.name = uri
        self._size, self._fetch, self._wanted, self._start, self._sparse = size, fetch, crc32c, start, sparse
        self._at = self._checked = self._crc = 0
        self._tracks: list[_Track] = []  # the one that was read last comes first

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
        self._check(span)
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
        for forgotten in self._tracks[_PLACES:]:
            forgotten.drop()
        del self._tracks[_PLACES:]
        return track.span(self._at, wanted)

    def _track(self, wanted: int) -> "_Track":
        """How a reader that came here will go on."""
        if self._size <= WHOLE and not self._sparse:
            whole = read_whole(self.name, self._size, self._fetch, self._wanted, self._take_start())
            self._checked = self._size
            return _Track(self._fetch, self._size, 0, _there(whole), width=MOST)
        if self._at < len(self._start):
            return _Track(self._fetch, self._size, 0, _there(self._take_start()), width=MOST, ahead=_AHEAD)
        if self._at == 0 and not self._sparse:
            return _Track(self._fetch, self._size, 0, width=MOST, ahead=_AHEAD)
        return _Track(self._fetch, self._size, self._at, width=min(MOST, max(_FIRST, wanted)))

    def _take_start(self) -> bytes:
        start, self._start = self._start, b""
        return start

    def _check(self, span: _Span) -> None:
        """Go on with the checksum, where the span goes on with what was checked."""
        if span.start != self._checked:
            return
        self._crc = google_crc32c.extend(self._crc, span.data.result())
        self._checked = span.stop
        if span.stop == self._size and self._wanted not in ("", f"{self._crc:08x}"):
            raise _spoilt(self.name)


class _Track:
    """One place of an object that a reader follows: the spans from there on."""

    def __init__(self, fetch: Fetch, size: int, at: int, *spans: _Span, width: int, ahead: int = 0) -> None:
        self._fetch, self._size, self._next = fetch, size, spans[-1].stop if spans else at
        self._spans = deque(spans)
        self._width, self._ahead = width, ahead

    def follows(self, at: int) -> bool:
        """Whether the byte is on its way, or the next one to fetch."""
        return (self._spans[0].start if self._spans else self._next) <= at <= self._next

    def span(self, at: int, wanted: int) -> _Span:
        """The span with this byte; what lies before it is let go of, and what comes after it is fetched."""
        while self._spans and self._spans[0].stop <= at:
            self._spans.popleft()
            if not self._spans and not self._ahead:  # the reader goes on
                self._width, self._ahead = min(MOST, self._width * _GROWTH), _AHEAD
        spans = 1 + min(_AHEAD, max(self._ahead, -(-wanted // self._width) - 1))
        while len(self._spans) < spans and self._next < self._size:
            self._extend()
        return self._spans[0]

    def drop(self) -> None:
        """Fetch no more."""
        for span in self._spans:
            span.data.cancel()

    def _extend(self) -> None:
        stop = min(self._next + self._width, self._size)
        self._spans.append(_Span(self._next, stop, _pool(os.getpid()).submit(self._fetch, self._next, stop)))
        self._next = stop
        if self._ahead:
            self._width = min(MOST, self._width * _GROWTH)


def read_whole(uri: str, size: int, fetch: Fetch, crc32c: str, start: bytes) -> bytes:
    """All bytes of an object, in parts that are fetched at the same time; arguments as those of ``ObjectFile``.

    Raises:
      OSError: EIO, where they are again and again not those of the checksum.
    """
    for _ in range(_TIMES):
        edges = [*range(len(start), size, MOST), size]
        parts = [_pool(os.getpid()).submit(fetch, *edge) for edge in pairwise(edges)]
        data = b"".join([start, *(part.result() for part in parts)])
        if crc32c in ("", f"{google_crc32c.value(data):08x}"):
            return data
        start = b""
        RETRIES.add()
    raise _spoilt(uri)


def _there(data: bytes) -> _Span:
    """The first bytes of an object, which need not be fetched."""
    span: Future[bytes] = Future()
    span.set_result(data)
    return _Span(0, len(data), span)


def _spoilt(uri: str) -> OSError:
    return OSError(errno.EIO, "its bytes are not those of its checksum; check the network, and run the job again", uri)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Of this process: a fork has no threads of the one that it is from."""
    del process
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="fetch")
