"""What a run writes and removes in an object store when it has lost its lease, or loses it on the way."""

from collections.abc import Callable, Iterator

import pytest

from lake.core.counters import RETRIES
from lake.core.errors import HeldError
from lake.storage import Stat, request_retry
from lake.storage.remote import ConflictError
from lake.storage.request_retry import RequestBackoff
from tests.lake.storage.guards import Lease
from tests.lake.storage.memory_store import MemoryStore, Once

PLACE = "mem://b/out"
URI = f"{PLACE}/latents/x"


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", RequestBackoff(first=0.0, most=0.0, deadline=5.0))


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    found.write(f"{PLACE}/_hold", b"mine")
    return found


@pytest.fixture
def lease() -> Lease:
    return Lease(PLACE)


def put(store: MemoryStore, lease: Lease, data: bytes, *, strict: bool = False, owner: str = "mine") -> None:
    guard = lease.guard(owner)
    with store.create(URI, guard.strict if strict else guard) as sink:
        sink.write(data)


def take_over(store: MemoryStore) -> None:
    """As another run does: first the lease, then what others have staged."""
    store.write(f"{PLACE}/_hold", b"theirs")
    for uri in [uri for uri in store.objects if "/_staged/" in uri]:
        del store.objects[uri]


def staged(store: MemoryStore) -> list[str]:
    return [uri for uri in store.objects if "/_staged/" in uri]


def names(store: MemoryStore) -> list[str]:
    return [name for name, _ in store.requests]


def test_a_new_object_is_one_request(store: MemoryStore, lease: Lease) -> None:
    put(store, lease, b"new")
    assert store.requests == [("send", URI)]
    assert store.objects[URI].attempt.startswith("mine.")


def test_a_run_that_may_have_slept_looks_first(store: MemoryStore, lease: Lease) -> None:
    lease.sure = False
    put(store, lease, b"new")
    assert names(store) == ["head", "fetch", "send"]
    take_over(store)
    with pytest.raises(HeldError):
        put(store, lease, b"late")
    assert store.data(URI) == b"new"


def test_an_object_is_replaced_by_a_copy(store: MemoryStore, lease: Lease) -> None:
    store.write(URI, b"old")
    put(store, lease, b"new")
    assert names(store) == ["send", "head", "send", "head", "fetch", "copy", "remove"]
    assert store.data(URI) == b"new"
    assert staged(store) == []


def test_what_says_something_by_being_there_is_a_copy_from_the_first(store: MemoryStore, lease: Lease) -> None:
    put(store, lease, b"new", strict=True)
    assert names(store) == ["send", "head", "fetch", "copy", "remove"]
    assert store.data(URI) == b"new"


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("request_number", range(2))
def test_a_request_that_arrives_after_the_lease_was_taken_over_replaces_nothing(
    store: MemoryStore, lease: Lease, strict: bool, request_number: int
) -> None:
    """Whichever is under way: that which stages the object, or that which copies it."""
    store.write(URI, b"old")

    def late() -> None:
        take_over(store)
        store.write(URI, b"of the next run")

    name = ("send", "copy")[request_number]
    store.before = OnceAt(name, late, "/_staged/" if name == "send" else URI)
    with pytest.raises(HeldError):
        put(store, lease, b"late", strict=strict)
    assert store.data(URI) == b"of the next run"
    assert len(staged(store)) == (name == "send"), "nobody copies what came too late"


class OnceAt(Once):
    """The same for a request whose URI has this in it."""

    def __init__(self, request: str, act: Callable[[], object] | BaseException, part: str) -> None:
        super().__init__(request, act)
        self.part = part

    def __call__(self, request: str, uri: str) -> None:
        if self.part in uri:
            super().__call__(request, uri)


def test_a_request_that_creates_and_arrives_late_replaces_nothing(store: MemoryStore, lease: Lease) -> None:
    def late() -> None:
        take_over(store)
        store.write(URI, b"of the next run")

    store.before = Once("send", late)
    with pytest.raises(HeldError):
        put(store, lease, b"late")
    assert store.data(URI) == b"of the next run"


