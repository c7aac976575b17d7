"""The progress line as a function of what has been done, and what a terminal gets to see of it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
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
from tests.conftest import write_parquet
from tests.pipeline.values import make_shard, make_unit


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
    shown = progress(1000, 4)
    assert shown.line(shown._started + 3).startswith("loading the model")
    tally.add(read=100)
    shown.line(10.0)
    tally.add(read=1900, rejected=5, units=1, unit_bytes=250, bytes_read=300)
    line = shown.line(20.0)
    assert line == " 30%  2,000 records  200/s  5 rejects  1/4 units  0:23 left"  # 70% at 30% in 10 s


def test_it_never_says_more_than_all(tally: Tally) -> None:
    shown = progress(1000, 1)
    tally.add(read=1, bytes_read=5000)
    assert " 99%" in shown.line(1.0)
    tally.add(units=1, unit_bytes=1000)
    assert "100%" in shown.line(2.0)


def test_the_share_of_images_that_are_drawn(tally: Tally) -> None:
    shown = over(list(sampled_units(10_000)), 0)
    shown.count_records()
    tally.add(read=2_500)
    assert " 25%  2,500 records" in shown.line(1.0)


@pytest.mark.parametrize("read", [1, 3, 9, 9_999, 999_999])
def test_no_time_is_left_only_when_nothing_is_left(tally: Tally, read: int) -> None:
    shown = over([make_unit("a", stop=1_000_000), make_unit("b", stop=1_000_000)], 10)
    shown.count_records()
    tally.add(read=read, bytes_read=10**9)
    shown.line(0.0)
    for now in (0.1, 0.9, 1.0, 5.0, 1000.0, 100_000.0):
        line = shown.line(now)
        assert " 0/s" not in line
        assert " 0.0/" not in line or read * 60 < 0.05 * now
        assert " 0:00 left" not in line
        assert "100%" not in line
    tally.add(units=2)
    assert "100%" in shown.line(100_001.0)
    assert "left" not in shown.line(100_001.0)


def test_rates_below_one_and_hours(tally: Tally) -> None:
    shown = over([make_unit("a", stop=1000)], 10)
    shown.count_records()
    tally.add(read=10)
    shown.line(0.0)
    assert shown.line(200.0) == "  1%  10 records  3.0/min  0 rejects  0/1 units  5:30:00 left"
    assert "2.5/s" in shown.line(4.0)


def test_footers_say_how_many_records_parquet_has(tmp_path: Path, tally: Tally) -> None:
    """Its bytes do not: columns that are not read may be most of it."""
    for name, rows in (("a", 10), ("b", 30)):
        write_parquet(tmp_path / f"{name}.parquet", [b"x"] * rows, range(rows))
    shown = over(list(make_units(find_shards([str(tmp_path)], "parquet"))), 10**9)
    shown.count_records()
    tally.add(read=20, bytes_read=10)
    assert " 50%  20 records" in shown.line(1.0)
    (tmp_path / "b.parquet").write_bytes(b"PAR1 damaged")
    shown.count_records()
    assert "  0%  20 records" in shown.line(1.0)


def test_files_of_a_folder_are_records(tally: Tally) -> None:
    shown = over([make_unit("a", "1.png", "2.png", "3.png", "4.png", format="folder")], 10**9)
    shown.count_records()
    tally.add(read=3)
    assert " 75%" in shown.line(1.0)


def test_a_shard_that_is_cut_is_read_once(tally: Tally) -> None:
    shards = (make_shard("big.tfrecord", size=1000),)
    units = [Unit(id=f"{n}", format="tfrecord", shards=shards, start=n, stop=n + 1) for n in range(4)]
    shown = over([*units, make_unit("other")], 4010)
    shown.count_records()
    tally.add(read=1, bytes_read=505)
    assert " 50%" in shown.line(1.0)


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
import time
from types import SimpleNamespace
from lake.core.counters import TALLY
from pipeline.cli.progress_bar import Progress
from tests.pipeline.values import make_unit
plan = SimpleNamespace(todo_bytes=10, todo=[make_unit("a", stop=2_000_000)])
with Progress(SimpleNamespace(plan=plan)):
    for _ in range(8):
        time.sleep(0.25)
        TALLY.add(read=123_456, rejected=12_345)
"""


def on_a_terminal(columns: int, **environment: str) -> str:
    """What a terminal of some columns is sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    settings |= {"TERM": "xterm", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(Path.cwd()), **environment}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=theirs, env=settings) as process:
        os.close(theirs)
        data = b""
        try:
            while chunk := os.read(ours, 4096):
                data += chunk
        except OSError:  # the other end is closed
            pass
        os.close(ours)
    assert process.returncode == 0
    return data.decode()


@pytest.mark.parametrize("columns", [50, 20, 120])
def test_a_terminal_of_some_columns_shows_one_line(columns: int) -> None:
    frames = [frame for frame in re.split(r"\r|\x1b\[K", on_a_terminal(columns)) if frame]
    assert frames
    assert all(len(frame) < columns for frame in frames)
    assert any("%" in frame for frame in frames)
    assert any("left" in frame for frame in frames)
    assert any("█" in frame for frame in frames) == (columns == 120)


def test_a_terminal_that_is_told_to_show_ascii_gets_ascii() -> None:
    said = on_a_terminal(120, LC_ALL="C")
    assert said.isascii()
    assert "\\u" not in said
    assert "#--" in said


@pytest.mark.parametrize("term", ["dumb", ""])
@pytest.mark.slow
def test_a_terminal_that_knows_no_escapes_gets_none(term: str) -> None:
    assert not re.search(r"[\x1b\r]", on_a_terminal(50, TERM=term))
