"""Seconds of threads by what they do, against a clock that a test sets."""

import threading
from types import SimpleNamespace

import pytest

from lake.core import stopwatch as module
from lake.core.stopwatch import Stopwatch, spent_on


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: made.now))
    return made


def test_parts_inside_a_part_count_for_themselves(clock: SimpleNamespace) -> None:
    watch = Stopwatch()
    with watch.time("decode"):
        clock.now += 1
        with spent_on("model"):
            clock.now += 2
            with spent_on("model"):
                clock.now += 4
        clock.now += 8
        with spent_on("write"):
            clock.now += 16
    assert watch.seconds == {"decode": 9, "model": 6, "write": 16}


def test_an_error_counts_too(clock: SimpleNamespace) -> None:
    watch = Stopwatch()
    with pytest.raises(ValueError, match="bad"), watch.time("decode"):
        clock.now += 3
        raise ValueError("bad")
    with spent_on("model"):  # nobody measures
        clock.now += 5
    assert watch.seconds == {"decode": 3}


def test_what_an_iterator_takes_is_counted_and_what_is_done_with_it_is_not(clock: SimpleNamespace) -> None:
    def read():
        for item in range(3):
            clock.now += 1
            yield item

    watch = Stopwatch()
    found = []
    for item in watch.each("read", read()):
        clock.now += 10
        found.append(item)
    assert (found, watch.seconds) == ([0, 1, 2], {"read": 3})


def test_threads_add_up() -> None:
    watch = Stopwatch()
    barrier = threading.Barrier(8)

    def work() -> None:
        for _ in range(200):
            with watch.time("decode"), spent_on("model"):
                pass
        barrier.wait(10)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(watch.seconds) == {"decode", "model"}
    assert min(watch.seconds.values()) >= 0
