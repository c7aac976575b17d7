"""What a store does with one request, at the instant at which it executes it.

Contents are small tuples instead of bytes: ``("data", "m1")`` is what model 1 makes of a unit.
"""

from collections.abc import Hashable
from enum import StrEnum
from typing import Any, NamedTuple

LEASE = "_hold"


class Kind(StrEnum):
    """Kinds of stores. They differ in what a version is, and in what a condition is asked for."""

    DISK = "disk"  # a process looks at the lease and renames under one lock, so a system call is never late
    GS = "gs"  # a version is a generation: no two writes of a name have the same
    S3 = "s3"  # a version is a hash of the content: the same bytes have the same one
    MINIO = "minio"  # as S3, but a delete takes no notice of its condition


class Verb(StrEnum):
    """Requests. The last four are those of a disk, each of which is one step under the lock of the lease."""

    GET = "get"
    LIST = "list"
    PUT = "put"
    COPY = "copy"
    DELETE = "delete"
    TAKE = "take"
    RELEASE = "release"
    PUBLISH = "publish"
    REMOVE = "remove"


READS = (Verb.GET, Verb.LIST)


class Answer(StrEnum):
    """Answers of requests that read nothing."""

    OK = "ok"
    CONFLICT = "412"
    MISSING = "404"
    LOST = "the lease is another run's"
    TIMEOUT = "no answer"  # the client gave up; the store may execute the request at any later time


class When(StrEnum):
    """Conditions that name no version."""

    ALWAYS = "always"
    ABSENT = "if absent"


class Object(NamedTuple):
    """An object: its content, the run whose attempt made it, and how often its name has been written."""

    content: Any
    run: str
    writes: int = 0


class Request(NamedTuple):
    """One request of a client."""

    verb: Verb
    name: str
    content: Hashable = None
    run: str = ""
    when: Hashable = When.ALWAYS
    source: str = ""

    def __str__(self) -> str:
        parts = [str(self.verb).upper(), self.name, *([str(self.content)] if self.content is not None else [])]
        parts += [f"from {self.source}"] if self.source else []
        parts += [f"[{self.when}]"] if self.when is not When.ALWAYS else []
        return " ".join(parts)


Objects = dict[str, Object]


def version(kind: Kind, found: Object) -> Hashable:
    """What a condition names."""
    return found.writes if kind is Kind.GS else found.content


def get(objects: Objects, name: str) -> Object | None:
    """The object of a name. On gs a deleted one is kept without content, for the count of its name's writes."""
    found = objects.get(name)
    return None if found is None or found.content is None else found


def execute(kind: Kind, objects: Objects, request: Request) -> tuple[Objects, Any]:
    """The store after a request, and its answer."""
    match request.verb:
        case Verb.GET:
            return objects, get(objects, request.name)
        case Verb.LIST:
            names = sorted(name for name in objects if name.startswith(request.name) and get(objects, name))
            return objects, tuple((name, version(kind, objects[name])) for name in names)
        case Verb.PUT:
            if not _holds(kind, objects, request):
                return objects, Answer.CONFLICT
            return _write(kind, objects, request.name, request.content, request.run), Answer.OK
        case Verb.COPY:
            if (source := get(objects, request.source)) is None:
                return objects, Answer.MISSING
            return _write(kind, objects, request.name, source.content, source.run), Answer.OK
        case Verb.DELETE:
            if get(objects, request.name) and kind is not Kind.MINIO and not _holds(kind, objects, request):
                return objects, Answer.CONFLICT
            return _remove(kind, objects, request.name), Answer.OK
        case Verb.TAKE:
            return _write(kind, objects, LEASE, request.content, request.run), get(objects, LEASE)
    return _locked(kind, objects, request)


def _locked(kind: Kind, objects: Objects, request: Request) -> tuple[Objects, Any]:
    """What a disk does under the lock of the lease, once it has found the lease to be this run's."""
    lease = get(objects, LEASE)
    if request.when is not When.ALWAYS and (lease is None or lease.run != request.run):
        return objects, Answer.LOST
    match request.verb:
        case Verb.RELEASE:
            return _remove(kind, objects, LEASE), Answer.OK
        case Verb.REMOVE:
            return _remove(kind, objects, request.name), Answer.OK
    return _write(kind, objects, request.name, request.content, request.run), Answer.OK


def _holds(kind: Kind, objects: Objects, request: Request) -> bool:
    found = get(objects, request.name)
    if request.when is When.ALWAYS:
        return True
    if request.when is When.ABSENT:
        return found is None
    return found is not None and version(kind, found) == request.when


def _write(kind: Kind, objects: Objects, name: str, content: Hashable, run: str) -> Objects:
    # Where no condition names a generation, counting would only tell equal states apart.
    before = objects[name].writes if kind is Kind.GS and name in objects else 0
    return {**objects, name: Object(content, run, before + 1 if kind is Kind.GS else 0)}


def _remove(kind: Kind, objects: Objects, name: str) -> Objects:
    kept = {other: found for other, found in objects.items() if other != name}
    if kind is Kind.GS and name in objects:
        kept[name] = Object(None, "", objects[name].writes)
    return kept
