"""Every request of ``gs://`` over a network and a server that fail: the right object, or an error that says why."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.cloud.storage import blob

from harness.servers.gcs_rules import kind
from harness.servers.gcs_server import GcsBucket, GcsServer
from harness.servers.proxy import Fault, always
from lake.core.counters import RETRIES
from lake.core.errors import UsageError
from lake.storage import (
    StoreOptions,
    configure,
    prefetch,
    put,
    remote,
    request_retry,
    store_for,
)
from lake.storage.gcs import resumable_upload
from lake.storage.gcs import store as gcs_store
from lake.storage.options import DEFAULTS
from lake.storage.request_retry import RequestBackoff

PART = 256 << 10  # what a multiple must be of
SIZES = ((gcs_store, "SINGLE", PART), (resumable_upload, "PART", PART), (prefetch, "WHOLE", 4 * PART))
SINGLE = gcs_store.SINGLE
SMALL = os.urandom(70_001)
LARGE = os.urandom(2 * PART + 77)
HUGE = os.urandom(5 * PART + 5)  # too large to be fetched whole
STALL = 0.5  # seconds that the client waits


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short pauses, and parts that are small."""
    monkeypatch.setattr(request_retry, "REQUESTS", RequestBackoff(first=0.01, most=0.05, deadline=20, stall=STALL))
    for module, name, size in (*SIZES, (prefetch, "MOST", PART), (remote, "MOST", PART), (remote, "IN_MEMORY", PART)):
        monkeypatch.setattr(module, name, size)
    RETRIES.take()
    yield
    configure(DEFAULTS)


def reads(data: bytes) -> Callable[[GcsBucket], None]:
    def call(gs: GcsBucket) -> None:
        with store_for(gs.uri).open(f"{gs.uri}/there/x") as file:
            assert file.read() == data

    return call


def writes(data: bytes) -> Callable[[GcsBucket], None]:
    def call(gs: GcsBucket) -> None:
        put(f"{gs.uri}/new", data)
        assert gs.get("new") == data

    return call


def lists(gs: GcsBucket) -> None:
    assert [stat.uri for stat in store_for(gs.uri).list(f"{gs.uri}/there")] == [f"{gs.uri}/there/x"]


def stats(gs: GcsBucket) -> None:
    stat = store_for(gs.uri).stat(f"{gs.uri}/there/x")
    assert stat is not None
    assert stat.identity == str(gs.generations()["there/x"])


def deletes(gs: GcsBucket) -> None:
    store_for(gs.uri).delete(f"{gs.uri}/there/x")
    assert gs.names() == []


def swaps(gs: GcsBucket) -> None:
    store_for(gs.uri).swap(f"{gs.uri}/there/x", lambda data: data and data[:5])
    assert gs.get("there/x") == SMALL[:5]


# what is called, what is there, the requests that it makes: method, target, how many
CALLS = {
    "list": (lists, SMALL, ("GET", r"/o\?", 1)),
    "stat": (stats, SMALL, ("GET", "/o/", 1)),
    "delete": (deletes, SMALL, ("DELETE", "", 1)),
    "read small": (reads(SMALL), SMALL, ("GET", "alt=media", 1)),
    "read large": (reads(LARGE), LARGE, ("GET", "alt=media", 3)),
    "read huge": (reads(HUGE), HUGE, ("GET", "alt=media", 6)),
    "write small": (writes(SMALL), b"", ("POST", "uploadType=multipart", 1)),
    "begin parts": (writes(LARGE), b"", ("POST", "uploadType=resumable", 1)),
    "write parts": (writes(LARGE), b"", ("PUT", "upload_id", 3)),
    "swap": (swaps, SMALL, ("POST", "uploadType=multipart", 1)),
}
PASSING = [503, 500, 429, 408, "reset", "lost", "stall"]
EACH = [(name, what) for name in CALLS for what in PASSING]
ALSO = [
    *((name, what) for name in ("read small", "read large", "read huge") for what in ("cut", "short")),
    *((name, "flip") for name in ("read small", "read large")),
    *(("list", what) for what in ("cut", "short")),
    *(("stat", what) for what in ("cut", "short")),
    *(("write small", what) for what in ("spoil", "cut", "short")),
    *(("write parts", what) for what in ("spoil", "part", "cut", 404, 410)),
]


