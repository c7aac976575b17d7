"""A store that fails, stalls, cuts, spoils, or ends its process, at calls that are chosen."""

import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader, RawIOBase
from typing import Any, BinaryIO

from lake import storage
from lake.core import retry
from lake.storage import Guard, Sink, Stat, StoreOptions
from lake.storage.local import LocalStore
from lake.storage.options import DEFAULTS
from lake.storage.store import EVERYTHING, Listing
from pipeline.cli.command import main as run

SCHEME = "flaky"
READS = ("open", "read", "list", "stat")
WRITES = ("create", "write", "publish", "swap", "delete")
STALL = 0.02  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """What goes wrong, and when.

    what: ``fail`` (EIO instead of the call), ``late`` (EIO after it was done), ``stall``, ``cut`` (half of the bytes of
      a read or write, and no more), ``flip`` (one bit of them), ``kill`` (the process ends before the call), ``stop``
      (it stands still from then on), ``tell`` (nothing, but the call is written to stderr).
    calls: names of the calls that are counted, of ``READS`` and ``WRITES``.
    where: part of the URIs whose calls are counted.
    every: each so many-th of them goes wrong ...
    first: ... or this one alone.
    delay: seconds after which a process is stopped.
    """

    @classmethod
    def kill(cls, number: int) -> "Flaw":
        """The process ends before the so many-th call that writes."""
        return cls(what="kill", calls=WRITES, first=number)

    what: str
    calls: Sequence[str]
    where: str = ""
    every: int = 0
    first: int = 0
    delay: float = 0.0

    def meets(self, number: int) -> bool:
        """Whether the call of this number, counted from 1, goes wrong."""
        return number == self.first if self.first else number % self.every == 0


class FlakyStore:
    """The local disk, under ``flaky://`` and a path, with a flaw."""

    flaw: Flaw | None = None
    count = 0  # calls that the flaw counted
    _lock = threading.Lock()

    def __init__(self, options: StoreOptions = DEFAULTS) -> None:
        self._store = LocalStore(options)

    def list(self, prefix: str, listing: Listing = EVERYTHING) -> Iterator[Stat]:
        with _call("list", prefix):
            found = [*self._store.list(_path(prefix), listing)]
        return (_named(stat, prefix) for stat in found)

    def stat(self, uri: str) -> Stat | None:
        with _call("stat", uri):
            stat = self._store.stat(_path(uri))
        return stat and _named(stat, uri)

    def is_directory(self, uri: str) -> bool:
        return self._store.is_directory(_path(uri))

    def open(self, uri: str, *, sparse: bool = False) -> BinaryIO:
        with _call("open", uri):
            return BufferedReader(_FlakyFile(uri, self._store.open(_path(uri))), 1 << 13)

    def create(self, uri: str, guard: Guard | None = None, *, durable: bool = True) -> Sink:
        with _call("create", uri):
            return _FlakySink(uri, self._store.create(_path(uri), guard and _on_disk(guard), durable=durable))

    def swap(self, uri: str, change: Callable[[bytes | None], bytes | None]) -> None:
        with _call("swap", uri):
            self._store.swap(_path(uri), change)

    def delete(self, uri: str) -> None:
        with _call("delete", uri):
            self._store.delete(_path(uri))

    def discard(self, found: Iterable[Stat], guard: Guard, *, by_name: bool = False) -> None:
        for stat in found:
            with _call("delete", stat.uri):
                self._store.discard([replace(stat, uri=_path(stat.uri))], _on_disk(guard), by_name=by_name)

    def sweep(self, prefix: str, before: float, guard: Guard) -> None:
        self._store.sweep(_path(prefix), before, _on_disk(guard))

    def clock(self, uri: str) -> float:
        return self._store.clock(_path(uri))


class _FlakyFile(RawIOBase):
    def __init__(self, uri: str, file: BinaryIO) -> None:
        self._uri, self._file, self._cut = uri, file, False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        with _call("read", self._uri) as what:
            data = b"" if self._cut else self._file.read(len(buffer))
        self._cut |= what == "cut"
        data = _spoilt(data, what)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class _FlakySink(Sink):
    def __init__(self, uri: str, sink: Sink) -> None:
        super().__init__(uri)
        self._sink = sink

    def _put(self, view: memoryview) -> None:
        with _call("write", self.uri) as what:
            self._sink.write(_spoilt(bytes(view), what))

    def written(self) -> BinaryIO:
        return BufferedReader(_FlakyFile(self.uri, self._sink.written()), 1 << 13)

    def prove(self) -> None:
        try:
            super().prove()
        except FileNotFoundError:
            self._sink.prove()  # knows whose doing that is
            raise

    def publish(self) -> None:
        with _call("publish", self.uri):
            self._sink.publish()

    def abort(self) -> None:
        self._sink.abort()


@contextmanager
def flawed(flaw: Flaw | None) -> Iterator[type[FlakyStore]]:
    """In this block the store has the flaw."""
    FlakyStore.flaw, FlakyStore.count = flaw, 0
    try:
        yield FlakyStore
    finally:
        FlakyStore.flaw = None


def main(arguments: Sequence[str]) -> int:
    """``python -m pipeline`` over paths and ``flaky://`` with a flaw, which comes first, as JSON."""
    flaw, *command = arguments
    storage._STORES |= dict.fromkeys(("", SCHEME), (__name__, FlakyStore.__name__))
    storage._open.cache_clear()
    retry.TRANSIENT = replace(
        retry.TRANSIENT, first=0.01
    )  # there are many such runs, and their stores have no need of time
    with flawed(Flaw(**json.loads(flaw))) as store:
        status = run(command)
        print(f"calls {store.count}", file=sys.stderr)
    return status


@contextmanager
def _call(name: str, uri: str) -> Iterator[str]:
    """One call; gives what is to go wrong with its bytes. As with the system's own, errors of streams name no file."""
    what, at = _met(name, uri), None if name in ("read", "write") else uri
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "stop":
        _stand_still()
    if what == "tell":
        print(f"call {name} {uri}", file=sys.stderr)
    if what == "stall":
        time.sleep(STALL)
    if what == "fail":
        raise OSError(errno.EIO, os.strerror(errno.EIO), at)
    yield what
    if what == "late":
        raise OSError(errno.EIO, os.strerror(errno.EIO), at)


def _stand_still() -> None:
    delay = FlakyStore.flaw.delay if FlakyStore.flaw else 0.0
    if delay:  # wherever the process is by then
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGSTOP)).start()
    else:
        os.kill(os.getpid(), signal.SIGSTOP)


def _met(name: str, uri: str) -> str:
    flaw = FlakyStore.flaw
    if flaw is None or name not in flaw.calls or flaw.where not in uri:
        return ""
    with FlakyStore._lock:
        FlakyStore.count += 1
        return flaw.what if flaw.meets(FlakyStore.count) else ""


def _spoilt(data: bytes, what: str) -> bytes:
    if what == "cut":
        return data[: len(data) // 2]
    if what == "flip" and data:
        at = len(data) * 2 // 3
        return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]
    return data


def _path(uri: str) -> str:
    return uri.removeprefix(f"{SCHEME}://")


def _on_disk(guard: Guard) -> Guard:
    return replace(guard, lease=_path(guard.lease))


def _named(stat: Stat, uri: str) -> Stat:
    prefix = f"{SCHEME}://" if uri.startswith(f"{SCHEME}://") else ""
    return Stat(uri=prefix + stat.uri, size=stat.size, identity=stat.identity)
