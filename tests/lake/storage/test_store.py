"""What every store has in common: a sink proves what it wrote, URIs are joined, and a scheme finds its store."""

import errno
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from lake.core.errors import UsageError
from lake.core.ordered_map import requested, start_task
from lake.storage import Sink, StoreOptions, configure, configured, join, measured, put, store, store_for
from lake.storage.local import LocalStore


class Kept(Sink):
    """A sink that writes down what is done to it; ``holds`` is what its store has."""

    def __init__(self, holds: bytes | None = None) -> None:
        super().__init__("mem://x")
        self.data, self.holds, self.done = b"", holds, list[str]()

    def _put(self, view: memoryview) -> None:
        self.data += bytes(view)

    def written(self) -> io.BytesIO:
        self.done.append("written")
        return io.BytesIO(self.data if self.holds is None else self.holds)

    def publish(self) -> None:
        self.done.append("publish")

    def abort(self) -> None:
        self.done.append("abort")


def test_bytes_are_counted_and_summed_as_they_pass() -> None:
    sink = Kept()
    assert sink.writable()
    assert (sink.tell(), sink.size, sink.crc32c) == (0, 0, "00000000")
    assert sink.write(b"half") == 4
    assert sink.write(memoryview(b"xx and half"[2:])) == 9
    assert sink.write(memoryview(bytearray(b"\1\0\2\0")).cast("H")) == 4
    data = b"half and half\1\0\2\0"
    assert sink.data == data
    assert (sink.tell(), sink.size) == (17, 17)
    assert sink.crc32c == f"{google_crc32c.value(data):08x}"


def test_it_is_proved_and_then_published() -> None:
    sink = Kept()
    with sink as entered:
        assert entered is sink
        sink.write(b"data")
    assert sink.done == ["written", "publish"]


@pytest.mark.parametrize("holds", [b"", b"dat", b"Data", b"data1"])
def test_a_store_that_spoils_what_it_is_given_is_found_out(holds: bytes) -> None:
    sink = Kept(holds)
    sink.write(b"data")
    with pytest.raises(OSError, match="reads back as other bytes than were written") as caught:
        sink.finish()
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, "mem://x")
    assert sink.done == ["written", "abort"]


def test_an_error_in_the_block_publishes_nothing() -> None:
    sink = Kept()
    with pytest.raises(KeyboardInterrupt), sink:
        raise KeyboardInterrupt
    assert sink.done == ["abort"]


def test_measuring_goes_on_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_CHUNK", 3)
    file = io.BytesIO(b"0123456789")
    file.seek(1)
    asked: list[int] = []
    read = file.read
    file.read = lambda size: (asked.append(size), read(size))[1]  # type: ignore[method-assign]
    assert measured(file) == (9, f"{google_crc32c.value(b'123456789'):08x}")
    assert measured(file) == (0, "00000000")
    assert {*asked} == {3}, "a few bytes at a time, however large a file is"
    assert measured(io.BytesIO(b"\x00\x12")) == (2, f"{google_crc32c.value(bytes([0, 0x12])):08x}")


def test_joining() -> None:
    assert join("gs://b/", "a", "c") == "gs://b/a/c"
    assert join("/x//", "a/b") == "/x/a/b"
    assert join("/x") == "/x"
    assert join("gs://b/X", "a") == "gs://b/X/a"


@pytest.fixture
def options() -> Iterator[StoreOptions]:
    before = configured()
    yield before
    configure(before)


def test_a_scheme_finds_its_store(tmp_path: Path) -> None:
    assert isinstance(store_for(str(tmp_path)), LocalStore)
    assert isinstance(store_for(tmp_path.as_uri()), LocalStore)
    assert isinstance(store_for("a:b/c"), LocalStore), "a colon makes no scheme"
    assert store_for("/a") is store_for("b")
    assert type(store_for("gs://b/x")).__name__ == "GcsStore"


def test_an_unknown_scheme_is_refused_without_its_secrets() -> None:
    with pytest.raises(UsageError) as caught:
        store_for("ftp://user:word@h/x?sig=secret")
    text = str(caught.value)
    assert text == "'ftp://h/x': no store for the scheme 'ftp'; use a path or one of file://, gs://, s3://"


def test_another_configuration_is_another_store(options: StoreOptions) -> None:
    before = store_for("gs://b/x")
    configure(StoreOptions(anonymous=True))
    assert configured() == StoreOptions(anonymous=True)
    other = store_for("gs://b/x")
    assert other is not before
    assert other is store_for("gs://c/y")
    configure(options)
    assert store_for("gs://b/x") is before


def test_a_store_is_told_the_options(options: StoreOptions) -> None:
    configure(StoreOptions(requester_pays="project"))
    assert store_for("gs://b/x")._payer == "project"  # type: ignore[attr-defined]


def test_jobs_of_one_process_have_their_own_options(options: StoreOptions) -> None:
    """Each of two threads sees its own, also in the tasks that it starts; a third one those that were set last."""
    configure(options)
    both = threading.Barrier(2)

    def payers(payer: str) -> list[str]:
        configure(StoreOptions(requester_pays=payer))
        both.wait()
        mine: list[Any] = [store_for("gs://b/x"), *requested(store_for, ["gs://b/x"] * 40)]
        with ThreadPoolExecutor(1) as pool:
            mine.append(start_task(pool, store_for, "gs://b/x").result())
        return [store._payer for store in mine]

    with ThreadPoolExecutor(2) as jobs:
        assert [*jobs.map(payers, ["one", "two"])] == [["one"] * 42, ["two"] * 42]
    with ThreadPoolExecutor(1) as others:
        assert others.submit(configured).result().requester_pays in ("one", "two")
    assert configured() == options


def test_a_small_object_is_put_whole(tmp_path: Path) -> None:
    put(str(tmp_path / "a/b"), b"one")
    put(str(tmp_path / "a/b"), b"two")
    assert (tmp_path / "a/b").read_bytes() == b"two"


@pytest.mark.parametrize(
    "act",
    [lambda s: s.write(b"1"), lambda s: s.publish(), lambda s: s.abort(), lambda s: s.written(), lambda s: s.prove()],
)
def test_what_a_store_has_to_say_for_itself_is_asked_for(act: Callable[[Sink], object]) -> None:
    with pytest.raises(NotImplementedError):
        act(Sink("mem://x"))