def suffer(gs: GcsBucket, gcs: GcsServer, name: str, fault: Fault) -> None:
    call, there, (method, target, _) = CALLS[name]
    if there:
        gs.put("there/x", there)
    fault.method, fault.target = method, target
    with gcs.proxy.doing(fault):
        call(gs)
    assert RETRIES.take() or fault.what in ("cut", "spoil", 404, 410), "each is counted"


@pytest.mark.parametrize(("name", "what"), [*EACH, *ALSO])
def test_what_passes_costs_nothing(gs: GcsBucket, gcs: GcsServer, name: str, what: int | str) -> None:
    for skip in sorted({0, CALLS[name][2][2] // 2, CALLS[name][2][2] - 1}):  # the first, the middle, the last
        suffer(gs, gcs, name, Fault(what=what, skip=skip, seconds=2 * STALL))
        for left in gs.names():
            store_for(gs.uri).delete(f"{gs.uri}/{left}")


@pytest.mark.parametrize("name", CALLS)
def test_what_does_not_pass_ends_with_its_cause(
    gs: GcsBucket, gcs: GcsServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", RequestBackoff(first=0.01, most=0.05, deadline=0.5, stall=STALL))
    call, there, (method, target, _) = CALLS[name]
    if there:
        gs.put("there/x", there)
    before, started = gs.generations(), time.monotonic()
    with gcs.proxy.doing(always(Fault(what=503, method=method, target=target))), pytest.raises(TimeoutError) as caught:
        call(gs)
    assert time.monotonic() - started < 5
    assert "answered 503, made up; no other answer in 0 s; check the network" in str(caught.value)
    assert gs.uri in str(caught.value.filename)
    assert gs.generations() == before


@pytest.mark.parametrize("name", CALLS)
def test_what_is_not_allowed_is_said(gs: GcsBucket, gcs: GcsServer, name: str) -> None:
    call, there, (method, target, _) = CALLS[name]
    if there:
        gs.put("there/x", there)
    fault = Fault(what=403, method=method, target=target)
    with gcs.proxy.doing(fault) as seen, pytest.raises(PermissionError, match=r"allow storage\.objects\.") as caught:
        call(gs)
    assert sum(kind(request) == kind(seen[-1]) for request in seen) >= 1
    assert "secret" not in str(caught.value)
    assert {"DELETE": "objects.delete", "POST": "objects.create", "PUT": "objects.create"}.get(
        method, "objects.list" if name == "list" else "objects.get"
    ) in str(caught.value)


def test_bytes_that_are_spoilt_every_time_are_not_given(gs: GcsBucket, gcs: GcsServer) -> None:
    for data in (SMALL, HUGE):
        gs.put("there/x", data)
        with gcs.proxy.doing(always(Fault(what="flip", target="alt=media"))), pytest.raises(OSError, match="checksum"):
            reads(data)(gs)


def test_bytes_that_are_spoilt_every_time_make_no_object(gs: GcsBucket, gcs: GcsServer) -> None:
    for data, method, target in ((SMALL, "POST", "multipart"), (LARGE, "PUT", "upload_id")):
        fault = always(Fault(what="spoil", method=method, target=target))
        with gcs.proxy.doing(fault) as seen, pytest.raises(OSError, match=r"answered 400|broke 4 times"):
            put(f"{gs.uri}/new", data)
        assert [kind(request) for request in seen].count("insert" if data is SMALL else "begin") in (3, 4)
        assert gs.names() == []


def test_a_server_that_does_not_say_what_it_gives_is_asked(gs: GcsBucket, gcs: GcsServer) -> None:
    for data in (SMALL, HUGE):
        gs.put("there/x", data)
        with gcs.proxy.doing(always(Fault(what="strip", target="alt=media"))) as seen:
            reads(data)(gs)
        assert [kind(request) for request in seen].count("stat") == 1
        faults = Fault(what="strip", target="alt=media"), always(Fault(what="flip", target="alt=media"))
        with gcs.proxy.doing(*faults), pytest.raises(OSError, match="checksum"):
            reads(data)(gs)


def test_parts_that_are_there_are_not_sent_again(gs: GcsBucket, gcs: GcsServer) -> None:
    faults = [Fault(what=what, method="PUT", skip=skip) for what, skip in (("part", 0), ("lost", 2), (503, 4))]
    with gcs.proxy.doing(*faults) as seen:
        writes(LARGE)(gs)
    sent = [int(request.header("Content-Length")) for request in seen if kind(request) == "part"]
    assert sum(sent) == len(LARGE) + PART // 2 + 77 + PART // 2, "half of the first and all of the last came twice"
    assert [kind(request) for request in seen].count("begin") == 1


def test_an_answer_that_is_lost_is_not_another_writer(gs: GcsBucket, gcs: GcsServer) -> None:
    gs.put("new", b"old")
    with gcs.proxy.doing(Fault(what="lost", target="uploadType=multipart", skip=1)) as seen:
        writes(SMALL)(gs)
    assert [kind(request) for request in seen] == ["insert", "stat", "insert", "insert", "stat"]
    first = gs.generations()
    with gcs.proxy.doing(Fault(what="lost", target="uploadType=multipart")):
        swap = iter([b"one", b"two"])
        store_for(gs.uri).swap(f"{gs.uri}/new", lambda _: next(swap))
    assert gs.get("new") == b"one", "done once"
    assert gs.generations() != first


def test_a_large_object_that_is_there_already_is_not_sent(gs: GcsBucket, gcs: GcsServer) -> None:
    gs.put("new", LARGE)
    with gcs.proxy.doing() as seen:
        writes(LARGE)(gs)
    assert [kind(request) for request in seen] == ["stat"]


def test_without_a_server_the_deadline_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", RequestBackoff(first=0.01, most=0.05, deadline=0.3, stall=STALL))
    configure(StoreOptions(gcs_endpoint="http://127.0.0.1:9"))
    with pytest.raises(TimeoutError, match=r"Connection refused.*check the network"):
        store_for("gs://b").stat("gs://b/x")


def test_no_credentials_over_plain_http(
    gs: GcsBucket, gcs: GcsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    value = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "t"}
    (tmp_path / "adc.json").write_text(json.dumps(value))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "adc.json"))
    configure(StoreOptions(gcs_endpoint=gcs.proxy.url, requester_pays="payer"))
    with gcs.proxy.doing() as seen:
        writes(SMALL)(gs)
        writes(LARGE)(gs)
        gs.put("there/x", SMALL)
        for call in (reads(SMALL), lists, stats, swaps):
            call(gs)
        store_for(gs.uri).delete(f"{gs.uri}/there/x")
    kinds = {kind(request) for request in seen}
    assert kinds == {"insert", "begin", "part", "read", "list", "stat", "delete"}
    assert not any(request.header("Authorization") for request in seen)
    assert all("userProject=payer" in request.target for request in seen if kind(request) != "part")


def test_credentials_that_are_named_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    configure(StoreOptions(gcs_endpoint="https://127.0.0.1:9"))
    with pytest.raises(PermissionError, match=r"none\.json.*correct GOOGLE_APPLICATION_CREDENTIALS.*--anonymous"):
        store_for("gs://b").stat("gs://b/x")


@pytest.mark.parametrize("endpoint", ["storage.example.org", "ftp://x", "https://user:word@x"])
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(UsageError, match="--gcs-endpoint") as caught:
        StoreOptions(gcs_endpoint=endpoint)
    assert "word@" not in str(caught.value)


def test_single_requests_are_as_large_as_the_client_makes_them() -> None:
    assert blob._MAX_MULTIPART_SIZE == 8 << 20 == SINGLE
    assert blob.Blob._CHUNK_SIZE_MULTIPLE == PART
