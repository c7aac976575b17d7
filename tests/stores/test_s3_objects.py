"""Objects of S3: what is written and read, against another client of the same server."""

import base64
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.servers.s3_server import Bucket, S3Server, uploading
from lake.core.errors import HeldError
from lake.storage import StoreOptions, put, store_for
from lake.storage.remote import ConflictError, RemoteStore
from lake.storage.s3.store import PART, SINGLE, S3Store
from lake.storage.store import Listing
from pipeline.output.fencing.lease import check_free
from tests.lake.storage.guards import Lease
from tests.stores.listing import check_listing

CHECK = "e3069283"  # CRC-32C of b"123456789", as its catalogues give it
RACERS = 16


@pytest.fixture
def store(bucket: Bucket, s3: S3Server) -> RemoteStore:
    return S3Store(StoreOptions(s3_endpoint=s3.url))


@pytest.fixture(scope="module")
def large() -> bytes:
    """More than one request holds, and no whole number of parts."""
    return random.Random(5).randbytes(100_000_003)


def all_at_once(work: Callable[[int], object]) -> list[object]:
    """What each of many threads gave or raised."""
    start = threading.Barrier(RACERS)

    def racer(number: int) -> object:
        start.wait()
        try:
            return work(number)
        except OSError as error:
            return type(error)

    with ThreadPoolExecutor(RACERS) as racers:
        return [*racers.map(racer, range(RACERS))]


@pytest.mark.parametrize("data", [b"", b"123456789", bytes(range(256)) * 5000], ids=len)
def test_an_object_is_what_was_written(bucket: Bucket, data: bytes) -> None:
    uri = f"{bucket.uri}/a b/é+%?#/x"
    put(uri, data)
    assert bucket.files() == {"a b/é+%?#/x": data}
    store = store_for(uri)
    stat = store.stat(uri)
    assert stat is not None and (stat.uri, stat.size) == (uri, len(data))
    assert [*store.list(f"{bucket.uri}/a b")] == [stat]
    with store.open(uri) as file:
        assert file.read() == data
    store.delete(uri)
    store.delete(uri)
    assert bucket.files() == {}
    assert store.stat(uri) is None


def test_the_checksum_goes_with_the_object(bucket: Bucket, store: RemoteStore) -> None:
    put(f"{bucket.uri}/x", b"123456789")
    head = bucket.head("x")
    assert base64.b64decode(head["ChecksumCRC32C"]).hex() == CHECK
    found = store.head(f"{bucket.uri}/x")
    assert found is not None
    assert (found.crc32c, found.attempt) == (CHECK, head["Metadata"]["latentlake-attempt"])


def test_nothing_is_there_before_it_is_published(bucket: Bucket) -> None:
    store, uri = store_for(bucket.uri), f"{bucket.uri}/x"
    with pytest.raises(ValueError, match="no"), store.create(uri) as sink:
        sink.write(b"abc")
        assert store.stat(uri) is None
        raise ValueError("no")
    assert bucket.files() == {}
    sink = store.create(uri)
    sink.write(b"abc")
    sink.close()
    sink.abort()
    assert bucket.files() == {}


def test_parts_of_an_object_are_read(bucket: Bucket) -> None:
    data = random.Random(3).randbytes(3_000_000)
    bucket.put("x", data)
    for sparse in (False, True):
        with store_for(bucket.uri).open(f"{bucket.uri}/x", sparse=sparse) as file:
            for at, length in ((2_999_990, 100), (0, 10), (1_000_000, 700_000), (5, 0), (4_000_000, 1)):
                file.seek(at)
                assert file.read(length) == data[at : at + length]


def test_one_version_is_read(bucket: Bucket, store: RemoteStore) -> None:
    uri = f"{bucket.uri}/x"
    bucket.put("x", b"old")
    version = store.head(uri).version
    assert store.fetch(uri, 0, 3, version) == b"old"
    bucket.put("x", b"new")
    with pytest.raises(ConflictError, match=r"PreconditionFailed.*run the job again.*s3://bucket-"):
        store.fetch(uri, 0, 3, version)
    store.delete(uri)
    with pytest.raises(FileNotFoundError, match="NoSuchKey"):
        store.fetch(uri, 0, 3, version)


def test_a_listing_is_in_order_page_by_page(bucket: Bucket, s3: S3Server) -> None:
    names = [f"in/{number:04d}" for number in range(2_490)] + [f"in/{odd}" for odd in ("a-b", "a/b", "a.b", "é", "z z")]
    with ThreadPoolExecutor(RACERS) as writers:
        assert [*writers.map(lambda name: bucket.put(name, name.encode()), [*names, "in/dir/", "inn", "im"])]
    store = S3Store(StoreOptions(s3_endpoint=s3.proxy.url))
    with s3.proxy.doing() as seen:
        listing = store.list(f"{bucket.uri}/in")
        first = next(listing)
        assert len(seen) == 1
        found = [first, *listing]
        assert len(seen) == 4, "after two pages, two at once"
    assert [stat.uri for stat in found] == [f"{bucket.uri}/{name}" for name in sorted(names, key=str.encode)]
    assert {stat.size for stat in found} == {5, 6, 7}
    assert store.stat(first.uri) == first


