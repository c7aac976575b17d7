"""How long the rest of a run takes, against runs over skewed units that are played to their end."""

from collections.abc import Mapping
from heapq import heapify, heapreplace

import numpy as np
import pytest

from pipeline.output.progress.remaining import reckon

SPEED = 7.0  # work of a second
SKEWED = {
    "one of half": [400.0, *[20.0] * 20],
    "one of a fifth": [100.0, *[10.0] * 40],
    "each half of the one before": [512.0 / 2**number for number in range(10)] + [1.0] * 20,
    "a long tail": [1000.0 / (number + 1) for number in range(200)],
    "equal": [10.0] * 64,
    **{f"random {seed}": np.random.default_rng(seed).lognormal(2, 1.2, 100).tolist() for seed in range(8)},
}


def played(work: Mapping[str, float], workers: int) -> dict[str, tuple[float, float]]:
    """When each unit begins and ends, if the worker that is free takes the largest that is left."""
    free, times = [0.0] * workers, dict[str, tuple[float, float]]()
    heapify(free)
    for unit in sorted(work, key=lambda unit: -work[unit]):
        begin = free[0]
        times[unit] = begin, begin + work[unit] / SPEED
        heapreplace(free, times[unit][1])
    return times


def error_at(part: float, work: Mapping[str, float], workers: int, silent: float) -> float:
    """How far what is said to be left is from what is left, as a share of that.

    Units say nothing of themselves in their first seconds, which are a ``silent`` part of the whole.
    """
    times = played(work, workers)
    end = max(stop for _, stop in times.values())
    now = part * end
    ended = [unit for unit, (_, stop) in times.items() if stop <= now]
    under_way = {unit: now - begin for unit, (begin, stop) in times.items() if begin < now < stop}
    running = {unit: (SPEED * took, took) for unit, took in under_way.items() if took > silent * end}
    found = reckon(work, ended, running, now)
    assert found is not None
    assert 0 < found.share < 1
    return abs(found.seconds - (end - now)) / (end - now)


@pytest.mark.parametrize("name", SKEWED)
@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_at_half_time_the_error_is_small(name: str, workers: int) -> None:
    work = {f"{number}": size for number, size in enumerate(SKEWED[name])}
    assert error_at(0.5, work, workers, silent=0) <= 0.1
    assert error_at(0.5, work, workers, silent=0.02) <= 0.15


def test_bytes_of_ended_units_alone_would_say_too_much() -> None:
    """Half of the work is one unit, which is half done when half of the others are: as a share of bytes, a quarter."""
    work = {"large": 400.0} | {f"{number}": 20.0 for number in range(20)}
    ended = [f"{number}" for number in range(10)]
    said, knowing = reckon(work, ended, {}, 10.0), reckon(work, ended, {"large": (200.0, 10.0)}, 10.0)
    assert said is not None
    assert knowing is not None
    assert (knowing.share, knowing.seconds) == (0.5, 10.0)
    assert (said.share, said.seconds) == (0.25, 30.0)


def test_the_rest_is_one_unit_on_one_worker() -> None:
    """The others have done their work at twice the pace, which does not help any more."""
    work = {"large": 400.0} | {f"{number}": 20.0 for number in range(20)}
    found = reckon(work, [*work][1:], {"large": (200.0, 10.0)}, 10.0)
    assert found is not None
    assert (found.share, found.seconds) == (0.75, 10.0)


def test_a_unit_that_should_have_ended_is_nearly_done() -> None:
    found = reckon({"a": 10.0, "b": 10.0}, ["a"], {"b": (12.0, 99.0)}, 100.0)
    assert found is not None
    assert found.share == pytest.approx(0.995)
    assert found.seconds == pytest.approx(1.0)


def test_before_there_is_anything_to_tell_by() -> None:
    assert reckon({"a": 1.0}, [], {}, 5.0) is None
    assert reckon({"a": 1.0}, ["a"], {}, 0.0) is None
