"""Objects of a real server by ``gs://``, compared with what Google's own client sees."""

import io
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import google_crc32c
import pytest

from harness.servers.gcs_rules import kind
from harness.servers.gcs_server import GcsBucket, GcsServer
from lake.storage import StoreOptions, configure, put, store_for
from lake.storage.gcs.resumable_upload import PART
from lake.storage.gcs.store import SINGLE, GcsStore
from lake.storage.options import DEFAULTS
from lake.storage.remote import ConflictError, Upload
from lake.storage.store import Listing
from tests.stores.listing import check_listing

NAMES = ("a-b/x", "a/x", "a/y/z", "a.txt", "B", "with space", "ünï/ço?d#e%20", "a/=;&+@:,$!'()*[]~")
LARGE = os.urandom(2 * PART + 77)


@pytest.fixture
def bare(gcs: GcsServer) -> Iterator[GcsBucket]:
    """A new bucket that is reached without the proxy."""
    configure(StoreOptions(gcs_endpoint=gcs.url))
    yield gcs.bucket()
    configure(DEFAULTS)


def store_of(bucket: GcsBucket) -> GcsStore:
    store = store_for(bucket.uri)
    assert isinstance(store, GcsStore)
    return store


def upload_of(file: BinaryIO, data: bytes) -> Upload:
    crc32c = f"{google_crc32c.value(data):08x}"
    return Upload(file=file, size=len(data), crc32c=crc32c, attempt=os.urandom(8).hex())


@pytest.mark.parametrize("size", [0, 1, 70_000, SINGLE, SINGLE + 1, PART, len(LARGE)])
def test_what_is_written_is_what_google_s_client_reads(gs: GcsBucket, size: int) -> None:
    data = LARGE[:size]
    with store_for(gs.uri).create(f"{gs.uri}/a/b") as sink:
        for start in range(0, size, 1 << 20):
            sink.write(data[start : start + (1 << 20)])
        assert gs.names() == [], "nothing is visible before it is whole"
    assert gs.get("a/b") == data
    stat = store_for(gs.uri).stat(f"{gs.uri}/a/b")
    assert stat is not None
    assert (stat.size, stat.identity) == (size, str(gs.generations()["a/b"]))
    with store_for(gs.uri).open(f"{gs.uri}/a/b") as file:
        assert file.read() == data


def test_any_name_is_itself(gs: GcsBucket) -> None:
    for name in NAMES:
        put(f"{gs.uri}/{name}", name.encode())
    assert sorted(gs.names()) == sorted(NAMES)
    store = store_for(gs.uri)
    found = [*store.list(gs.uri)]
    assert [stat.uri for stat in found] == [f"{gs.uri}/{name}" for name in gs.names()]
    for stat in found:
        assert store.stat(stat.uri) == stat
        with store.open(stat.uri) as file:
            assert f"{gs.uri}/{file.read().decode()}" == stat.uri
        store.delete(stat.uri)
    assert gs.names() == []


def test_a_listing_of_one_level_with_a_prefix(gs: GcsBucket) -> None:
    for name in ("in/a", "in/a.b", "in/a/b/c", "in/ab/c", "in/b", "a"):
        gs.put(name, b"1")
    found = [stat.uri for stat in store_for(gs.uri).list(f"{gs.uri}/in", Listing(start="a", deep=False))]
    assert found == [f"{gs.uri}/in/a", f"{gs.uri}/in/a.b"]
    assert len([*store_for(gs.uri).list(f"{gs.uri}/in", Listing(start="a"))]) == 4


def test_a_directory_is_a_prefix_and_no_object(gs: GcsBucket) -> None:
    gs.put("a/b/c", b"1")
    gs.put("a/folder/", b"")  # as some tools mark directories
    store = store_for(gs.uri)
    assert [store.is_directory(f"{gs.uri}{name}") for name in ("", "/", "/a", "/a/b/", "/a/b/c", "/b")] == [
        *(True, True, True, True, False, False)
    ]
    assert [stat.uri for stat in store.list(f"{gs.uri}/a")] == [f"{gs.uri}/a/b/c"]
    assert [store.stat(uri) for uri in (gs.uri, f"{gs.uri}/a", f"{gs.uri}/a/b", f"{gs.uri}/none")] == [None] * 4
    assert not store.is_directory("gs://no-such-bucket/a")
    assert store.stat("gs://no-such-bucket/a") is None


@pytest.mark.parametrize("deep", [True, False], ids=["deep", "one level"])
def test_a_listing_by_several_requests_is_that_of_one(
    gs: GcsBucket, deep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_listing(gs.uri, gs.put, monkeypatch, deep=deep)


def test_a_listing_is_read_page_by_page(gs: GcsBucket, gcs: GcsServer) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: put(f"{gs.uri}/d/{n:05d}", b"x" * n), range(1, 1202)))
    with gcs.proxy.doing() as seen:
        listing = store_for(gs.uri).list(f"{gs.uri}/d")
        first = next(listing)
        assert len(seen) == 1
        found = [first, *listing]
    assert [(stat.uri, stat.size) for stat in found] == [(f"{gs.uri}/d/{n:05d}", n) for n in range(1, 1202)]
    assert [kind(request) for request in seen] == ["list"] * 2
    with gcs.proxy.doing() as seen:
        assert store_for(gs.uri).is_directory(f"{gs.uri}/d")
    assert ["maxResults=1&" in f"{request.target}&" for request in seen] == [True]


