"""S3 over a network that fails, and a server that is overloaded: the right bytes, or an error that says what it was."""

import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.servers.proxy import Fault, Proxy, always
from harness.servers.s3_server import Bucket, S3Server, uploading
from lake.core.counters import RETRIES
from lake.storage import Stat, StoreOptions, request_retry
from lake.storage.remote import RemoteStore
from lake.storage.request_retry import RequestBackoff
from lake.storage.s3.store import S3Store
from tests.lake.storage.guards import Lease

DATA = random.Random(9).randbytes(300_000)
PART = 5 << 20
LARGE = random.Random(6).randbytes(5 * PART + 12_345)
STALL = 0.8  # seconds
PASSING = (429, 500, 503, "reset", "lost", "stall")


def patience(deadline: float) -> RequestBackoff:
    return RequestBackoff(first=0.01, most=0.05, deadline=deadline, stall=STALL)


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", patience(30.0))


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", patience(1.0))


@pytest.fixture
def proxy(s3: S3Server) -> Proxy:
    return s3.proxy


@pytest.fixture
def store(bucket: Bucket, s3: S3Server) -> Iterator[RemoteStore]:
    """Reached through the proxy."""
    RETRIES.take()
    return S3Store(StoreOptions(s3_endpoint=s3.proxy.url))


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Six parts of the least size that the server takes."""
    monkeypatch.setattr("lake.storage.s3.store.SINGLE", PART)
    monkeypatch.setattr("lake.storage.s3.store.PART", PART)
    return LARGE


@pytest.mark.parametrize("what", PASSING)
def test_what_passes_is_asked_again(bucket: Bucket, store: RemoteStore, proxy: Proxy, what: int | str) -> None:
    uri = f"{bucket.uri}/x"
    with proxy.doing(*(Fault(what=what, method=m, seconds=1.5 * STALL) for m in ("PUT", "HEAD", "GET", "DELETE"))):
        store.replace(uri, uploading(DATA))
        assert bucket.files() == {"x": DATA}
        with store.open(uri) as file:
            assert file.read() == DATA
        store.delete(uri)
    assert bucket.files() == {}
    assert RETRIES.take() == 4


@pytest.mark.parametrize("what", [*PASSING, "cut", "short"])
def test_a_listing_goes_on(bucket: Bucket, store: RemoteStore, proxy: Proxy, what: int | str) -> None:
    for name in "abc":
        bucket.put(f"in/{name}", b"x")
    with proxy.doing(Fault(what=what, target="list-type", times=2, seconds=1.5 * STALL)):
        assert [stat.uri[-1] for stat in store.list(f"{bucket.uri}/in")] == ["a", "b", "c"]
    assert RETRIES.take() == 2


@pytest.mark.parametrize("what", ["cut", "short"])
def test_half_an_answer_is_none(bucket: Bucket, store: RemoteStore, proxy: Proxy, what: str) -> None:
    bucket.put("x", DATA)
    with proxy.doing(Fault(what=what, method="GET", times=3)), store.open(f"{bucket.uri}/x") as file:
        assert file.read() == DATA
    assert RETRIES.take() == 3


def test_spoilt_bytes_are_found_out(bucket: Bucket, store: RemoteStore, proxy: Proxy) -> None:
    uri, flip = f"{bucket.uri}/x", Fault(what="flip", method="GET")
    store.replace(uri, uploading(DATA))
    with proxy.doing(flip), store.open(uri) as file:
        assert file.read() == DATA
    with proxy.doing(always(flip)), store.open(uri) as file, pytest.raises(OSError, match="not those of its checksum"):
        file.read()


def test_bytes_that_are_spoilt_on_their_way_out_are_sent_again(
    bucket: Bucket, store: RemoteStore, proxy: Proxy
) -> None:
    with proxy.doing(Fault(what="spoil", method="PUT", times=2)):
        store.replace(f"{bucket.uri}/x", uploading(DATA))
    assert bucket.files() == {"x": DATA}
    assert RETRIES.take() == 2


@pytest.mark.parametrize("parts", [False, True])
def test_bytes_of_another_checksum_make_no_object(
    bucket: Bucket, store: RemoteStore, large: bytes, parts: bool
) -> None:
    """They are sent again a few times, for it may have been the network."""
    request, data = ("CompleteMultipartUpload", large) if parts else ("PutObject", DATA)
    with pytest.raises(OSError, match=rf"{request} was answered XAmzContentChecksumMismatch.*check the network and"):
        store.replace(f"{bucket.uri}/x", uploading(data, crc32c="00000000"))
    assert bucket.files() == {}
    assert bucket.uploads() == []
    assert RETRIES.take() == 4


@pytest.mark.parametrize("before", [None, b"1"])
def test_a_write_whose_answer_was_lost_is_known_again(
    bucket: Bucket, store: RemoteStore, proxy: Proxy, before: bytes | None
) -> None:
    """It is neither another writer's nor done twice."""
    if before:
        bucket.put("n", before)
    with proxy.doing(Fault(what="lost", method="PUT")):
        store.swap(f"{bucket.uri}/n", lambda data: b"%d" % (int(data or 0) + 1))
    assert bucket.files() == {"n": b"2" if before else b"1"}
    with proxy.doing(Fault(what="lost", method="PUT")) as seen:
        store.replace(f"{bucket.uri}/x", uploading(DATA))
        assert [request.method for request in seen] == ["PUT", "PUT", "HEAD"]
    assert bucket.get("x") == DATA


