"""The progress line as a function of what has been done."""

from types import SimpleNamespace

import pytest

from pipeline import terminal
from pipeline.drawn import drawn_units
from pipeline.progress import Tally
from pipeline.terminal import Progress


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> Tally:
    tally = Tally()
    monkeypatch.setattr(terminal, "TALLY", tally)
    return tally


def progress(todo_bytes: int, units: int) -> Progress:
    return Progress(SimpleNamespace(plan=SimpleNamespace(todo_bytes=todo_bytes, todo=range(units))))  # type: ignore[arg-type]


def test_rate_share_rejects_and_time_left(tally: Tally) -> None:
    shown = progress(1000, 4)
    assert shown.line(shown._started + 3).startswith("loading the model")
    tally.add(read=100)
    shown.line(10.0)
    tally.add(read=1900, rejected=5, units=1, unit_bytes=250, bytes_read=300)
    line = shown.line(20.0)
    assert "30%" in line
    assert "2,000 records  200/s  5 rejects  1/4 units" in line
    assert line.endswith("0:23 left")  # 70% at 30% in 10 s


def test_it_never_says_more_than_all(tally: Tally) -> None:
    shown = progress(1000, 1)
    tally.add(read=1, bytes_read=5000)
    assert " 99%" in shown.line(1.0)
    tally.add(units=1, unit_bytes=1000)
    assert "100%" in shown.line(2.0)


def test_the_share_of_images_that_are_drawn(tally: Tally) -> None:
    plan = SimpleNamespace(todo_bytes=0, todo=list(drawn_units(10_000)))
    shown = Progress(SimpleNamespace(plan=plan))  # type: ignore[arg-type]
    tally.add(read=2_500)
    assert " 25%  2,500 records" in shown.line(1.0)