def test_an_earlier_run_s_late_object_is_replaced(store: MemoryStore, lease: Lease) -> None:
    """Also if it has the same bytes: its writer may have asked to remove that very version."""
    for data in (b"late", b"new"):
        store.write(URI, data, attempt="earlier.1")
        version = store.objects[URI].version
        put(store, lease, b"new")
        assert store.data(URI) == b"new"
        assert store.objects[URI].version != version
        assert store.objects[URI].attempt.startswith("mine.")


def test_a_twin_s_object_of_the_same_run_is_enough(store: MemoryStore, lease: Lease) -> None:
    put(store, lease, b"same")
    version = store.objects[URI].version
    put(store, lease, b"same")
    assert store.objects[URI].version == version


def test_a_staged_object_whose_answer_was_lost_has_another_name_then(store: MemoryStore, lease: Lease) -> None:
    """The first request may still be under way; what it makes must be of no use to anybody."""
    store.write(URI, b"old")
    store.after = OnceAt("send", TimeoutError("no answer"), "/_staged/")
    RETRIES.take()
    put(store, lease, b"new")
    sent = [uri for name, uri in store.requests if name == "send" and "/_staged/" in uri]
    assert len(sent) == 2 == len({*sent})
    assert ("copy", URI) in store.requests
    assert store.data(URI) == b"new"
    assert RETRIES.take() == 1
    assert staged(store) == sent[:1], "it goes when the lease is taken the next time"


def test_what_was_staged_and_is_gone_is_staged_again_by_who_holds_the_lease(store: MemoryStore, lease: Lease) -> None:
    store.write(URI, b"old")
    store.before = OnceAt("copy", lambda: [store.objects.pop(uri) for uri in staged(store)], URI)
    put(store, lease, b"new")
    assert store.data(URI) == b"new"


def test_a_lease_that_is_renewed_while_it_is_read_is_read_again(store: MemoryStore, lease: Lease) -> None:
    store.write(URI, b"old")
    store.before = Once("fetch", lambda: store.write(f"{PLACE}/_hold", b"mine"))
    put(store, lease, b"new")
    assert store.data(URI) == b"new"
    assert names(store).count("copy") == 1
    store.before = Once("fetch", lambda: store.write(f"{PLACE}/_hold", b"mine"))
    store.discard(found(store, URI), lease.guard())
    assert store.data(URI) is None


def found(store: MemoryStore, *uris: str) -> list[Stat]:
    return [stat for uri in uris if (stat := store.stat(uri)) is not None]


def test_what_was_found_is_removed_as_it_was_found(store: MemoryStore, lease: Lease) -> None:
    for name in "abc":
        store.write(f"{PLACE}/{name}", b"old")
    old = found(store, *(f"{PLACE}/{name}" for name in "abc"))
    store.write(f"{PLACE}/b", b"written again")
    del store.objects[f"{PLACE}/c"]
    store.discard(old, lease.guard())
    assert sorted(store.objects) == [f"{PLACE}/_hold", f"{PLACE}/b"]


def test_the_lease_is_looked_at_once_a_batch_is_known(store: MemoryStore, lease: Lease) -> None:
    for number in range(250):
        store.write(f"{PLACE}/{number:03d}", b"old")
    listing = [stat for stat in store.list(PLACE) if not stat.uri.endswith("_hold")]

    def until_it_is_lost() -> object:
        for number, stat in enumerate(listing):
            if number == 150:
                store.write(f"{PLACE}/_hold", b"theirs")
            yield stat

    with pytest.raises(HeldError):
        store.discard(until_it_is_lost(), lease.guard())  # type: ignore[arg-type]
    assert lease.looks == [b"mine", b"theirs"]
    assert len(store.objects) == 1 + 150


def many(store: MemoryStore, count: int) -> list[Stat]:
    """So many objects, in a store that removes ten by one request."""
    store.many = 10
    for number in range(count):
        store.write(f"{PLACE}/{number:03d}", b"old")
    return [stat for stat in store.list(PLACE) if not stat.uri.endswith("_hold")]


