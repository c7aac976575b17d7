"""How far a running unit is: for the bar of its process, and as a file for everybody else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.core.counters import Tally
from pipeline.output.layout import Layout
from pipeline.output.progress.finished_units import FinishedUnits
from pipeline.output.progress.remaining import reckon
from pipeline.output.progress.unit_reports import UnitReport, read_reports
from pipeline.worker import unit_progress
from pipeline.worker.unit_progress import UnitProgress
from tests.pipeline.values import guard_for, make_config, make_shard, make_unit

UNIT = make_unit("a/b", shards=(make_shard("a/b.tfrecord", size=300),))


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> Tally:
    tally = Tally()
    monkeypatch.setattr(unit_progress, "TALLY", tally)
    return tally


def test_what_was_read_ahead_counts_when_it_has_come_out(tally: Tally, tmp_path: Path) -> None:
    tally.add(bytes_read=5)  # of a unit before

    def read() -> Iterator[int]:
        for size in (100, 0, 250):
            tally.add(bytes_read=size)
            yield size

    progress = UnitProgress(UNIT, make_config(tmp_path))
    batches = list(progress.noting(read()))
    assert batches == [100, 0, 250]
    assert tally.counts.running_bytes == 0
    found = []
    for _ in batches:
        progress.batch_done()
        found.append(tally.counts.running_bytes)
    assert found == [100, 100, 300], "no more than the unit has, though its labels were read as well"
    progress.end()
    progress.end()
    assert tally.counts.running_bytes == 0
    assert not list(tmp_path.iterdir()), "a unit that does not take long says nothing"


def test_a_unit_that_takes_long_says_how_far_it_is(
    tally: Tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_progress, "EVERY", 0.0)
    config, layout = make_config(tmp_path / "out"), Layout(str(tmp_path / "out"))
    guard_for(layout.output)
    progress = UnitProgress(UNIT, config)
    for _ in progress.noting([1, 2]):
        tally.add(bytes_read=100)
    progress.batch_done()
    assert read_reports(layout, "run-1")["a/b"].done == 0
    tally.add(bytes_read=100)
    progress.batch_done()
    (report,) = read_reports(layout, "run-1").values()
    assert (report.unit, report.done) == ("a/b", 100)
    found = FinishedUnits(layout, "run-1", {"a/b": 300, "c": 300}, {})
    found.update()
    remaining = found.remaining(report.at + 1)
    assert remaining is not None
    assert 0 < remaining.share < 0.2
    progress.end()
    assert read_reports(layout, "run-1") == {}


def test_a_report_that_cannot_be_written_fails_no_unit(
    tally: Tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_progress, "EVERY", 0.0)
    guard_for(tmp_path / "out", held=False)
    progress = UnitProgress(UNIT, make_config(tmp_path / "out"))
    for _ in progress.noting([1]):
        pass
    progress.batch_done()
    progress.end()
    assert read_reports(Layout(str(tmp_path / "out")), "run-1") == {}


def test_a_damaged_report_says_nothing(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    path = Path(layout.running("run-1"), "x.json")
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert read_reports(layout, "run-1") == {}


def test_a_report_grows_old() -> None:
    report = UnitReport(unit="a", done=100, seconds=20.0, own=10.0, at=1000.0)
    assert [report.done_by(now) for now in (900.0, 1000.0, 1010.0, 9999.0)] == [100.0, 100.0, 150.0, 250.0]
    assert [report.own_by(now) for now in (1000.0, 1010.0)] == [10.0, 15.0]


def test_a_unit_beside_others_has_a_part_of_the_time(
    tally: Tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For 4 s there are two units, then for 6 s one: it would have taken 8 s by itself."""
    clock, layout = [100.0], Layout(str(tmp_path / "out"))
    monkeypatch.setattr("pipeline.worker.unit_progress.time.monotonic", lambda: clock[0])
    guard_for(layout.output)
    config = make_config(layout.output)
    one, other = UnitProgress(UNIT, config), UnitProgress(make_unit("c"), config)
    for _ in one.noting([1, 2]):
        tally.add(bytes_read=150)
    clock[0] = 104.0
    one.batch_done()
    other.end()
    clock[0] = 110.0
    one.batch_done()
    report = read_reports(layout, "run-1")["a/b"]
    one.end()
    assert (report.done, report.seconds, report.own) == (150, 10.0, 8.0)
    work = {"a/b": 300.0, **{f"{number}": 10.0 for number in range(9)}}
    found = reckon(work, [*work][1:], {"a/b": (150.0, report.own)}, 10.0)
    assert found is not None
    assert found.seconds == pytest.approx(8.0), "at its own pace by then, which is more than that of all work, 6.25 s"
