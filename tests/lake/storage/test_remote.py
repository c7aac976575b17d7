"""What stores over a network have in common, on a store in memory: conditional writes that know themselves again."""

import errno
import io
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from lake.core.counters import RETRIES
from lake.storage import remote, remote_sink
from lake.storage.remote import ConflictError, Head, PerProcess, Upload, split
from lake.storage.store import Stat
from tests.lake.storage.guards import Lease
from tests.lake.storage.memory_store import MemoryStore, Once, crc32c

URI = "mem://b/dir/x"


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long writers gave way, which takes no time here."""
    waited: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", waited.append)
    return waited


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def put(store: MemoryStore, data: bytes, uri: str = URI) -> None:
    with store.create(uri) as sink:
        sink.write(data)


def lost(store: MemoryStore, request: str = "send", times: int = 1) -> None:
    """The answer to a request is lost, so it is made again, and meets its own object."""
    store.after = Once(request, ConflictError(URI), times)


def test_nothing_is_visible_before_publish(store: MemoryStore) -> None:
    sink = store.create(URI)
    sink.write(b"half")
    sink.write(b" and half")
    assert store.requests == []
    assert (sink.size, sink.crc32c) == (13, crc32c(b"half and half"))
    sink.publish()
    assert store.data(URI) == b"half and half"
    assert store.requests == [("send", URI)], "one request makes an object"
    sink.publish()
    sink.abort()
    assert store.count("send") == 1


def test_what_is_dropped_is_never_there(store: MemoryStore) -> None:
    store.write(URI, b"old")
    with pytest.raises(ZeroDivisionError), store.create(URI) as sink:
        sink.write(b"new")
        raise ZeroDivisionError
    sink.publish()
    closed = store.create(URI)
    closed.close()
    closed.abort()
    assert store.data(URI) == b"old"
    assert store.requests == []


def test_a_writer_whose_store_failed_lets_go_of_its_bytes(store: MemoryStore) -> None:
    store.before = Once("send", PermissionError("no"))
    sink = store.create(URI)
    sink.write(b"1")
    with pytest.raises(PermissionError):
        sink.publish()
    sink.publish()
    assert store.count("send") == 1


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_an_object_is_replaced(store: MemoryStore, size: int) -> None:
    data = random.Random(size).randbytes(size)
    store.write(URI, b"old")
    put(store, data)
    assert store.data(URI) == data
    assert [name for name, _ in store.requests] == ["send", "head", "send"]


def test_a_large_object_is_looked_for_first(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is not sent only to be refused."""
    monkeypatch.setattr(remote, "IN_MEMORY", 10)
    put(store, b"0123456789")
    assert [name for name, _ in store.requests] == ["send"]
    put(store, b"0123456789a")
    assert [name for name, _ in store.requests[1:]] == ["head", "send"]
    put(store, b"0123456789a")
    assert [name for name, _ in store.requests[3:]] == ["head"], "the same bytes are there already"
    put(store, b"0123456789ab")
    assert store.data(URI) == b"0123456789ab"


def test_the_same_bytes_of_another_writer_are_enough(store: MemoryStore) -> None:
    store.write(URI, b"same", attempt="twin")
    put(store, b"same")
    assert store.objects[URI].attempt == "twin"
    assert [name for name, _ in store.requests] == ["send", "head"]


@pytest.mark.parametrize(
    ("head", "same"),
    [
        (Head(size=4, version="v", crc32c="c", attempt="mine"), True),
        (Head(size=9, version="v", crc32c="other", attempt="mine"), True),
        (Head(size=4, version="v", crc32c="c", attempt="twin"), True),
        (Head(size=5, version="v", crc32c="c", attempt="twin"), False),
        (Head(size=4, version="v", crc32c="other", attempt="twin"), False),
        (Head(size=4, version="v"), False),
    ],
)
def test_by_what_an_upload_is_known_again(head: Head, same: bool) -> None:
    assert Upload(file=io.BytesIO(), size=4, crc32c="c", attempt="mine").is_at(head) is same


def test_a_write_whose_answer_was_lost_is_not_written_again(store: MemoryStore) -> None:
    lost(store)
    put(store, b"data")
    version = store.objects[URI].version
    assert (store.data(URI), store.count("send"), store.count("head")) == (b"data", 1, 1)
    assert version == "v1"


