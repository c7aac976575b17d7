"""The time left of runs over small and large images, against runs that are played to their end."""

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.output.progress.pace import Pace

Unit = tuple[float, float]  # bytes and records
PER_RECORD, PER_BYTE = 5e-5, 4e-9  # seconds
SMALL, LARGE = (2048.0 * 20_000, 20_000.0), (180e3 * 1250, 1250.0)
_RNG = np.random.default_rng(0)
RUNS = {
    "equal": [SMALL] * 12,
    "large ones first": [LARGE] * 4 + [SMALL] * 8,
    "small ones first": [SMALL] * 8 + [LARGE] * 4,
    "in turn": [SMALL, LARGE] * 4 + [SMALL] * 4,
    "at random": [SMALL if small else LARGE for small in _RNG.random(40) < 0.5],
}


def played(units: Sequence[Unit]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds, records and bytes after each fortieth of a unit."""
    size = np.repeat([unit[0] / 40 for unit in units], 40)
    records = np.repeat([unit[1] / 40 for unit in units], 40)
    seconds = PER_RECORD * records + PER_BYTE * size
    return np.cumsum(seconds), np.cumsum(records), np.cumsum(size)


@pytest.mark.parametrize("name", RUNS)
def test_the_truth_is_within_what_is_said(name: str) -> None:
    seconds, records, size = played(RUNS[name])
    pace, errors = Pace(records=records[-1], bytes=size[-1]), {}
    for at in range(len(seconds) - 1):
        pace.add(seconds[at], records[at], size[at])
        left, truth = pace.left(), seconds[-1] - seconds[at]
        assert left is not None and 0 < left.share < 1
        assert left.least * 0.999 <= left.seconds <= left.most * 1.001
        assert left.least * 0.98 <= truth <= left.most * 1.02
        errors[seconds[at] / seconds[-1]] = abs(left.seconds - truth) / truth
    half = min(errors, key=lambda part: abs(part - 0.5))
    # Where small ones alone have been seen, nothing tells what large ones cost, and the range says so.
    assert errors[half] < 0.05 or name == "small ones first"


def test_a_range_where_nothing_tells() -> None:
    """At half time of the small ones: by records most is done, by bytes little."""
    seconds, records, size = played(RUNS["small ones first"])
    pace = Pace(records=records[-1], bytes=size[-1])
    for at in range(160):
        pace.add(seconds[at], records[at], size[at])
    left = pace.left()
    assert left is not None
    assert left.most > 5 * left.least
    assert left.least == pytest.approx(seconds[159] * (records[-1] - records[159]) / records[159])
    assert left.most == pytest.approx(seconds[159] * (size[-1] - size[159]) / size[159])


def test_results_that_come_in_batches() -> None:
    """Four batches of large images take a third of the time, and then 500 of small ones the rest."""
    sizes = np.array([(180e3 * 1250, 1250.0)] * 4 + [(2048.0 * 320, 320.0)] * 500)
    size, records = np.cumsum(sizes, axis=0).T
    seconds = PER_RECORD * records + PER_BYTE * size
    pace, errors = Pace(records=records[-1], bytes=size[-1]), []
    for now in np.arange(0.1, seconds[-1] - 0.1, 0.02):  # a bar looks all the time, whether there is a new batch or not
        done = int(np.searchsorted(seconds, now, side="right"))
        pace.add(now, *((records[done - 1], size[done - 1]) if done else (0.0, 0.0)))
        if 0.4 < now / seconds[-1] < 0.75:
            left = pace.left()
            assert left is not None
            errors.append(abs(left.seconds - (seconds[-1] - now)) / (seconds[-1] - now))
    assert max(errors) < 0.12


def test_a_pause_that_is_longer_than_others_counts() -> None:
    pace = Pace(records=100, bytes=1000)
    for second in range(1, 11):
        pace.add(float(second), 5 * second, 50 * second)
    said = []
    for now in (10.0, 10.5, 11.0, 20.0):
        pace.add(now, 50, 500)
        left = pace.left()
        assert left is not None
        said.append(left.seconds)
    assert said == pytest.approx([10.0, 9.5, 9.0, 18.0])


def test_memory_is_bounded_and_noise_is_borne() -> None:
    seconds, records, size = played(RUNS["at random"] * 20)
    noise = np.cumsum(np.diff(seconds, prepend=0) * _RNG.lognormal(0, 0.5, len(seconds)))
    pace = Pace(records=records[-1], bytes=size[-1])
    for at in range(len(seconds) // 2):
        pace.add(noise[at], records[at], size[at])
    left = pace.left()
    assert left is not None and len(pace._moments) <= 128
    assert left.seconds == pytest.approx(noise[-1] - noise[len(seconds) // 2 - 1], rel=0.1)


def test_before_there_is_anything_to_tell_by() -> None:
    pace = Pace(records=10, bytes=100)
    assert pace.left() is None
    pace.add(0.0, 0, 0)
    assert pace.left() is None
