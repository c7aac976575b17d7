import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lake.core.ordered_map import ordered_map


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_results_keep_the_order_of_the_items(pool: ThreadPoolExecutor) -> None:
    def work(i: int) -> int:
        time.sleep(0.002 * (i % 3))
        return i * i

    assert list(ordered_map(pool, work, range(50), ahead=7)) == [i * i for i in range(50)]


def test_at_most_ahead_items_are_taken_and_not_given_back(pool: ThreadPoolExecutor) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for i in range(100):
            taken += 1
            yield i

    for given, _ in enumerate(ordered_map(pool, str, items(), ahead=5)):
        assert taken - given <= 5


def test_an_error_of_the_source_comes_after_the_results_before_it(pool: ThreadPoolExecutor) -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("cut")

    results = ordered_map(pool, str, items(), ahead=10)
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(ValueError, match="cut"):
        next(results)


def test_an_error_of_the_work_drops_what_is_in_flight(pool: ThreadPoolExecutor) -> None:
    ran = []
    gate = threading.Event()

    def work(i: int) -> int:
        if i == 0:
            raise ValueError("bad")
        gate.wait(5)
        ran.append(i)
        return i

    with pytest.raises(ValueError, match="bad"):
        list(ordered_map(pool, work, range(40), ahead=30))
    gate.set()
    pool.shutdown(wait=True)
    assert len(ran) <= 4, "only what a thread had begun already may still run"
