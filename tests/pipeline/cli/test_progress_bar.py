"""The progress line as a function of what has been done, and what a terminal gets to see of it."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from lake.core.counters import Tally
from lake.core.records import Unit
from lake.inputs.discover import find_shards
from lake.inputs.sampled import sampled_units
from lake.inputs.units import make_units
from pipeline.cli import progress_bar
from pipeline.cli.progress_bar import Progress
from pipeline.output.progress.remaining import Remaining
from tests.conftest import write_parquet
from tests.pipeline.values import make_unit
from tests.terminals import said_on_a_terminal, settings

MB = 10**6


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> Tally:
    tally = Tally()
    monkeypatch.setattr(progress_bar, "TALLY", tally)
    return tally


def over(units: Sequence[Unit], todo_bytes: int) -> Progress:
    return Progress(SimpleNamespace(plan=SimpleNamespace(todo_bytes=todo_bytes, todo=units)))  # type: ignore[arg-type]


def progress(todo_bytes: int, units: int) -> Progress:
    return over([make_unit(f"{number}") for number in range(units)], todo_bytes)


def test_rate_share_rejects_and_time_left(tally: Tally) -> None:
    shown = progress(1000 * MB, 4)
    assert shown.line(shown._started + 3, 70).startswith("loading the model")
    tally.add(read=100)
    shown.line(10.0)
    tally.add(read=1900, rejected=5, units=1, unit_bytes=250 * MB, running_bytes=51 * MB, bytes_read=900 * MB)
    line = shown.line(20.0, 70, "#-")
    assert line == "###-------  30%  2,000 records  190/s  5 rejects  1/4 units  0:23 left"  # 70% at 30% in 10 s
    assert shown.line(20.0) == (
        "30% done: 2,000 records read, 190 a second, 5 rejected; 1 of 4 units finished; about 23 s left"
    )


def test_a_first_batch_that_comes_with_the_first_look_took_no_time(tally: Tally) -> None:
    """Ten batches of ten seconds each: after five of them, fifty are left."""
    shown = over([make_unit("a", stop=100)], 10)
    shown.count_records()
    for number in range(1, 6):
        tally.add(read=10)
        found = shown.shown(10.0 * number)
    assert found is not None
    assert (found.rate, found.left) == (1.0, 50.0)


def test_how_far_a_cluster_is_the_source_says(tally: Tally) -> None:
    source = SimpleNamespace(counts=tally.counts, first=100.0, remaining=lambda: Remaining(share=0.4, seconds=33.0))
    plan = SimpleNamespace(todo_bytes=1000, todo=[make_unit("a"), make_unit("b")])
    shown = Progress(SimpleNamespace(plan=plan), source)  # type: ignore[arg-type]
    tally.add(read=10, units=1, unit_bytes=10)
    source.counts = tally.counts
    assert shown.line(110.0, 60, "#-") == " 40%  10 records  1.0/s  0 rejects  1/2 units  0:33 left"
    tally.add(read=10, units=1)
    source.counts = tally.counts
    assert shown.line(120.0, 50) == "100%  20 records  1.0/s  0 rejects  2/2 units"


def test_what_an_engine_says_has_no_escapes(tally: Tally) -> None:
    source = SimpleNamespace(counts=tally.counts, first=None, remaining=lambda: None, waiting="Flink: \x1b[2J\nRUNNING")
    plan = SimpleNamespace(todo_bytes=1000, todo=[make_unit("a")])
    shown = Progress(SimpleNamespace(plan=plan), source)  # type: ignore[arg-type]
    assert shown.line(shown._started + 3, 70) == r"Flink: \x1b[2J\nRUNNING, 3 s"


def test_it_never_says_more_than_all(tally: Tally) -> None:
    shown = progress(1000, 1)
    tally.add(read=1, running_bytes=5000 * MB)
    assert " 99%" in shown.line(1.0, 70)
    tally.add(units=1, unit_bytes=1000)
    assert "100%" in shown.line(2.0, 70)


def test_the_share_of_images_that_are_drawn(tally: Tally) -> None:
    shown = over(list(sampled_units(10_000)), 0)
    shown.count_records()
    tally.add(read=2_500)
    assert " 25%  2,500 records" in shown.line(1.0, 70)
    assert "25% done: 2,500 of 10,000 records read, 0 rejected; 0 of 2 units" in shown.line(1.0)


@pytest.mark.parametrize("read", [1, 3, 9, 9_999, 999_999])
def test_no_time_is_left_only_when_nothing_is_left(tally: Tally, read: int) -> None:
    shown = over([make_unit("a", stop=1_000_000), make_unit("b", stop=1_000_000)], 10)
    shown.count_records()
    tally.add(read=read, bytes_read=10**9)
    shown.line(0.0)
    for now in (0.1, 0.9, 1.0, 5.0, 1000.0, 100_000.0):
        line = shown.line(now, 200)
        assert " 0/s" not in line
        assert " 0.0/" not in line or read * 60 < 0.05 * now
        assert " 0:00 left" not in line
        assert "100%" not in line
    tally.add(units=2)
    assert "100%" in shown.line(100_001.0, 200)
    assert "left" not in shown.line(100_001.0, 200)
    assert "100% done" in shown.line(100_001.0)
    assert "left" not in shown.line(100_001.0)


def test_rates_below_one_and_hours(tally: Tally) -> None:
    shown = over([make_unit("a", stop=1000)], 10)
    shown.count_records()
    tally.add(read=10)
    shown.line(0.0)
    assert shown.line(200.0, 65) == "  1%  10 records  3.0/min  0 rejects  0/1 units  5:30:00 left"
    assert "2.5/s" in shown.line(4.0, 80)
    assert shown.line(200.0) == (
        "1% done: 10 of 1,000 records read, 3.0 a minute, 0 rejected; 0 of 1 units finished; about 5 h 30 min left"
    )


def test_footers_say_how_many_records_parquet_has(tmp_path: Path, tally: Tally) -> None:
    """Its bytes do not: columns that are not read may be most of it."""
    for name, rows in (("a", 10), ("b", 30)):
        write_parquet(tmp_path / f"{name}.parquet", [b"x"] * rows, range(rows))
    shown = over(list(make_units(find_shards([str(tmp_path)], "parquet"))), 10**9)
    shown.count_records()
    tally.add(read=20, running_bytes=10)
    assert " 50%  20 records" in shown.line(1.0, 70)
    (tmp_path / "b.parquet").write_bytes(b"PAR1 damaged")
    shown.count_records()
    assert "  0%  20 records" in shown.line(1.0, 70)


def test_files_of_a_folder_are_records(tally: Tally) -> None:
    shown = over([make_unit("a", "1.png", "2.png", "3.png", "4.png", format="folder")], 10**9)
    shown.count_records()
    tally.add(read=3)
    assert " 75%" in shown.line(1.0, 70)


def test_what_is_read_ahead_is_not_done(tally: Tally) -> None:
    shown = over([make_unit("a"), make_unit("b")], 1000 * MB)
    tally.add(read=1, bytes_read=1000 * MB, running_bytes=201 * MB)
    assert " 20%" in shown.line(1.0, 70)
    tally.add(running_bytes=-201 * MB)
    tally.add(units=1, unit_bytes=501 * MB)
    assert " 50%" in shown.line(1.0, 70)


def test_a_line_fits_whatever_the_width(tally: Tally) -> None:
    shown = over([make_unit("a", stop=10**9)], 10)
    shown.count_records()
    lines = [shown.line(shown._started + 3, width) for width in range(200)]
    tally.add(read=123_456_789, rejected=12_345)
    shown.line(0.0)
    lines = [*lines, *(shown.line(9_999.0, width) for width in range(200))]
    assert all(len(line) <= number % 200 for number, line in enumerate(lines))
    assert shown.line(9_999.0, 19) == " 12%  19:43:13 left"
    assert shown.line(9_999.0, 50).startswith(" 12%  123,456,789 records  12,347/s")
    assert shown.line(9_999.0, 199).count("█") == 2


SCRIPT = """
import fcntl, struct, sys, termios, time
from types import SimpleNamespace
from lake.core.counters import TALLY
from pipeline.cli import progress_bar
from tests.pipeline.values import make_unit
progress_bar._LINE, progress_bar._FRAME, progress_bar._SURE = 0.03, 0.02, 0.05
lines = []
class Counted(progress_bar.Progress):
    def line(self, *given):
        lines.append(super().line(*given))
        return lines[-1]