def test_an_own_write_is_known_where_the_store_knows_no_checksum(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the attempt's id alone says so, as it does after another writer's bytes of the same size."""
    monkeypatch.setattr("tests.lake.storage.memory_store.Object.head", property(bare))
    lost(store)
    put(store, b"data")
    assert store.count("send") == 1


def bare(object: object) -> Head:
    return Head(size=4, version=object.version, attempt=object.attempt)  # type: ignore[attr-defined]


def test_writes_have_ids_of_their_own(store: MemoryStore) -> None:
    put(store, b"1")
    put(store, b"2", URI + "y")
    attempts = {found.attempt for found in store.objects.values()}
    assert len(attempts) == 2
    assert all(len(attempt) == 32 for attempt in attempts)


def test_a_write_that_another_one_followed_is_made_again(store: MemoryStore) -> None:
    """Whoever comes last has the name: its bytes are whole, and the loser's too."""
    store.before = Once("send", lambda: store.write(URI, b"other"))
    put(store, b"data")
    assert store.data(URI) == b"data"
    assert store.count("send") == 2


def test_writers_that_never_back_off_end_in_an_error(store: MemoryStore, pauses: list[float]) -> None:
    store.before = Once("send", lambda: store.write(URI, b"other"), times=99)
    with pytest.raises(OSError, match="other writers replace it all the time") as caught:
        put(store, b"data")
    assert (caught.value.errno, caught.value.filename) == (errno.EBUSY, URI)
    assert store.count("send") == 16 == len(pauses)
    assert store.data(URI) == b"other"


def test_who_gives_way_waits_longer_each_time(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    asked: list[tuple[float, float]] = []
    monkeypatch.setattr(remote.random, "uniform", lambda low, high: asked.append((low, high)) or high / 2)
    for number in range(9):
        remote._back_off(number)
    assert asked == [(0, most) for most in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0)]
    assert pauses == [most / 2 for _, most in asked]


class Changes:
    """A change that keeps what it was given."""

    def __init__(self, *results: bytes | BaseException | None) -> None:
        self.seen: list[bytes | None] = []
        self.results = [*results]

    def __call__(self, data: bytes | None) -> bytes | None:
        self.seen.append(data)
        result = self.results[min(len(self.seen), len(self.results)) - 1]
        if isinstance(result, BaseException):
            raise result
        return result


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("after", [None, b"new", b"old"])
def test_swap(store: MemoryStore, before: bytes | None, after: bytes | None) -> None:
    if before is not None:
        store.write(URI, before)
    change = Changes(after)
    store.swap(URI, change)
    assert store.data(URI) == after
    assert change.seen == [before]
    assert store.count("send") == (after is not None and after != before)
    assert store.count("remove") == (before is not None and after is None)


def test_what_a_change_raises_leaves_the_object(store: MemoryStore) -> None:
    store.write(URI, b"old")
    with pytest.raises(ZeroDivisionError):
        store.swap(URI, Changes(ZeroDivisionError()))
    assert store.data(URI) == b"old"


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_swap_whose_answer_was_lost_is_done(store: MemoryStore, before: bytes | None) -> None:
    """The change is not made twice: a lease that was taken would be found taken."""
    if before is not None:
        store.write(URI, before)
    lost(store)
    change = Changes(b"new", AssertionError("the change was made twice"))
    store.swap(URI, change)
    assert store.data(URI) == b"new"
    assert store.count("send") == 1
    assert len(store.objects[URI].attempt) == 32


@pytest.mark.parametrize("other", [b"other", b"new"])
def test_a_swap_that_another_writer_won_is_made_on_what_is_there_now(store: MemoryStore, other: bytes) -> None:
    """Even where it wrote the very same bytes: two that take a lease in the same words are two."""
    store.before = Once("send", lambda: store.write(URI, other, attempt="other"))
    change = Changes(b"new", b"newer")
    store.swap(URI, change)
    assert change.seen == [None, other]
    assert store.data(URI) == b"newer"


def test_a_swap_of_an_object_that_went_meanwhile_is_made_again(store: MemoryStore) -> None:
    store.write(URI, b"old")
    store.before = Once("send", lambda: store.objects.pop(URI))
    change = Changes(b"new")
    store.swap(URI, change)
    assert change.seen == [b"old", None]
    assert store.data(URI) == b"new"


def test_a_removal_that_another_writer_was_before_is_made_again(store: MemoryStore) -> None:
    store.write(URI, b"old")
    store.before = Once("remove", lambda: store.write(URI, b"other"))
    change = Changes(None)
    store.swap(URI, change)
    assert change.seen == [b"old", b"other"]
    assert store.data(URI) is None


def test_an_object_that_was_replaced_while_it_was_read_is_read_again(store: MemoryStore) -> None:
    store.write(URI, b"old")
    store.before = Once("fetch", lambda: store.write(URI, b"other"))
    change = Changes(b"new")
    store.swap(URI, change)
    assert change.seen == [b"other"]
    assert store.data(URI) == b"new"


def test_a_swap_that_never_has_its_turn_is_an_error(store: MemoryStore, pauses: list[float]) -> None:
    store.before = Once("send", lambda: store.write(URI, os.urandom(8)), times=99)
    with pytest.raises(OSError, match="other writers") as caught:
        store.swap(URI, Changes(b"new"))
    assert caught.value.errno == errno.EBUSY
    assert len(pauses) == 16


def test_an_empty_object_is_not_none(store: MemoryStore) -> None:
    store.write(URI, b"")
    change = Changes(b"new")
    store.swap(URI, change)
    assert change.seen == [b""]
    store.swap(URI, Changes(b""))
    assert store.data(URI) == b""


@pytest.mark.parametrize("sparse", [False, True])
def test_reading(store: MemoryStore, sparse: bool) -> None:
    data = os.urandom(200_000)
    store.write(URI, data)
    RETRIES.take()
    with store.open(URI, sparse=sparse) as file:
        assert file.name == URI
        assert file.read(5) == data[:5]
        file.seek(-3, io.SEEK_END)
        assert file.read() == data[-3:]
    assert RETRIES.take() == 0
    with pytest.raises(FileNotFoundError, match="no such object") as caught:
        store.open(URI + "y", sparse=sparse)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, URI + "y")
    with pytest.raises(FileNotFoundError):
        store.open("mem://b", sparse=sparse)