@pytest.mark.parametrize("what", [503, "reset", "lost", "spoil", "stall"])
def test_a_part_is_sent_again(bucket: Bucket, store: RemoteStore, proxy: Proxy, large: bytes, what: int | str) -> None:
    with proxy.doing(
        *(Fault(what=what, target=rf"partNumber={n}\b", times=2, seconds=1.5 * STALL) for n in (1, 4, 6))
    ) as seen:
        store.replace(f"{bucket.uri}/x", uploading(large))
        assert sum("partNumber" in request.target for request in seen) == 6 + 6
    assert bucket.get("x") == large
    assert bucket.uploads() == []


@pytest.mark.parametrize("what", [503, "reset", "lost", "stall", "cut"])
def test_parts_are_put_together_once(
    bucket: Bucket, store: RemoteStore, proxy: Proxy, large: bytes, what: int | str
) -> None:
    with proxy.doing(Fault(what=what, method="POST", target="uploadId=", seconds=1.5 * STALL)) as seen:
        store.replace(f"{bucket.uri}/x", uploading(large))
        assert sum("partNumber" in request.target for request in seen) == 6
    assert bucket.get("x") == large
    assert bucket.uploads() == []


def test_an_object_has_no_more_parts_than_it_may(
    bucket: Bucket, store: RemoteStore, proxy: Proxy, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lake.storage.s3.store._PARTS", 3)
    with proxy.doing() as seen:
        store.replace(f"{bucket.uri}/x", uploading(large))
        assert sum("partNumber" in request.target for request in seen) == 3
    assert bucket.get("x") == large


def test_an_upload_that_another_run_swept_begins_again(
    bucket: Bucket, store: RemoteStore, proxy: Proxy, large: bytes
) -> None:
    """It is swept while the proxy holds the request back that ends it."""
    ending = {"method": "POST", "target": "uploadId="}
    store.replace(f"{bucket.uri}/_hold", uploading(b"mine"))
    with proxy.doing(Fault(what="stall", seconds=0.5 * STALL, **ending)) as seen, ThreadPoolExecutor(1) as aside:
        writing = aside.submit(store.replace, f"{bucket.uri}/x", uploading(large))
        while not any(request.method == "POST" and "uploadId=" in request.target for request in seen):
            time.sleep(0.01)
        store.sweep(bucket.uri, time.time() + 60, Lease(bucket.uri).guard())
        writing.result()
        assert sum(request.target.endswith("?uploads") for request in seen) == 2
    assert bucket.get("x") == large
    assert bucket.uploads() == []


def test_an_upload_that_fails_leaves_nothing(
    bucket: Bucket, store: RemoteStore, proxy: Proxy, large: bytes, no_patience: None
) -> None:
    with (
        proxy.doing(always(Fault(what=503, target=r"partNumber=3\b"))),
        pytest.raises(TimeoutError, match="UploadPart was answered SlowDown"),
    ):
        store.replace(f"{bucket.uri}/x", uploading(large))
    assert bucket.files() == {}
    assert bucket.uploads() == []


def test_a_server_without_checksums_of_the_whole_gets_those_of_parts(
    bucket: Bucket, store: RemoteStore, proxy: Proxy, large: bytes
) -> None:
    with proxy.doing(Fault(what=501, target=r"\?uploads")):
        store.replace(f"{bucket.uri}/x", uploading(large))
    assert bucket.get("x") == large
    assert bucket.head("x")["ChecksumType"] == "COMPOSITE"
    assert store.head(f"{bucket.uri}/x").crc32c == ""
    lost = Fault(what="lost", target="uploadId=", method="POST")  # known again without a checksum
    with proxy.doing(lost, Fault(what=501, target=r"\?uploads")) as seen:
        store.replace(f"{bucket.uri}/y", uploading(large))
        assert sum("partNumber" in request.target for request in seen) == 6
    assert bucket.get("y") == large


def test_an_object_of_another_size_is_removed(bucket: Bucket, store: RemoteStore, proxy: Proxy, large: bytes) -> None:
    """The first question of its size is whether there is one already."""
    with (
        proxy.doing(Fault(what="short", method="HEAD", skip=1)),
        pytest.raises(OSError, match=rf"got {len(large) // 2} bytes of {len(large)}; it was removed"),
    ):
        store.replace(f"{bucket.uri}/x", uploading(large))
    assert bucket.files() == {}


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_conflict_of_the_moment_is_gone_through(
    bucket: Bucket, store: RemoteStore, proxy: Proxy, large: bytes, method: str
) -> None:
    data = DATA if method == "PUT" else large
    with proxy.doing(Fault(what=409, method=method, target="x$" if method == "PUT" else "uploadId", times=2)):
        store.replace(f"{bucket.uri}/x", uploading(data))
    assert bucket.files() == {"x": data}
    assert bucket.uploads() == []


def test_a_server_without_conditional_removal_removes(bucket: Bucket, store: RemoteStore, proxy: Proxy) -> None:
    bucket.put("x", b"1")
    with proxy.doing(Fault(what=501, method="DELETE")) as seen:
        store.swap(f"{bucket.uri}/x", lambda _: None)
        assert [bool(request.header("If-Match")) for request in seen if request.method == "DELETE"] == [True, False]
    assert bucket.files() == {}


def removable(bucket: Bucket, store: RemoteStore) -> list[Stat]:
    """Twenty receipts, in an output whose lease is held."""
    for number in range(20):
        bucket.put(f"out/_receipts/{number:02d}", b"x")
    bucket.put("out/_hold", b"mine")
    return [*store.list(f"{bucket.uri}/out/_receipts")]


@pytest.mark.parametrize("what", PASSING)
def test_many_removals_whose_request_fails_are_asked_for_again(
    bucket: Bucket, store: RemoteStore, proxy: Proxy, what: int | str
) -> None:
    listed = removable(bucket, store)
    with proxy.doing(Fault(what=what, method="POST", target=r"\?delete", seconds=1.5 * STALL)) as seen:
        store.discard(listed, Lease(f"{bucket.uri}/out").guard(), by_name=True)
        assert [request.method for request in seen if request.method in ("POST", "DELETE")] == ["POST", "POST"]
    assert [*bucket.files()] == ["out/_hold"]
    assert RETRIES.take() == 1


@pytest.mark.parametrize(
    ("status", "code"), [(400, "MissingContentMD5"), (403, "AccessDenied"), (501, "NotImplemented")]
)
def test_a_server_that_does_not_remove_many_removes_them_one_by_one(
    bucket: Bucket, store: RemoteStore, proxy: Proxy, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    listed, lease = removable(bucket, store), Lease(f"{bucket.uri}/out")
    with proxy.doing(Fault(what=status, method="POST")) as seen:
        store.discard(listed[:12], lease.guard(), by_name=True)
        store.discard(listed[12:], lease.guard(), by_name=True)
        changes = [request for request in seen if request.method in ("POST", "DELETE")]
    assert [request.method for request in changes] == ["POST", *["DELETE"] * 20], "it is asked once"
    assert all(request.header("If-Match") for request in changes[1:])
    assert [*bucket.files()] == ["out/_hold"]
    (said,) = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert re.match(f"{bucket.uri}: .* each takes one of its own .DeleteObjects was answered {code}, made up; ", said)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (503, "HeadObject was answered 503"),
        (429, "HeadObject was answered 429"),
        ("reset", "Connection was closed before we received a valid response"),
        ("stall", "Read timeout on endpoint URL"),
    ],
)
def test_patience_ends(
    bucket: Bucket, store: RemoteStore, proxy: Proxy, no_patience: None, what: int | str, said: str
) -> None:
    with (
        proxy.doing(always(Fault(what=what, seconds=1.5 * STALL))),
        pytest.raises(TimeoutError, match=rf"{said}.*no other answer in 1 s; check the network.*s3://bucket-.*/x"),
    ):
        store.stat(f"{bucket.uri}/x")


def test_what_might_be_a_secret_is_not_said(
    bucket: Bucket, store: RemoteStore, proxy: Proxy, no_patience: None
) -> None:
    bucket.put("x", b"1")
    for what in (503, "reset"):
        with proxy.doing(always(Fault(what=what, target="list-type"))), pytest.raises(TimeoutError) as caught:
            [*store.list(f"{bucket.uri}/in")]
        assert not [part for part in ("token", "secret", "list-type", "prefix") if part in str(caught.value)]