def say(text):
    sys.stderr.write(text)
    sys.stderr.flush()
def wait():
    until = len(lines) + 3
    while len(lines) < until:
        time.sleep(0.005)
plan = SimpleNamespace(todo_bytes=10, todo=[make_unit("a", stop=2_000_000)])
with Counted(SimpleNamespace(plan=plan)):
    wait()
    for turn in range(8):
        if turn == 4 and sys.argv[1:]:
            say("\\r(resizing)\\r")
            fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(sys.argv[1]), 0, 0))
            wait()
            say("\\r(resized)\\r")
        TALLY.add(read=123_456, rejected=12_345)
        wait()
"""


def on_a_terminal(columns: int, resized: int | None = None, **environment: str) -> str:
    """What a terminal of some columns is sent, which has others after half of the time."""
    return said_on_a_terminal(SCRIPT, columns, *([str(resized)] if resized else []), **environment)


def frames_of(said: str) -> list[str]:
    return [frame for frame in re.split(r"\r|\x1b\[K", said) if frame.strip()]


@pytest.mark.parametrize(("columns", "blocks"), [(40, 0), (80, 0), (90, 10), (200, 24), (20, 0)])
def test_a_terminal_of_some_columns_shows_one_line(columns: int, blocks: int) -> None:
    frames = frames_of(on_a_terminal(columns))
    assert frames
    assert all(len(frame) < columns for frame in frames)
    assert any("%" in frame for frame in frames)
    assert any("left" in frame for frame in frames)
    last = frames[-1]
    assert last.count("█") + last.count("░") == blocks


@pytest.mark.parametrize(("columns", "resized"), [(200, 40), (40, 200)])
def test_a_terminal_that_is_resized(columns: int, resized: int) -> None:
    before, _, after = re.split(r"\(resiz(?:ing|ed)\)", on_a_terminal(columns, resized))
    assert all(len(frame) < columns for frame in frames_of(before))
    assert all(len(frame) < resized for frame in frames_of(after))
    assert "left" in frames_of(after)[-1]
    assert ("░" in frames_of(after)[-1]) == (resized == 200)
    assert any("░" in frame for frame in frames_of(before)) == (columns == 200)


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {"LC_ALL": "", "LANG": "C"}, {"TERM": "vt220"}])
def test_a_terminal_that_shows_ascii_gets_ascii(environment: dict[str, str]) -> None:
    said = on_a_terminal(120, **environment)
    assert said.isascii()
    assert "\\u" not in said
    assert "#--" in said


@pytest.mark.parametrize("term", ["dumb", ""])
@pytest.mark.slow
def test_a_terminal_that_knows_no_escapes_gets_none(term: str) -> None:
    assert not re.search(r"[\x1b]|\r(?!\n)", on_a_terminal(50, TERM=term))


def test_a_log_has_plain_words() -> None:
    command = [sys.executable, "-c", SCRIPT]
    result = subprocess.run(command, capture_output=True, text=True, env=settings(LC_ALL="C"), check=True)
    lines = result.stderr.splitlines()
    assert lines
    assert result.stderr.isascii()
    assert not re.search(r"[\x1b\r]", result.stderr)
    says = r"\d+% done: [\d,]+ of 2,000,000 records read(, [\d,]+ a second)?, [\d,]+ rejected; 0 of 1 units finished.*"
    assert all(re.fullmatch(rf"{says}|loading the model and reading ahead, \d s", line) for line in lines)
    assert lines[-1].endswith(" left")


def test_small_and_large_images(tally: Tally) -> None:
    """A second for 100 records, whatever their size. Small ones come first, and then the bar finds out."""
    shown = progress(10**9, 4)
    shown._about = 10_000
    tally.add(read=1, running_bytes=1)
    shown.shown(0.0)
    lines = []
    for second in range(1, 91):
        small = second <= 50
        tally.add(read=100, running_bytes=10**6 if small else 19 * 10**6)
        lines.append(shown.line(float(second)))
    assert lines[39].endswith("about 60 s to 16 min left")
    assert lines[-1].endswith("about 10 s left")
    shares = [int(line.partition("%")[0]) for line in lines]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(90, abs=1)