def test_a_listing_of_one_level_with_a_prefix(bucket: Bucket, s3: S3Server) -> None:
    names = [f"in/a{number:04d}/x" for number in range(1_200)] + ["in/a", "in/a.b", "in/ab/c/d", "in/b", "a"]
    with ThreadPoolExecutor(RACERS) as writers:
        assert [*writers.map(lambda name: bucket.put(name, b"x"), names)]
    store = S3Store(StoreOptions(s3_endpoint=s3.proxy.url))
    found = [stat.uri for stat in store.list(f"{bucket.uri}/in", Listing(start="a", deep=False))]
    assert found == [f"{bucket.uri}/in/a", f"{bucket.uri}/in/a.b"], "past pages of nothing but directories"
    assert len([*store.list(f"{bucket.uri}/in", Listing(start="a"))]) == 1_203


@pytest.mark.parametrize("deep", [True, False], ids=["deep", "one level"])
def test_a_listing_by_several_requests_is_that_of_one(
    bucket: Bucket, deep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_listing(bucket.uri, bucket.put, monkeypatch, deep=deep)


def test_a_directory_is_a_prefix_of_something(bucket: Bucket) -> None:
    bucket.put("a/b/c", b"x")
    store = store_for(bucket.uri)
    found = [uri for uri in ("", "/a", "/a/", "/a/b", "/a/b/c", "/b") if store.is_directory(bucket.uri + uri)]
    assert found == ["", "/a", "/a/", "/a/b"]
    assert store.stat(f"{bucket.uri}/a") is None


def test_other_versions_are_not_replaced(bucket: Bucket, store: RemoteStore) -> None:
    uri = f"{bucket.uri}/x"
    store.send(uri, uploading(b"one"), None)
    version = store.head(uri).version
    with pytest.raises(ConflictError):
        store.send(uri, uploading(b"two"), None)
    store.send(uri, uploading(b"two"), version)
    with pytest.raises(ConflictError):
        store.send(uri, uploading(b"three"), version)
    assert bucket.files() == {"x": b"two"}
    store.delete(uri)
    with pytest.raises(ConflictError, match="is gone"):
        store.send(uri, uploading(b"three"), version)
    assert bucket.files() == {}


def test_of_many_creators_one_wins(bucket: Bucket, store: RemoteStore) -> None:
    for number in range(5):
        uri = f"{bucket.uri}/{number}"
        results = all_at_once(lambda racer, uri=uri: store.send(uri, uploading(b"%d" % racer), None))
        winner = results.index(None)
        assert results == [*[ConflictError] * winner, None, *[ConflictError] * (RACERS - winner - 1)]
        assert bucket.get(str(number)) == b"%d" % winner


def test_many_writers_of_the_same_bytes_leave_them(bucket: Bucket) -> None:
    data = random.Random(1).randbytes(1_000_000)
    assert all_at_once(lambda _: put(f"{bucket.uri}/x", data)) == [None] * RACERS
    assert bucket.files() == {"x": data}


def test_nobody_comes_between_a_swap(bucket: Bucket, store: RemoteStore) -> None:
    """Who gave up because of the others has changed nothing; all the others counted."""
    results = all_at_once(lambda _: store.swap(f"{bucket.uri}/x", lambda data: b"%d" % (int(data or 0) + 1)))
    assert bucket.get("x") == b"%d" % results.count(None)
    assert results.count(None) > RACERS // 2
    store.swap(f"{bucket.uri}/x", lambda _: None)
    assert bucket.files() == {}


def test_of_many_runs_one_holds_an_output(bucket: Bucket, s3: S3Server) -> None:
    code = (
        "import sys; from pipeline.output.fencing.lease import acquire; from lake.core.errors import HeldError\n"
        "from lake.storage import StoreOptions, configure, store_for\n"
        "configure(StoreOptions(s3_endpoint=sys.argv[3])); store_for(sys.argv[1]).stat(sys.argv[1] + '/x')\n"
        "sys.stdin.read()\n"
        "try: acquire(sys.argv[1], sys.argv[2], ends_with_process=False); print('won')\n"
        "except HeldError: print('lost')"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", code, bucket.uri]
    racers = [subprocess.Popen([*command, str(n), s3.url], **pipes) for n in range(RACERS)]
    said = [racer.communicate()[0].decode().strip() for racer in racers]
    assert sorted(said) == ["lost"] * (RACERS - 1) + ["won"]
    with pytest.raises(Exception, match=f"in use by run {said.index('won')} "):
        check_free(bucket.uri)


def test_a_large_object_is_sent_in_parts(bucket: Bucket, store: RemoteStore, large: bytes) -> None:
    assert len(large) > SINGLE
    put(f"{bucket.uri}/x", large)
    head = bucket.head("x")
    assert head["ETag"].endswith(f'-{-(-len(large) // PART)}"')
    assert bucket.get("x") == large
    found = store.head(f"{bucket.uri}/x")
    assert found.crc32c == uploading(large).crc32c == base64.b64decode(head["ChecksumCRC32C"]).hex()
    with store.open(f"{bucket.uri}/x") as file:
        assert file.read() == large
    assert bucket.uploads() == []


def test_a_large_object_is_replaced_by_its_version(bucket: Bucket, store: RemoteStore, large: bytes) -> None:
    bucket.put("x", b"old")
    with pytest.raises(ConflictError):
        store.send(f"{bucket.uri}/x", uploading(large), None)
    store.replace(f"{bucket.uri}/x", uploading(large))
    assert bucket.get("x") == large
    assert bucket.uploads() == []


def test_a_checksum_of_checksums_is_none(bucket: Bucket, store: RemoteStore) -> None:
    key = {"Bucket": bucket.name, "Key": "x"}
    begun = bucket.client.create_multipart_upload(**key, ChecksumAlgorithm="CRC32C")["UploadId"]
    crc = base64.b64encode(bytes.fromhex(CHECK)).decode()
    part = {"PartNumber": 1, "ChecksumCRC32C": crc}
    tag = bucket.client.upload_part(**key, **part, UploadId=begun, Body=b"123456789")["ETag"]
    parts = {"Parts": [{**part, "ETag": tag}]}
    bucket.client.complete_multipart_upload(**key, UploadId=begun, MultipartUpload=parts)
    assert bucket.head("x")["ChecksumCRC32C"]
    assert store.head(f"{bucket.uri}/x").crc32c == ""
    with store.open(f"{bucket.uri}/x") as file:
        assert file.read() == b"123456789"


def test_uploads_that_did_not_end_are_swept(bucket: Bucket, store: RemoteStore) -> None:
    for key in ("out/x", "out/y"):
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)
    store.replace(f"{bucket.uri}/out/_hold", uploading(b"mine"))
    lease = Lease(f"{bucket.uri}/out")
    store.sweep(bucket.uri, time.time() - 60, lease.guard())
    store.sweep(f"{bucket.uri}/other", time.time() + 60, lease.guard())
    with pytest.raises(HeldError, match="another lost it to b'mine'"):
        store.sweep(bucket.uri, time.time() + 60, lease.guard("another"))
    assert sorted(bucket.uploads()) == ["out/x", "out/y"]
    store.sweep(bucket.uri, time.time() + 60, lease.guard())
    assert bucket.uploads() == []


def test_many_objects_are_removed_by_one_request(bucket: Bucket, s3: S3Server) -> None:
    odd = ["a b/é+%?#/x", "a&b<c>", "a'\"", "é"]
    gone = [f"out/_receipts/{name}" for name in (*odd, *(f"{number:04d}" for number in range(1_001)))]
    left = ["out/latents/0001", "out/_receiptsx", "é"]
    with ThreadPoolExecutor(RACERS) as writers:
        assert [*writers.map(lambda name: bucket.put(name, b"x"), [*gone, *left])]
    bucket.put("out/_hold", b"mine")
    store, lease = S3Store(StoreOptions(s3_endpoint=s3.proxy.url)), Lease(f"{bucket.uri}/out")
    listed = [*store.list(f"{bucket.uri}/out/_receipts")]
    assert sorted(stat.uri for stat in listed) == sorted(f"{bucket.uri}/{name}" for name in gone)
    with s3.proxy.doing() as seen:
        store.discard(listed, lease.guard(), by_name=True)
        store.discard(listed, lease.guard(), by_name=True)  # what is gone already is no error
        assert [request.target.partition("?")[2] for request in seen if request.method in ("POST", "DELETE")] == [
            "delete"
        ] * 4
    assert [*bucket.files()] == sorted([*left, "out/_hold"], key=str.encode)


def test_a_name_that_xml_cannot_hold_is_removed_by_itself(bucket: Bucket, s3: S3Server) -> None:
    names = ["out/_receipts/a", "out/_receipts/b\tc"]
    for name in (*names, "out/_hold"):
        bucket.put(name, b"mine")
    store = S3Store(StoreOptions(s3_endpoint=s3.proxy.url))
    listed = [*store.list(f"{bucket.uri}/out/_receipts")]
    with s3.proxy.doing() as seen:
        store.discard(listed, Lease(f"{bucket.uri}/out").guard(), by_name=True)
        assert [request.method for request in seen if request.method in ("POST", "DELETE")] == ["POST", "DELETE"]
    assert [*bucket.files()] == ["out/_hold"]


def test_a_fork_has_connections_of_its_own(bucket: Bucket, store: RemoteStore) -> None:
    uri = f"{bucket.uri}/x"
    put(uri, b"abc")
    clients = {id(store._client())}
    child = os.fork()
    if child == 0:
        well = id(store._client()) not in clients and store.fetch(uri, 0, 3, store.head(uri).version) == b"abc"
        os._exit(0 if well else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert {id(store._client())} == clients