def test_replacing_gives_another_identity_and_what_was_opened_stays_what_it_was(gs: GcsBucket) -> None:
    store = store_for(gs.uri)
    put(f"{gs.uri}/x", b"old")
    before = store.stat(f"{gs.uri}/x")
    with store.open(f"{gs.uri}/x") as whole, store.open(f"{gs.uri}/x", sparse=True) as places:
        put(f"{gs.uri}/x", b"new")
        assert whole.read() == b"old"
        with pytest.raises(FileNotFoundError, match="nothing replaces it"):
            places.read()
    after = store.stat(f"{gs.uri}/x")
    assert before is not None
    assert after is not None
    assert before.identity != after.identity
    assert gs.get("x") == b"new"


@pytest.mark.parametrize("size", [5, SINGLE + 1])
def test_an_upload_over_another_version_is_refused_by_the_server_alone(bare: GcsBucket, size: int) -> None:
    """Without the proxy: this precondition is the server's own."""
    data, store, uri = LARGE[:size], store_of(bare), f"{bare.uri}/x"
    bare.put("x", b"first")
    first = str(bare.generations()["x"])
    with io.BytesIO(data) as file:
        with pytest.raises(ConflictError, match="another writer was faster"):
            store.send(uri, upload_of(file, data), None)
        store.send(uri, upload_of(file, data), first)
        with pytest.raises(ConflictError):
            store.send(uri, upload_of(file, data), first)
    assert bare.get("x") == data


@pytest.mark.parametrize("by", ["bare", "gs"])
@pytest.mark.parametrize("size", [5, SINGLE + 1])
def test_other_bytes_than_the_checksum_s_make_no_object(request: pytest.FixtureRequest, by: str, size: int) -> None:
    gs: GcsBucket = request.getfixturevalue(by)
    with pytest.raises(OSError, match=r"400|broke 4 times") as caught, io.BytesIO(LARGE[:size]) as file:
        store_of(gs).send(f"{gs.uri}/x", upload_of(file, LARGE[1 : size + 1]), None)
    assert caught.value.filename == f"{gs.uri}/x"
    assert gs.names() == []


def test_the_version_is_removed_that_is_named(gs: GcsBucket) -> None:
    """The server takes no notice of this precondition; the proxy does."""
    store, uri = store_of(gs), f"{gs.uri}/x"
    gs.put("x", b"1")
    old = str(gs.generations()["x"])
    gs.put("x", b"2")
    with pytest.raises(ConflictError):
        store.remove(uri, old)
    assert gs.get("x") == b"2"
    store.remove(uri, str(gs.generations()["x"]))
    store.remove(uri, old)
    store.delete(uri)
    assert gs.names() == []


@pytest.mark.parametrize("differing", [False, True])
def test_of_16_writers_at_once_one_good_copy_stays(gs: GcsBucket, gcs: GcsServer, differing: bool) -> None:
    datas = [bytes([number if differing else 7]) * 100_000 for number in range(16)]
    start = threading.Barrier(16)

    def write(data: bytes) -> None:
        with store_for(gs.uri).create(f"{gs.uri}/unit") as sink:
            sink.write(data)
            start.wait()

    with gcs.proxy.doing() as seen, ThreadPoolExecutor(16) as pool:
        list(pool.map(write, datas))
    assert gs.names() == ["unit"]
    assert gs.get("unit") in datas
    inserts = [kind(request) for request in seen].count("insert")
    assert inserts >= 16 if differing else inserts <= 16


def test_swaps_of_16_at_once_follow_one_another(gs: GcsBucket) -> None:
    uri = f"{gs.uri}/count"

    def count(_: int) -> None:
        store_for(uri).swap(uri, lambda data: str(int(data or b"0") + 1).encode())

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(count, range(48)))
    assert gs.get("count") == b"48"
    store_for(uri).swap(uri, lambda _: None)
    assert gs.names() == []


def test_what_an_exception_leaves_is_nothing(gs: GcsBucket) -> None:
    gs.put("x", b"old")
    with pytest.raises(ZeroDivisionError), store_for(gs.uri).create(f"{gs.uri}/x") as sink:
        sink.write(b"new")
        _ = 1 // 0
    sink = store_for(gs.uri).create(f"{gs.uri}/y")
    sink.write(b"half")
    sink.close()
    sink.abort()
    assert {name: gs.get(name) for name in gs.names()} == {"x": b"old"}


def test_a_fork_has_connections_of_its_own(gs: GcsBucket) -> None:
    gs.put("x", LARGE)
    store, uri = store_for(gs.uri), f"{gs.uri}/x"

    def is_whole() -> bool:
        with store.open(uri) as file:
            return file.read() == LARGE

    assert is_whole()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks that have threads, which is what is tried here
        pid = os.fork()
    if not pid:
        signal.alarm(30)
        os._exit(int(not all(is_whole() for _ in range(5))))
    assert all(is_whole() for _ in range(5))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
