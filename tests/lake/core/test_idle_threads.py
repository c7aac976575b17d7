"""Parts of a task on idle threads: their order, how many at once, and that none waits for a busy pool."""

import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import numpy as np
import pytest

from lake.core.idle_threads import IdleThreads
from lake.core.stopwatch import Stopwatch, spent_on


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


@pytest.mark.parametrize("at_once", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 50])
def test_results_come_in_order(pool: ThreadPoolExecutor, at_once: int, count: int) -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.002 * (item % 3 == 0))
        return -item

    assert list(IdleThreads(pool, at_once).map(slow_first, range(count))) == [-item for item in range(count)]


def test_as_many_run_at_once_as_asked(pool: ThreadPoolExecutor) -> None:
    barrier, lock, running, most = threading.Barrier(3), threading.Lock(), 0, 0

    def work(item: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if item < 3:
            barrier.wait(10)  # it breaks unless three are there
        with lock:
            running -= 1
        return item

    assert list(IdleThreads(pool, 3).map(work, range(12))) == list(range(12))
    assert most == 3


def test_items_are_taken_as_results_are(pool: ThreadPoolExecutor) -> None:
    taken = []
    items = (taken.append(item) or item for item in range(100))  # type: ignore[func-returns-value]
    results = IdleThreads(pool, 3).map(abs, items)
    for consumed in range(1, 5):
        next(results)
        assert len(taken) == consumed + 2


@pytest.mark.timeout(20)
def test_tasks_of_a_full_pool_do_their_parts_themselves() -> None:
    """With a plain map on the pool, each of them would wait for a thread that another one holds."""
    with ThreadPoolExecutor(2) as pool:
        idle, both = IdleThreads(pool, 2), threading.Barrier(2)

        def task(number: int) -> list[tuple[int, str]]:
            both.wait(10)
            return list(idle.map(lambda part: (number * part, threading.current_thread().name), range(5)))

        found = list(pool.map(task, (1, 2)))
    assert [[value for value, _ in one] for one in found] == [[0, 1, 2, 3, 4], [0, 2, 4, 6, 8]]


@pytest.mark.timeout(20)
def test_who_waits_for_a_slot_helps_who_has_it() -> None:
    """All threads of the pool have tasks that wait for one slot, as batches of large images do."""
    slot, names = threading.BoundedSemaphore(1), list[set[str]]()

    def part(_: int) -> str:
        time.sleep(0.05)
        return threading.current_thread().name

    with ThreadPoolExecutor(3) as pool:
        idle = IdleThreads(pool, 2)

        def task(_: int) -> None:
            idle.acquire(slot)
            try:
                names.append(set(idle.map(part, range(8))))
            finally:
                slot.release()

        list(pool.map(task, range(3)))
    assert all(len(one) > 1 for one in names[:2]), "of the last task nobody waits"


def test_the_first_error_in_order_is_raised_and_nothing_goes_on(pool: ThreadPoolExecutor) -> None:
    begun, ended = [], []

    def work(item: int) -> int:
        begun.append(item)
        if item == 1:
            time.sleep(0.05)
            raise ValueError("first")
        if item == 2:
            raise ValueError("second")
        ended.append(item)
        return item

    with pytest.raises(ValueError, match="first"):
        list(IdleThreads(pool, 3).map(work, range(100)))
    assert max(begun) <= 3
    count = len(ended)
    time.sleep(0.05)
    assert len(ended) == count, "what had begun was waited for"


def test_a_consumer_that_stops_ends_it(pool: ThreadPoolExecutor) -> None:
    begun = []
    results = IdleThreads(pool, 2).map(lambda item: begun.append(item), range(100))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 3


def test_what_is_done_is_let_go_of(pool: ThreadPoolExecutor) -> None:
    """Also by a pool that has not yet passed what was cancelled."""
    gate = threading.Event()
    for _ in range(4):
        pool.submit(gate.wait, 20)
    image = np.zeros(10)
    known = weakref.ref(image)

    def shown(part: int, image: np.ndarray = image) -> float:
        return float(image[part])

    assert list(IdleThreads(pool, 2).map(shown, range(3))) == [0, 0, 0]
    del image, shown
    assert known() is None
    gate.set()


def test_parts_run_in_the_callers_context_and_count_for_its_work(pool: ThreadPoolExecutor) -> None:
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("of the caller")
    watch = Stopwatch()

    def work(_: int) -> str:
        with spent_on("model"):
            time.sleep(0.05)
        return variable.get()

    with watch.time("decode"):
        assert set(IdleThreads(pool, 2).map(work, range(6))) == {"of the caller"}
    assert 0.3 <= watch.seconds["model"] < 0.6
    assert watch.seconds["decode"] < 0.1, "waiting is no decoding"