def test_many_are_removed_by_their_names_in_few_requests(store: MemoryStore, lease: Lease) -> None:
    listed = many(store, 95)
    store.write(listed[7].uri, b"written again")
    store.discard(iter(listed), lease.guard(), by_name=True)
    assert [*store.objects] == [f"{PLACE}/_hold"]
    assert (store.count("remove_many"), store.count("remove")) == (10, 0)
    assert len(lease.looks) == 3, "once four requests' worth is known"


def test_what_has_a_version_to_mind_is_removed_one_by_one(store: MemoryStore, lease: Lease) -> None:
    listed = many(store, 25)
    store.write(listed[7].uri, b"written again")
    store.discard(listed, lease.guard())
    assert sorted(store.objects) == [listed[7].uri, f"{PLACE}/_hold"]
    assert (store.count("remove_many"), store.count("remove")) == (0, 25)


def test_what_a_request_for_many_leaves_is_removed_as_it_was_found(store: MemoryStore, lease: Lease) -> None:
    listed = many(store, 25)
    store.kept = {listed[number].uri for number in (0, 9, 17)}
    store.write(listed[9].uri, b"written again")
    store.discard(listed, lease.guard(), by_name=True)
    assert [*store.objects] == [f"{PLACE}/_hold", listed[9].uri]
    assert [uri for name, uri in store.requests if name == "remove"] == [listed[number].uri for number in (0, 9, 17)]
    store.kept, store.before = {listed[9].uri}, OnceAt("remove", PermissionError("denied"), listed[9].uri)
    with pytest.raises(PermissionError, match="denied"):
        store.discard(found(store, listed[9].uri), lease.guard(), by_name=True)


class KilledError(BaseException):
    """In the place of a process that has ended."""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(3))
def test_killed_at_any_request_for_many_the_next_one_removes_the_rest(
    store: MemoryStore, lease: Lease, moment: str, number: int
) -> None:
    listed = many(store, 25)
    setattr(store, moment, OnceAt("remove_many", KilledError(), listed[10 * number].uri))
    with pytest.raises(KilledError):
        store.discard(listed, lease.guard(), by_name=True)
    store.discard(found(store, *(stat.uri for stat in listed)), lease.guard(), by_name=True)
    assert [*store.objects] == [f"{PLACE}/_hold"]


def test_who_has_lost_the_lease_removes_nothing_by_name(store: MemoryStore, lease: Lease) -> None:
    listed = many(store, 95)

    def until_it_is_lost() -> Iterator[Stat]:
        for number, stat in enumerate(listed):
            if number == 60:
                store.write(f"{PLACE}/_hold", b"theirs")
            yield stat

    with pytest.raises(HeldError):
        store.discard(until_it_is_lost(), lease.guard(), by_name=True)
    assert len(store.objects) == 1 + 55


@pytest.mark.parametrize("by_name", [False, True])
def test_a_process_that_slept_in_a_batch_looks_again(store: MemoryStore, lease: Lease, by_name: bool) -> None:
    store.many = 10
    for name in "ab":
        store.write(f"{PLACE}/{name}", b"old")
    old = found(store, f"{PLACE}/a", f"{PLACE}/b")
    lease.sure = False
    looks = iter([None, lambda: store.write(f"{PLACE}/_hold", b"theirs"), *[None] * 9])

    def lose(request: str, uri: str) -> None:
        if (request, uri) == ("head", lease.uri) and (act := next(looks)) is not None:
            act()  # between the look at the batch and the first request of it

    store.before = lose
    with pytest.raises(HeldError):
        store.discard(old, lease.guard(), by_name=by_name)
    assert store.data(f"{PLACE}/a") == store.data(f"{PLACE}/b") == b"old"


def test_a_version_that_the_store_no_longer_has_is_left(store: MemoryStore, lease: Lease) -> None:
    store.write(URI, b"old")
    old = found(store, URI)
    store.before = OnceAt("remove", ConflictError(URI), URI)
    store.discard(old, lease.guard())
    assert store.data(URI) == b"old"
