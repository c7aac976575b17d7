"""The time of a store, from the dates of its answers."""

import time
from email.utils import formatdate

import pytest

from lake.storage import store_clock
from lake.storage.store_clock import StoreClock
from tests.lake.storage.clock import Clock


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(store_clock.time, "monotonic", clock.monotonic)
    return clock


def date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


def test_without_an_answer_it_is_this_machine_s() -> None:
    clock = StoreClock()
    for nothing in (None, "yesterday", ""):
        clock.hear(nothing, 0.0)
    assert not clock.heard
    assert abs(clock.now() - time.time()) < 1


def test_answers_narrow_it_down(passing: Clock) -> None:
    """The store is 600.4 s ahead; its dates have whole seconds."""
    clock, errors = StoreClock(), list[float]()
    for _ in range(60):
        passing.now += 7.13
        store = 1_800_000_000.4 + passing.now
        clock.hear(date(store), took=0.02)
        errors.append(abs(clock.now() - store))
    assert max(errors) <= 0.51
    assert errors[-1] < 0.1


def test_a_slow_answer_says_less(passing: Clock) -> None:
    clock = StoreClock()
    clock.hear(date(1_800_000_000), took=0.0)
    before = clock.now()
    passing.now += 100
    clock.hear(date(1_800_000_000 + 10), took=95.0)  # made soon after it was asked for, and long under way
    assert abs(clock.now() - before - 100) < 0.6


def test_time_goes_on_between_answers(passing: Clock) -> None:
    clock = StoreClock()
    clock.hear(date(1_800_000_000), took=0.0)
    passing.now += 30
    assert abs(clock.now() - 1_800_000_030.5) < 0.01


def test_a_machine_that_slept_is_told(passing: Clock) -> None:
    """Its monotonic clock may have stood still."""
    clock = StoreClock()
    clock.hear(date(1_800_000_000), took=0.0)
    clock.hear(date(1_800_003_600), took=0.0)
    assert 1_800_003_600 <= clock.now() <= 1_800_003_601
