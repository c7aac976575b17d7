"""Requests that are made again: how often, with what pauses, and when not."""

import logging
import re
import threading
from itertools import pairwise

import pytest

from lake.core.counters import RETRIES
from lake.storage import request_retry
from lake.storage.request_retry import RequestBackoff, persist
from tests.lake.storage.clock import Clock


class PassingError(Exception):
    pass


class SignedError(PassingError):
    def __init__(self, _: str) -> None:
        super().__init__("at https://user:word@h/o?upload_id=secret")


CLOCK = Clock()


class Failing:
    """A request that fails so many times."""

    def __init__(self, times: int, error: type[Exception] = PassingError) -> None:
        self.left, self.error, self.calls = times, error, list[float]()

    def __call__(self) -> str:
        self.calls.append(CLOCK.now)
        self.left -= 1
        if self.left >= 0:
            raise self.error("no luck")
        return "done"


def passes(error: Exception) -> bool:
    return isinstance(error, PassingError)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", RequestBackoff(first=0.01, most=0.04, deadline=5.0))
    monkeypatch.setattr("lake.core.retry.time", CLOCK)
    RETRIES.take()


@pytest.mark.parametrize("times", [0, 1, 4])
def test_what_passes_is_made_again_and_counted(times: int) -> None:
    request = Failing(times)
    assert persist("get x", request, passes) == "done"
    assert len(request.calls) == times + 1
    assert (RETRIES.take(), RETRIES.take()) == (times, 0), "each is counted once"


def test_pauses_grow_up_to_the_longest() -> None:
    request = Failing(6)
    persist("get x", request, passes)
    pauses = [after - before for before, after in pairwise(request.calls)]
    wanted = [0.01, 0.02, 0.04, 0.04, 0.04, 0.04]
    assert all(most / 2 - 1e-9 <= pause < most + 1e-9 for pause, most in zip(pauses, wanted, strict=True)), pauses


def test_what_does_not_pass_is_raised_at_once() -> None:
    request = Failing(1, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        persist("get x", request, passes)
    assert (len(request.calls), RETRIES.take()) == (1, 0)


def test_after_the_deadline_the_last_cause_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", RequestBackoff(first=0.01, most=0.04, deadline=0.3))
    request, started = Failing(1 << 30), CLOCK.now
    with pytest.raises(PassingError, match="no luck"):
        persist("get x", request, passes)
    assert 0.3 - 0.04 < CLOCK.now - started <= 0.3
    assert RETRIES.take() == len(request.calls) - 1 >= 6


def test_thousands_of_tries_are_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", RequestBackoff(first=1e-9, most=1e-9))
    assert persist("get x", Failing(3000), passes) == "done"
    assert RETRIES.take() == 3000


def test_tries_are_logged_with_their_cause_and_once_aloud(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lake"):
        persist("get x", Failing(7), passes)
    assert [record.levelno for record in caplog.records] == [logging.INFO] * 4 + [logging.WARNING] + [logging.INFO] * 2
    assert all(
        re.fullmatch(r"get x failed, next attempt in 0\.0 s, for another 5 s: no luck", m) for m in caplog.messages
    )


def test_what_is_logged_holds_no_query_of_a_url(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lake"):
        persist("put x", Failing(1, SignedError), passes)
    assert caplog.messages == ["put x failed, next attempt in 0.0 s, for another 5 s: at https://h/o"]


def test_retries_of_many_threads_are_all_counted() -> None:
    threads = [threading.Thread(target=lambda: [RETRIES.add() for _ in range(1000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert RETRIES.take() == 8000