def test_spoilt_bytes_are_not_given(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(URI, b"data")
    monkeypatch.setattr(store, "fetch", lambda *span: b"Data")
    for sparse in (False, True):
        with store.open(URI, sparse=sparse) as file, pytest.raises(OSError, match="not those of its checksum"):
            file.read()
    with pytest.raises(OSError, match="not those of its checksum"):
        store.swap(URI, Changes(b"new"))
    assert store.data(URI) == b"data"


def test_the_version_that_was_opened_is_read(store: MemoryStore) -> None:
    store.write(URI, b"data")
    file = store.open(URI)
    store.write(URI, b"DATA")
    with pytest.raises(FileNotFoundError):
        file.read()


class Beginning(MemoryStore):
    """A store whose first answer has the first bytes too."""

    def begin(self, uri: str, most: int) -> tuple[Head, bytes] | None:
        self.asked = most
        found = self.objects.get(uri)
        return None if found is None else (found.head, found.data[:3])


def test_first_bytes_that_came_along_are_not_fetched_again() -> None:
    store = Beginning()
    store.write(URI, b"data!")
    with store.open(URI) as file:
        assert file.read() == b"data!"
    assert store.asked == 8 << 20
    assert store.count("head") == 0
    change = Changes(b"new")
    store.swap(URI, change)
    assert change.seen == [b"data!"]
    with store.open(URI, sparse=True) as file:
        assert file.read(2) == b"ne"
    assert store.count("head") == 1, "of few places the first bytes are not wanted"


def test_of_few_places_few_bytes_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked = Beginning(), list[tuple[int, int]]()
    store.write(URI, os.urandom(1_000_000))
    fetch = store.fetch
    monkeypatch.setattr(
        store,
        "fetch",
        lambda uri, start, stop, version: (asked.append((start, stop)), fetch(uri, start, stop, version))[1],
    )
    with store.open(URI, sparse=True) as file:
        file.seek(500_000)
        file.read(10)
    assert asked == [(500_000, 565_536)], "no more than a reader of few places asks for"
    asked.clear()
    with store.open(URI) as file:
        file.read(10)
    assert asked == [(3, 1_000_000)], "a small object is fetched whole, but for the bytes that came along"
    asked.clear()
    store.swap(URI, lambda data: data)
    assert asked == [(3, 1_000_000)]


def test_damage_is_named_after_its_object(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(URI, b"data")
    monkeypatch.setattr(store, "fetch", lambda *span: b"Data")
    with pytest.raises(OSError, match="checksum") as caught:
        store.swap(URI, Changes(b"new"))
    assert caught.value.filename == URI


def test_stat(store: MemoryStore) -> None:
    store.write(URI, b"data")
    assert store.stat(URI) == Stat(uri=URI, size=4, identity="v1")
    assert store.stat("mem://b/dir") is None
    store.requests.clear()
    assert store.stat("mem://b") is store.stat("mem://b/") is None
    assert store.requests == [], "a bucket is no object"


def test_listing(store: MemoryStore) -> None:
    for name in ("dir-a/x", "dir/x", "dir/y/z", "dir/y/", "dir/", "dir.txt"):
        store.write(f"mem://b/{name}", b"1")
    store.write("mem://b/X/x", b"1")
    assert [stat.uri for stat in store.list("mem://b/X")] == ["mem://b/X/x"]
    assert store.is_directory("mem://b/X")
    assert not store.is_directory("mem://b/dir/X")
    for prefix in ("mem://b/dir", "mem://b/dir/", "mem://b/dir//"):
        assert [stat.uri for stat in store.list(prefix)] == ["mem://b/dir/x", "mem://b/dir/y/z"]
        assert store.is_directory(prefix)
    assert len([*store.list("mem://b")]) == 5
    assert not store.is_directory("mem://b/di")
    assert not store.is_directory("mem://b/dir.txt")
    assert not store.is_directory("mem://b/none")


def test_a_bucket_that_is_not_there_is_no_directory(store: MemoryStore) -> None:
    store.write(URI, b"1")
    store.before = Once("page", FileNotFoundError("no such bucket"))
    assert not store.is_directory("mem://b/dir")
    store.before = Once("page", PermissionError("no"))
    with pytest.raises(PermissionError):
        store.is_directory("mem://b/dir")


def test_of_a_directory_one_object_is_asked_for(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    page: Callable[..., object] = store.page
    monkeypatch.setattr(store, "page", lambda uri, most: (asked.append((uri, most)), page(uri, most=most))[1])
    store.is_directory("mem://b/dir/")
    assert asked == [("mem://b/dir/", 1)]


def test_deleting(store: MemoryStore) -> None:
    store.write(URI, b"1")
    store.delete(URI)
    store.delete(URI)
    assert store.data(URI) is None
    store.sweep("mem://b", 0.0, Lease("mem://b").guard())
    assert store.count("page") == 0


@pytest.mark.parametrize(
    ("uri", "parts"),
    [("gs://b/a/c", ("b", "a/c")), ("gs://b", ("b", "")), ("gs://b/", ("b", "")), ("s3://b/x://y/z", ("b", "x://y/z"))],
)
def test_bucket_and_name(uri: str, parts: tuple[str, str]) -> None:
    assert split(uri) == parts


def test_bytes_that_do_not_fit_wait_on_the_disk(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_sink, "IN_MEMORY", 10)
    sink = store.create(URI)
    sink.write(b"0123456789")
    assert not sink._spool._rolled  # type: ignore[attr-defined]
    sink.write(b"a")
    assert sink._spool._rolled  # type: ignore[attr-defined]
    sink.finish()
    assert store.data(URI) == b"0123456789a"


def test_what_is_made_once_is_made_again_in_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    made = PerProcess(object)
    first = made()
    assert made() is first
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert made() is not first
    assert made() is made()


def test_a_lease_on_such_a_store_is_taken_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The lost answer of the swap that took it must not look like another run's."""
    from lake.core.errors import HeldError
    from pipeline.output.fencing import lease

    store = MemoryStore()
    monkeypatch.setattr(lease, "store_for", lambda uri: store)
    lost(store)
    assert not lease.acquire("mem://b/out", "one", ends_with_process=False)
    with pytest.raises(HeldError, match="in use by run one"):
        lease.acquire("mem://b/out", "two", ends_with_process=False)
