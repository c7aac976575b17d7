"""Bytes of an object by way of a file, against the bytes themselves; a function stands for the store."""

import io
import os
import random
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.counters import RETRIES, TALLY
from lake.storage import prefetch
from lake.storage.prefetch import ObjectFile

MOST, WHOLE = 64 << 10, 256 << 10
SMALL, LARGE = os.urandom(200_001), os.urandom(3_000_017)


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones."""
    for name, size in (("MOST", MOST), ("WHOLE", WHOLE), ("_FIRST", 4 << 10)):
        monkeypatch.setattr(prefetch, name, size)


class Served:
    """The bytes of an object as a store gives them, and what was asked for; so many times a bit is wrong."""

    def __init__(self, data: bytes, *, spoil: int = 0, latency: float = 0.0) -> None:
        self.data, self.spoil, self.latency = data, spoil, latency
        self.asked: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def fetch(self, start: int, stop: int) -> bytes:
        assert 0 <= start < stop <= len(self.data)
        time.sleep(self.latency)
        with self._lock:
            self.asked.append((start, stop))
            spoilt, self.spoil = self.spoil > 0, self.spoil - 1
        part = self.data[start:stop]
        return bytes([part[0] ^ 1]) + part[1:] if spoilt else part

    def file(self, *, begun: int = 0, checksum: bool = True, sparse: bool = False) -> io.BufferedReader:
        crc32c = f"{google_crc32c.value(self.data):08x}" if checksum else ""
        size, start = len(self.data), self.data[:begun]
        return io.BufferedReader(ObjectFile("gs://b/x", size, self.fetch, crc32c, start=start, sparse=sparse), 1 << 13)

    @property
    def fetched(self) -> int:
        return sum(stop - start for start, stop in self.asked)


@pytest.mark.parametrize("data", [b"", b"1", SMALL, LARGE], ids=len)
@pytest.mark.parametrize("begun", [0, 1, MOST])
@pytest.mark.parametrize("step", [1 << 12, 100_003, -1])
def test_from_the_beginning_to_the_end_each_byte_is_fetched_once(data: bytes, begun: int, step: int) -> None:
    served, before = Served(data), TALLY.counts.bytes_read
    with served.file(begun=begun) as file:
        assert b"".join(iter(lambda: file.read(step), b"")) == data
        assert file.tell() == len(data)
        assert file.read(1) == b""
    assert served.fetched == len(data) - min(begun, len(data))
    assert max((stop - start for start, stop in served.asked), default=0) <= MOST
    assert TALLY.counts.bytes_read - before == len(data)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=len)
@pytest.mark.parametrize("begun", [0, 5_000])
def test_wherever_a_reader_jumps_it_gets_what_is_there(data: bytes, sparse: bool, begun: int) -> None:
    rng, truth = random.Random(5), io.BytesIO(data)
    with Served(data).file(begun=begun, sparse=sparse) as file:
        for _ in range(300):
            whence = rng.choice([io.SEEK_SET, io.SEEK_END, io.SEEK_CUR])
            size, at = len(data), truth.tell()
            offset = {io.SEEK_SET: rng.randrange(size + 9), io.SEEK_END: -rng.randrange(size)}.get(
                whence, rng.randrange(-at, 50_000)
            )
            assert file.seek(offset, whence) == truth.seek(offset, whence)
            for _ in range(rng.randrange(4)):
                count = rng.choice([1, 100, 5_000, 90_000])
                assert file.read(count) == truth.read(count)
    with Served(data).file() as file, pytest.raises(OSError, match=r"before the beginning|negative seek"):
        file.seek(-1)


def test_few_places_cost_few_bytes() -> None:
    served = Served(LARGE)
    with served.file(sparse=True) as file:
        for at in (-8, 10, 1_500_000):
            file.seek(at, io.SEEK_END if at < 0 else io.SEEK_SET)
            assert file.read(8) == LARGE[at:][:8]
    assert served.fetched <= 3 * (8 << 10)
    served = Served(SMALL)
    with served.file(sparse=True) as file:
        assert file.read(2) == SMALL[:2]
    assert served.fetched <= 8 << 10


def test_some_places_are_followed_at_once() -> None:
    """As of columns that are read in turn, with large fetches ahead of each."""
    served = Served(LARGE)
    with served.file(sparse=True) as file:
        for at in range(0, 500_000, 5_000):
            for place in (0, 1_000_000, 2_000_000):
                file.seek(place + at)
                assert file.read(5_000) == LARGE[place + at :][:5_000]
    assert len(served.asked) < 3 * (500_000 // MOST + 3 + 4)
    assert served.fetched < 3 * (500_000 + 5 * MOST)


def test_a_reader_that_goes_on_is_met_by_ever_larger_fetches() -> None:
    first, sizes = 4 << 10, list[int]()
    served = Served(LARGE)
    with served.file(sparse=True) as file:
        file.seek(1_000)
        for _ in range(60):
            file.read(8 << 10)
    sizes = [stop - start for start, stop in sorted(served.asked)]
    assert sizes[:4] == [8 << 10, 32 << 10, MOST, MOST], "a reader asks for as much as its buffer holds"
    assert {*sizes[2:]} == {MOST}
    served = Served(LARGE)
    with ObjectFile("gs://b/x", len(LARGE), served.fetch, "", sparse=True) as raw:
        raw.seek(1_000)
        buffer = bytearray(100)
        for _ in range(300):
            raw.readinto(buffer)
        assert served.asked[0] == (1_000, 1_000 + first)
    assert sorted(served.asked)[1] == (5_096, 5_096 + 4 * first)
    assert sorted(served.asked)[2] == (5_096 + 4 * first, 5_096 + 4 * first + MOST)


def test_a_parquet_file_is_fetched_once() -> None:
    rng = random.Random(1)
    images = [rng.randbytes(2_000) for _ in range(2_000)]
    table = pa.table({"a": images, "b": list(range(2_000)), "c": images[::-1], "d": [str(n) for n in range(2_000)]})
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=500, compression="none", use_dictionary=False)
    served = Served(out.getvalue())
    with served.file() as file:
        found = pq.ParquetFile(file, buffer_size=1 << 14, pre_buffer=False)
        batches = [*found.iter_batches(100, use_threads=False)]
    assert pa.Table.from_batches(batches).equals(table)
    assert served.fetched < 1.1 * len(served.data)


def test_spoilt_bytes_are_fetched_again_where_the_object_is_small() -> None:
    for begun in (0, 100):
        served = Served(SMALL, spoil=1)
        with served.file(begun=begun) as file:
            assert file.read() == SMALL
        assert served.fetched == 2 * len(SMALL) - begun
    with Served(SMALL, spoil=1000).file() as file, pytest.raises(OSError, match="not those of its checksum") as caught:
        file.read(1)
    assert caught.value.filename == "gs://b/x"


def test_every_fetch_that_is_made_again_is_counted() -> None:
    RETRIES.take()
    with Served(SMALL, spoil=1).file() as file:
        file.read()
    assert RETRIES.take() == 1
    with Served(SMALL).file() as file:
        file.read()
    assert RETRIES.take() == 0


@pytest.mark.parametrize("begun", [0, 5_000])
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=len)
def test_of_an_object_without_a_checksum_each_byte_is_fetched_once(data: bytes, begun: int) -> None:
    served = Served(data)
    with served.file(begun=begun, checksum=False) as file:
        assert file.read() == data
    assert served.fetched == len(data) - begun


@pytest.mark.parametrize("sparse", [False, True])
def test_first_bytes_that_came_along_are_there_once(sparse: bool) -> None:
    with Served(LARGE).file(begun=5_000, sparse=sparse) as file:
        assert file.read(10) == LARGE[:10]
        for at in (500_000, 1_000_000, 1_500_000, 2_000_000, 2_500_000):
            file.seek(at)
            file.read(10)
        file.seek(0)
        assert file.read(100) == LARGE[:100]


def test_spoilt_bytes_of_a_large_object_are_found_before_its_last_ones_are_given() -> None:
    got = 0
    with Served(LARGE, spoil=1).file() as file, pytest.raises(OSError, match="not those of its checksum"):
        while chunk := file.read(1 << 12):
            got += len(chunk)
    assert len(LARGE) - MOST - (1 << 13) <= got < len(LARGE)
    with Served(LARGE, spoil=1).file(checksum=False) as file:
        assert len(file.read()) == len(LARGE), "of one without a checksum nothing is known"


def test_what_the_store_raises_is_raised_where_the_byte_is_read() -> None:
    served = Served(LARGE)
    fetch = served.fetch

    def failing(start: int, stop: int) -> bytes:
        if stop > 1_000_000:
            raise TimeoutError(f"no bytes {start} to {stop}")
        return fetch(start, stop)

    served.fetch = failing  # type: ignore[method-assign]
    with served.file() as file:
        assert file.read(500_000) == LARGE[:500_000]
        with pytest.raises(TimeoutError, match="no bytes"):
            file.read()


def test_latency_is_met_by_fetching_ahead() -> None:
    latency, work = 0.02, 0.008
    served = Served(LARGE, latency=latency)
    started = time.monotonic()
    with served.file() as file:
        while file.read(MOST):
            time.sleep(work)
    spans = -(-len(LARGE) // MOST)
    assert time.monotonic() - started < 0.9 * spans * (latency + work), "one after another would take longer"


def test_a_file_that_is_closed_fetches_no_more() -> None:
    served = Served(LARGE, latency=0.01)
    with served.file() as file:
        file.read(1)
    time.sleep(0.1)
    assert served.fetched <= 5 * MOST


def test_a_fork_fetches_with_threads_of_its_own() -> None:
    with Served(SMALL).file() as file:
        file.read()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks that have threads, which is what is tried here
        pid = os.fork()
    if not pid:
        with Served(SMALL[:100]).file() as file:
            os._exit(int(file.read() != SMALL[:100]))
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert ended == (pid, 0)


class Slow:
    """A pool whose first fetches are done at once, and the others never: what is on its way stays there."""

    def __init__(self, done: int) -> None:
        self.done, self.spans = done, list[tuple[int, int]]()
        self.waiting = list[Future[bytes]]()

    def submit(self, fetch: Callable[[int, int], bytes], start: int, stop: int) -> "Future[bytes]":
        future: Future[bytes] = Future()
        self.spans.append((start, stop))
        if len(self.spans) <= self.done:
            future.set_result(fetch(start, stop))
        else:
            self.waiting.append(future)
        return future


def slow(monkeypatch: pytest.MonkeyPatch, done: int) -> Slow:
    pool = Slow(done)

    def of(process: int) -> Slow:
        assert process == os.getpid()
        return pool

    monkeypatch.setattr(prefetch, "_pool", of)
    return pool


def opened(data: bytes, **how: Any) -> ObjectFile:
    served = Served(data)
    return ObjectFile("gs://b/x", len(data), served.fetch, f"{google_crc32c.value(data):08x}", **how)


@pytest.mark.parametrize("begun", [0, 5_000])
def test_from_the_beginning_three_fetches_run_ahead(monkeypatch: pytest.MonkeyPatch, begun: int) -> None:
    pool = slow(monkeypatch, 1)
    file = opened(LARGE, start=LARGE[:begun])
    assert file.readinto(bytearray(10)) == 10
    ahead = 4 if begun == 0 else 3
    assert pool.spans == [(begun + MOST * number, begun + MOST * (number + 1)) for number in range(ahead)]
    file.close()


def test_a_file_that_is_closed_gives_up_what_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = slow(monkeypatch, 1)
    file = opened(LARGE)
    file.readinto(bytearray(10))
    assert not any(future.cancelled() for future in pool.waiting)
    file.close()
    assert [future.cancelled() for future in pool.waiting] == [True] * 3
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        io.BufferedReader(file).read(1)


@pytest.mark.parametrize(
    ("wanted", "spans"), [(1, 1), (4 << 10, 1), (MOST, 1), (MOST + 1, 2), (3 * MOST, 3), (9 * MOST, 4)]
)
def test_a_large_read_is_fetched_in_parts_at_once(monkeypatch: pytest.MonkeyPatch, wanted: int, spans: int) -> None:
    pool = slow(monkeypatch, 1)
    file = opened(LARGE, sparse=True)
    file.seek(1_000)
    file.readinto(bytearray(wanted))
    width = max(4 << 10, min(wanted, MOST))
    assert pool.spans == [(1_000 + width * number, 1_000 + width * (number + 1)) for number in range(spans)]
    file.close()


def test_a_place_that_is_forgotten_gives_up_what_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = slow(monkeypatch, 1)
    file = opened(LARGE, sparse=True)
    file.readinto(bytearray(3 * MOST))
    pool.done = 99
    waiting = [*pool.waiting]
    assert len(waiting) == 2
    for place in range(1, 5):
        assert not any(future.cancelled() for future in waiting)
        file.seek(place * 600_000)
        file.readinto(bytearray(10))
    assert all(future.cancelled() for future in waiting), "four places are followed"


def test_the_place_that_was_read_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = slow(monkeypatch, 99)
    file = opened(LARGE, sparse=True)
    places = [0, 600_000, 1_200_000, 1_800_000]
    for place in (*places, 0, 2_400_000):
        file.seek(place)
        file.readinto(bytearray(10))
    known = len(pool.spans)
    assert known == 5
    file.seek(0)
    file.readinto(bytearray(10))
    assert len(pool.spans) == known, "read just before"
    file.seek(600_000)
    file.readinto(bytearray(10))
    assert len(pool.spans) == known + 1


@pytest.mark.parametrize(("size", "whole"), [(WHOLE, True), (WHOLE + 1, False)])
def test_up_to_which_size_an_object_is_fetched_whole(monkeypatch: pytest.MonkeyPatch, size: int, whole: bool) -> None:
    pool = slow(monkeypatch, 99)
    file = opened(LARGE[:size])
    file.seek(100_000)
    file.readinto(bytearray(10))
    assert sum(stop - start for start, stop in pool.spans) == (size if whole else 4 << 10)


def test_what_was_checked_whole_is_not_checked_again() -> None:
    file = opened(SMALL)
    for _ in range(2):
        file.seek(0)
        assert file.read() == SMALL
    assert (file._checked, file._crc) == (len(SMALL), 0)


def test_a_file_is_fetched_whole_unless_it_is_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = slow(monkeypatch, 99)
    file = ObjectFile("gs://b/x", 1_000, Served(SMALL[:1_000]).fetch, "")
    file.seek(500)
    assert file.read(10) == SMALL[500:510]
    assert pool.spans == [(0, 1_000)]


def test_nothing_is_asked_for_beyond_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = slow(monkeypatch, 999)
    with opened(LARGE) as file:
        assert file.read() == LARGE
        assert file.read(1) == b""
    assert [start for start, _ in pool.spans[1:]] == [stop for _, stop in pool.spans[:-1]]
    assert (pool.spans[0][0], pool.spans[-1][1]) == (0, len(LARGE))
