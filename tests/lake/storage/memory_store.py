"""A store of objects in memory: the five requests of ``RemoteStore``, and faults that a function injects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import google_crc32c

from lake.storage.remote import PAGE, ConflictError, Head, ListedPage, RemoteStore, Upload
from lake.storage.store import Stat

Fault = Callable[[str, str], None]


def crc32c(data: bytes) -> str:
    return f"{google_crc32c.value(data):08x}"


def nothing(request: str, uri: str) -> None:
    """No fault."""


@dataclass
class Object:
    """One version of an object."""

    data: bytes
    version: str
    attempt: str

    @property
    def head(self) -> Head:
        return Head(size=len(self.data), version=self.version, crc32c=crc32c(self.data), attempt=self.attempt)


class MemoryStore(RemoteStore):
    """Objects by URI.

    before, after: called around each request with its name and URI, after it when it is done; what they raise is its
      answer.
    many: the most objects that one request removes; it leaves those in ``kept``.
    """

    def __init__(self, before: Fault = nothing, after: Fault = nothing) -> None:
        self.objects: dict[str, Object] = {}
        self.requests: list[tuple[str, str]] = []
        self.before, self.after = before, after
        self.kept: set[str] = set()
        self._versions = 0

    def write(self, uri: str, data: bytes, attempt: str = "") -> None:
        """As another program does: on no condition, and no request of this store."""
        self._versions += 1
        self.objects[uri] = Object(data, f"v{self._versions}", attempt)

    def data(self, uri: str) -> bytes | None:
        return self.objects[uri].data if uri in self.objects else None

    def count(self, request: str) -> int:
        """How often it was made."""
        return sum(name == request for name, _ in self.requests)

    def page(self, uri: str, *, most: int = PAGE, deep: bool = True, after: str = "", token: str = "") -> ListedPage:
        self._begin("page", uri)
        found = sorted(name for name in self.objects if name.startswith(uri) and name > (token or after))
        # What is in a directory counts as one name.
        level_of = str if deep else lambda name: uri + level(name[len(uri) :])
        names = [*dict.fromkeys(map(level_of, found))]
        self.after("page", uri)
        chosen = names[:most]
        stats = [self._stat(name) for name in chosen if name in self.objects]
        token = "" if len(names) <= most else max(name for name in found if level_of(name) == chosen[-1])
        return ListedPage(stats=stats, token=token, directories=[name for name in chosen if name not in self.objects])

    def head(self, uri: str) -> Head | None:
        self._begin("head", uri)
        found = self.objects.get(uri)
        self.after("head", uri)
        return None if found is None else found.head

    def fetch(self, uri: str, start: int, stop: int, version: str) -> bytes:
        self._begin("fetch", uri)
        if uri not in self.objects or self.objects[uri].version != version:
            raise FileNotFoundError(uri)
        self.after("fetch", uri)
        return self.objects[uri].data[start:stop]

    def send(self, uri: str, upload: Upload, version: str | None) -> None:
        self._begin("send", uri)
        self._require(uri, version)
        upload.file.seek(0)
        data = upload.file.read(upload.size)
        assert (len(data), crc32c(data)) == (upload.size, upload.crc32c), "a store refuses other bytes"
        self.write(uri, data, upload.attempt)
        self.after("send", uri)

    def copy(self, source: str, uri: str) -> None:
        self._begin("copy", uri)
        if source not in self.objects:
            raise FileNotFoundError(source)
        found = self.objects[source]
        self.write(uri, found.data, found.attempt)
        self.after("copy", uri)

    def remove(self, uri: str, version: str | None) -> None:
        self._begin("remove", uri)
        if version is not None:
            self._require(uri, version)
        self.objects.pop(uri, None)
        self.after("remove", uri)

    def remove_many(self, uris: Sequence[str]) -> Sequence[str]:
        assert 0 < len(uris) <= self.many
        self._begin("remove_many", uris[0])
        for uri in uris:
            if uri not in self.kept:
                self.objects.pop(uri, None)
        self.after("remove_many", uris[0])
        return [uri for uri in uris if uri in self.kept]

    def _stat(self, uri: str) -> Stat:
        found = self.objects[uri]
        return Stat(uri=uri, size=len(found.data), identity=found.version)

    def _begin(self, request: str, uri: str) -> None:
        self.requests.append((request, uri))
        self.before(request, uri)

    def _require(self, uri: str, version: str | None) -> None:
        now = self.objects.get(uri)
        if (None if now is None else now.version) != version:
            raise ConflictError(uri)


def level(path: str) -> str:
    """A name, or the directory that it is in, with its slash."""
    name, slash, _ = path.partition("/")
    return name + slash


class Once:
    """A fault that occurs so many times with one request: it raises, or does something first and goes on."""

    def __init__(self, request: str, act: Callable[[], object] | BaseException, times: int = 1) -> None:
        self.request, self.act, self.left = request, act, times

    def __call__(self, request: str, uri: str) -> None:
        if request != self.request or self.left <= 0:
            return
        self.left -= 1
        if isinstance(self.act, BaseException):
            raise self.act
        self.act()
