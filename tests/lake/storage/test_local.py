import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import google_crc32c
import pytest

from lake.core.counters import TALLY
from lake.core.errors import HeldError, UsageError
from lake.storage import Guard, Stat, local, local_lock, put, store_for
from tests.lake.storage.guards import Lease


def held(directory: Path, owner: str = "mine") -> Guard:
    """The right of whoever holds this directory, which ``mine`` does."""
    directory.mkdir(exist_ok=True)
    (directory / "_hold").write_bytes(b"mine")
    return Lease(str(directory)).guard(owner)


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_nothing_is_visible_before_publish(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.bin"
    sink = store_for(str(target)).create(str(target))
    sink.write(b"half")
    assert not target.exists()
    assert list(store_for(str(tmp_path)).list(str(tmp_path))) == []
    sink.write(b" and half")
    sink.publish()
    assert target.read_bytes() == b"half and half"
    assert (sink.size, sink.crc32c) == (13, f"{google_crc32c.value(b'half and half'):08x}")
    assert names(target.parent) == ["b.bin"]


def test_an_error_in_the_block_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), store_for(str(target)).create(str(target)) as sink:
        sink.write(b"new")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


def test_a_directory_is_no_name_of_a_file(tmp_path: Path) -> None:
    """It is said of the name that was given, and nothing is left beside it."""
    (tmp_path / "o").mkdir()
    with pytest.raises(IsADirectoryError, match=r"this is a directory; name a file: '.*/o'$"):
        put(str(tmp_path / "o"), b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


def test_close_alone_does_not_publish(tmp_path: Path) -> None:
    sink = store_for(str(tmp_path)).create(str(tmp_path / "x"))
    sink.write(b"part")
    sink.close()
    sink.abort()
    assert names(tmp_path) == []


def test_published_files_have_ordinary_permissions(tmp_path: Path) -> None:
    old = os.umask(0o027)
    os.umask(old)
    with store_for(str(tmp_path)).create(str(tmp_path / "x")) as sink:
        sink.write(b"1")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~old


def test_listing_is_in_the_order_of_uris(tmp_path: Path) -> None:
    names = ["a-b/x", "a/x", "a/y/z", "a.txt", "B", "X/X", "a /x"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    found = [stat.uri for stat in store_for(str(tmp_path)).list(str(tmp_path))]
    assert found == sorted(f"{tmp_path}/{name}" for name in names)
    assert [stat.uri for stat in store_for(str(tmp_path)).list(f"{tmp_path}/X")] == [f"{tmp_path}/X/X"]


def test_identity_changes_with_the_content(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one")
    store = store_for(str(path))
    before = store.stat(str(path))
    os.utime(path, ns=(1, 1))
    after = store.stat(str(path))
    assert before is not None
    assert after is not None
    assert before.identity != after.identity
    assert store.stat(str(tmp_path)) is None
    assert store.stat(str(tmp_path / "none")) is None


def test_reading_back(tmp_path: Path) -> None:
    path = tmp_path / "x y"
    path.write_bytes(bytes(range(256)) * 1000)
    with store_for(path.as_uri()).open(path.as_uri()) as file:
        file.seek(255)
        assert file.read(3) == bytes([255, 0, 1])


@pytest.mark.timeout(20)
def test_what_never_ends_is_not_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(OSError, match="Not a regular file") as raised:
            store_for(str(path)).open(str(path))
        assert raised.value.filename == str(path)
    with pytest.raises(IsADirectoryError):
        store_for(str(tmp_path)).open(str(tmp_path))


def test_an_unknown_scheme_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ftp.*file://"):
        store_for("ftp://x/y")


def test_sweeping_removes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    store = store_for(str(tmp_path))
    (tmp_path / "a").mkdir()
    dead, alive = store.create(str(tmp_path / "a/x")), store.create(str(tmp_path / "a/y"))
    (tmp_path / "a/z").write_bytes(b"data")
    left = {path: path.stat() for path in (tmp_path / "a").iterdir() if path.name != "z"}
    os.utime(min(left), (1, 1))
    os.utime(tmp_path / "a/z", (1, 1))
    store.sweep(str(tmp_path), 1000.0, held(tmp_path))
    assert sorted(path for path in left if path.exists()) == [max(left)]
    assert (tmp_path / "a/z").exists()
    for sink in (dead, alive):
        sink.abort()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What became visible or was forced to the disk, in order: ``publish X``, ``sync X``."""
    happened: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        happened.append("sync " + Path(f"/proc/self/fd/{handle}").readlink().name.partition("-")[0])
        sync(handle)

    def publish(path: Path, target: Path) -> Path:
        happened.append(f"publish {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", publish)
    return happened


def test_bytes_are_on_the_disk_before_their_name_and_the_name_after_it(tmp_path: Path, synced: list[str]) -> None:
    """Else a machine that loses its power has an empty file under the final name, or none after a commit."""
    (tmp_path / "out").mkdir()
    sink = store_for(str(tmp_path)).create(str(tmp_path / "out/x"))
    sink.write(b"data")
    sink.finish()
    assert synced == ["sync .latentlake", "publish x", "sync out"]
    synced.clear()
    with store_for(str(tmp_path)).create(str(tmp_path / "out/y")) as sink:
        sink.prove()
        sink.write(b"data")
    assert synced == [*["sync .latentlake"] * 2, "publish y", "sync out"], "what is written after a look at it, too"


def test_what_may_be_lost_with_the_power_waits_for_no_disk(tmp_path: Path, synced: list[str]) -> None:
    """It is whole all the same for whoever reads it."""
    put(str(tmp_path / "x"), b"data", durable=False)
    assert synced == ["publish x"]
    assert (tmp_path / "x").read_bytes() == b"data"
    put(str(tmp_path / "x"), b"more", durable=False)
    assert (tmp_path / "x").read_bytes() == b"more"
    assert names(tmp_path) == ["x"]


def test_whoever_publishes_all_bytes_are_on_the_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: sizes.append(os.fstat(handle).st_size))
    sink = store_for(str(tmp_path)).create(str(tmp_path / "x"))
    sink.write(b"data")
    sink.publish()
    assert sizes[0] == 4, "also what was still in a buffer"


def test_what_is_not_published_has_a_name_that_no_reader_takes(tmp_path: Path) -> None:
    sink = store_for(str(tmp_path)).create(str(tmp_path / "x"))
    (name,) = names(tmp_path)
    assert re.fullmatch(r"\.latentlake-\w+~", name)
    sink.abort()


def test_no_file_is_left_open(tmp_path: Path) -> None:
    put(str(tmp_path / "a"), b"1")
    before = len([*Path("/proc/self/fd").iterdir()])
    for number in range(20):
        put(str(tmp_path / f"b/{number}/c"), b"1")
        store_for(str(tmp_path)).swap(str(tmp_path / "lease"), lambda data: (data or b"") + b"1")
    assert len([*Path("/proc/self/fd").iterdir()]) < before + 20


def test_a_directory_that_another_writer_makes_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    is_dir, late = Path.is_dir, ["out"]
    monkeypatch.setattr(Path, "is_dir", lambda path: not (late and path.name == late.pop()) and is_dir(path))
    put(str(tmp_path / "out/x"), b"1")
    assert (tmp_path / "out/x").read_bytes() == b"1"


def test_names_of_new_directories_are_on_the_disk_too(tmp_path: Path, synced: list[str]) -> None:
    (tmp_path / "out").mkdir()
    put(str(tmp_path / "out/a/b/x"), b"data")
    assert synced[:2] == ["sync out", "sync a"]
    assert synced[-1] == "sync b"
    synced.clear()
    put(str(tmp_path / "out/a/b/y"), b"data")
    assert "sync a" not in synced


def test_what_was_written_is_there_when_it_is_read_back(tmp_path: Path) -> None:
    with store_for(str(tmp_path)).create(str(tmp_path / "x")) as sink:
        sink.write(b"data")
        with sink.written() as file:
            assert file.read() == b"data", "also what was still in a buffer"
        assert not (tmp_path / "x").exists()
        sink.write(b" and more")
    assert (tmp_path / "x").read_bytes() == b"data and more"


def test_what_may_be_lost_is_not_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(local.LocalSink, "written")
    put(str(tmp_path / "x"), b"data", durable=False)
    assert (tmp_path / "x").read_bytes() == b"data"
    with pytest.raises(NotImplementedError):
        put(str(tmp_path / "y"), b"data")
    assert names(tmp_path) == ["x"]


def test_publishing_twice_or_after_an_end_does_nothing(tmp_path: Path) -> None:
    store = store_for(str(tmp_path))
    sink = store.create(str(tmp_path / "x"))
    sink.write(b"1")
    sink.publish()
    (tmp_path / "x").unlink()
    sink.publish()
    sink.abort()
    assert names(tmp_path) == []
    sink = store.create(str(tmp_path / "y"))
    sink.abort()
    sink.publish()
    assert names(tmp_path) == []


def test_a_name_that_cannot_be_had_is_found_out_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="x" * 300) as caught:
        store_for(str(tmp_path)).create(str(tmp_path / ("x" * 300)))
    assert caught.value.errno == errno.ENAMETOOLONG
    assert names(tmp_path) == []


def test_a_name_that_a_directory_gets_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    sink = store_for(str(tmp_path)).create(str(tmp_path / "x"))
    sink.write(b"1")
    (tmp_path / "x").mkdir()
    with pytest.raises(IsADirectoryError):
        sink.publish()
    assert names(tmp_path) == ["x"]


def test_a_full_disk_says_which_file_it_is_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "x")
    for call in ("written", "publish"):
        sink = store_for(uri).create(uri)
        sink.write(b"1")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left") as caught:
                getattr(sink, call)()
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, uri)
        sink.abort()
        assert names(tmp_path) == []


def test_a_full_disk_says_so_of_a_swap_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "x")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        store_for(uri).swap(uri, lambda before: b"1")
    assert caught.value.filename == uri


def full(handle: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Full:
    """A file whose disk is full."""

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_does_not_fit_says_which_file_it_is(tmp_path: Path) -> None:
    uri = str(tmp_path / "x")
    sink = store_for(uri).create(uri)
    sink._file.close()  # type: ignore[attr-defined]
    sink._file = Full()  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="No space left") as caught, sink:
        sink.write(b"1")
    assert caught.value.filename == uri
    assert names(tmp_path) == [], "what is still in a buffer is dropped, though it cannot be written"


def test_an_error_that_names_its_file_keeps_the_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, local._with_file_name("other"):
        (tmp_path / "none").open()
    assert caught.value.filename == str(tmp_path / "none")


def test_swapping(tmp_path: Path) -> None:
    uri, seen = str(tmp_path / "a/x"), list[bytes | None]()
    store = store_for(uri)

    def change(after: bytes | None) -> Callable[[bytes | None], bytes | None]:
        return lambda before: (seen.append(before), after)[1]

    for after in (b"a longer one", b"one", b"one", None, None, b"two"):
        store.swap(uri, change(after))
        assert ((tmp_path / "a/x").read_bytes() if after else None) == after
        assert (tmp_path / "a/x").exists() is (after is not None)
    assert seen == [None, b"a longer one", b"one", b"one", None, None]


def test_a_swap_is_on_the_disk_and_one_that_changes_nothing_is_not_written(tmp_path: Path, synced: list[str]) -> None:
    uri = str(tmp_path / "x")
    store_for(uri).swap(uri, lambda before: b"one")
    assert synced == ["sync x"]
    os.utime(uri, (1, 1))
    store_for(uri).swap(uri, lambda before: b"one")
    assert synced == ["sync x"]
    assert Path(uri).stat().st_mtime == 1


def test_a_change_that_raises_leaves_what_was_there(tmp_path: Path) -> None:
    uri = str(tmp_path / "x")

    def change(before: bytes | None) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store_for(uri).swap(uri, change)
    assert names(tmp_path) == []
    put(uri, b"old")
    with pytest.raises(ZeroDivisionError):
        store_for(uri).swap(uri, change)
    assert Path(uri).read_bytes() == b"old"


def test_no_other_writer_comes_in_between(tmp_path: Path) -> None:
    uri, count = str(tmp_path / "x"), 8

    def add(before: bytes | None) -> bytes:
        number = int(before or b"0")
        time.sleep(0.002)
        return str(number + 1).encode()

    threads = [Thread(target=store_for(uri).swap, args=(uri, add)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Path(uri).read_bytes() == str(count).encode()


def test_a_file_that_its_holder_removed_is_not_taken_for_the_one_that_is_there(tmp_path: Path) -> None:
    """Who waits for the lock of a file that is removed then has a lock of nothing."""
    uri = str(tmp_path / "x")
    put(uri, b"one")
    waits = Event()

    def remove(before: bytes | None) -> None:
        waits.set()
        time.sleep(0.05)

    seen = list[bytes | None]()
    holder = Thread(target=store_for(uri).swap, args=(uri, remove))
    holder.start()
    waits.wait()
    store_for(uri).swap(uri, lambda before: (seen.append(before), b"two")[1])
    holder.join()
    assert seen == [None]
    assert Path(uri).read_bytes() == b"two"


def test_what_is_read_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123456789" * 20_000)
    for read in (lambda file: file.read(), lambda file: [*iter(lambda: file.read(70_000), b"")]):
        before = TALLY.counts.bytes_read
        with store_for(str(path)).open(str(path)) as file:
            read(file)
        assert TALLY.counts.bytes_read - before == 200_000


def test_uris_of_files(tmp_path: Path) -> None:
    path = tmp_path / "a b%#é"
    store = store_for(path.as_uri())
    put(path.as_uri(), b"1")
    assert path.read_bytes() == b"1"
    stat = store.stat(path.as_uri())
    assert stat is not None
    assert (stat.uri, stat.size) == (path.as_uri(), 1)
    assert store.is_directory(tmp_path.as_uri())
    assert not store.is_directory(path.as_uri())
    assert [stat.uri for stat in store.list(f"{tmp_path}/")] == [str(path)]


def test_identity_is_of_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"123")
    os.utime(path, ns=(5, 7))
    stat = store_for(str(path)).stat(str(path))
    assert stat is not None
    assert stat.identity == "3-7"
    assert store_for(str(path)).stat(str(path / "below")) is None, "a file has nothing below it"


def test_listing_passes_over_what_is_not_published_and_what_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_for(str(tmp_path))
    for name in ("a", "b", "c"):
        put(str(tmp_path / name), b"1")
    found = store.list(str(tmp_path))
    assert next(found).uri == str(tmp_path / "a")
    (tmp_path / "b").unlink()
    assert [stat.uri for stat in found] == [str(tmp_path / "c")]
    with pytest.raises(FileNotFoundError):
        next(store.list(str(tmp_path / "none")))


def test_deleting(tmp_path: Path) -> None:
    put(str(tmp_path / "x"), b"1")
    for _ in range(2):
        store_for(str(tmp_path)).delete(str(tmp_path / "x"))
    assert names(tmp_path) == []


def test_sweeping_spares_a_writer_that_publishes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".latentlake-1~").write_bytes(b"1")
    (tmp_path / ".latentlake-2~").write_bytes(b"1")
    os.utime(tmp_path / ".latentlake-2~", (1, 1))
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda path: [(d, n, [".latentlake-0~", *f]) for d, n, f in walk(path)])
    store_for(str(tmp_path)).sweep(str(tmp_path), 2.0, held(tmp_path / "b"))
    assert sorted(names(tmp_path)) == [".latentlake-1~", "b"]
    os.utime(tmp_path / ".latentlake-1~", (2, 2))
    store_for(str(tmp_path)).sweep(str(tmp_path), 2.0, held(tmp_path / "b"))
    assert sorted(names(tmp_path)) == [".latentlake-1~", "b"]


@pytest.mark.parametrize("name", ["%2e%2e/victim", "a/%2e%2e%2f%2E%2E%2fvictim", "%2e./victim"])
def test_a_name_of_a_file_uri_is_not_decoded_to_another_directory(tmp_path: Path, name: str) -> None:
    """A file of the input may have such a name, and outputs are named after inputs."""
    (tmp_path / "victim").write_text("of somebody else")
    uri = f"file://{tmp_path}/out/{name}"
    for use in (lambda: store_for(uri).delete(uri), lambda: put(uri, b"x"), lambda: store_for(uri).open(uri)):
        with pytest.raises(NotADirectoryError, match="decoded to one in another directory"):
            use()
    assert (tmp_path / "victim").read_text() == "of somebody else"
    put(f"file://{tmp_path}/out/../a%20b", b"y")
    assert (tmp_path / "a b").read_bytes() == b"y"


def lost(directory: Path) -> Guard:
    """The right of one who lost it."""
    return held(directory, "theirs")


def test_who_lost_the_lease_publishes_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"of the next run")
    for uri in (tmp_path / "x", tmp_path / "new"):
        with pytest.raises(HeldError, match="theirs lost it to b'mine'"):
            put(str(uri), b"late", lost(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"of the next run", "_hold": b"mine"}


def test_who_holds_the_lease_publishes(tmp_path: Path) -> None:
    put(str(tmp_path / "x"), b"1", held(tmp_path))
    put(str(tmp_path / "x"), b"2", held(tmp_path))
    assert (tmp_path / "x").read_bytes() == b"2"


def test_without_a_lease_nobody_publishes(tmp_path: Path) -> None:
    guard = held(tmp_path)
    (tmp_path / "_hold").unlink()
    with pytest.raises(HeldError, match="mine lost it to None"):
        put(str(tmp_path / "x"), b"late", guard)
    assert names(tmp_path) == [], "nor is a lease made by looking for one"


def test_what_was_found_is_discarded_in_batches_while_the_lease_is_held(tmp_path: Path) -> None:
    for number in range(250):
        (tmp_path / f"{number:03d}").write_bytes(b"x")
    store, lease = store_for(str(tmp_path)), Lease(str(tmp_path))
    (tmp_path / "_hold").write_bytes(b"mine")
    found = [stat for stat in store.list(str(tmp_path)) if not stat.uri.endswith("_hold")]

    def until_it_is_lost() -> Iterator[Stat]:
        for number, stat in enumerate(found):
            if number == 150:  # somebody takes the lease over while the second batch is listed
                (tmp_path / "_hold").write_bytes(b"another's")
            yield stat

    with pytest.raises(HeldError):
        store.discard(until_it_is_lost(), lease.guard())
    assert len(names(tmp_path)) == 150 + 1
    assert lease.looks == [b"mine", b"another's"]
    (tmp_path / "_hold").write_bytes(b"mine")
    store.discard(found, lease.guard())
    assert names(tmp_path) == ["_hold"], "what is gone already is no error"


def test_who_lost_the_lease_sweeps_nothing(tmp_path: Path) -> None:
    sink = store_for(str(tmp_path)).create(str(tmp_path / "x"))
    with pytest.raises(HeldError):
        store_for(str(tmp_path)).sweep(str(tmp_path), time.time() + 60, lost(tmp_path))
    sink.publish()
    assert (tmp_path / "x").exists()


def test_nobody_takes_the_lease_between_the_look_and_the_new_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, order, taking = held(tmp_path), list[str](), Event()
    replace = Path.replace

    def take() -> None:
        taking.set()
        store_for(str(tmp_path)).swap(str(tmp_path / "_hold"), lambda _: order.append("taken") or b"another's")

    thief = Thread(target=take)

    def slow(path: Path, target: Path) -> Path:
        thief.start()
        taking.wait()
        time.sleep(0.1)
        order.append("published")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", slow)
    put(str(tmp_path / "x"), b"1", guard)
    thief.join()
    assert order == ["published", "taken"]


def test_a_process_that_stopped_in_the_lock_stops_nobody_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_lock, "WAIT", 0.1)
    guard = held(tmp_path)
    with local_lock.holding(guard):
        for act in (
            lambda: put(str(tmp_path / "x"), b"1", guard),
            lambda: store_for(str(tmp_path)).swap(str(tmp_path / "_hold"), lambda _: b"another's"),
        ):
            with pytest.raises(HeldError, match=r"_hold has been locked for 0 s: a process that has it open hangs"):
                act()
    assert names(tmp_path) == ["_hold"]


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(local_lock.fcntl, "flock", none)
    with pytest.raises(OSError, match=r"No locks available: its file system has no locks.*_hold"):
        put(str(tmp_path / "x"), b"1", held(tmp_path))


def test_the_clock_is_that_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clock of this machine says."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 600)
    assert abs(store_for(str(tmp_path)).clock(str(tmp_path / "new/_hold")) - now) < 5
    assert names(tmp_path / "new") == []
