"""The progress of a training as a terminal and a log get it."""

import re
import subprocess
import sys

import pytest

from tests.terminals import said_on_a_terminal, settings

SCRIPT = """
import time
from model.cli import training_progress
training_progress._FRAME, training_progress._LINE = 0.0, 0.0
progress = training_progress.TrainingProgress()
progress.line("reading the \\x1b[2J samples")
for done in range(0, 1001, 250):
    time.sleep(0.001)
    progress.steps("epoch 1", done, 1000)
"""


def on_a_terminal(columns: int, **environment: str) -> str:
    return said_on_a_terminal(SCRIPT, columns, **environment)


@pytest.mark.parametrize(("columns", "bar"), [(40, False), (80, True)])
def test_a_bar_fits_the_terminal(columns: int, bar: bool) -> None:
    first, *frames = [frame for frame in re.split(r"[\r\n]+|\x1b\[K", on_a_terminal(columns)) if frame]
    assert first == "reading the \\x1b[2J samples"
    assert len(frames) == 5
    assert all(len(frame) < columns for frame in frames)
    assert frames[2].endswith("epoch 1  500 of 1,000")
    assert frames[2].count("█") == (12 if bar else 0)


def test_ascii_where_the_terminal_shows_no_more() -> None:
    said = on_a_terminal(80, LC_ALL="", LANG="C")
    assert said.isascii()
    assert "############------------ epoch 1  500 of 1,000" in said


def test_a_log_has_lines() -> None:
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=settings(), check=True)
    assert result.stderr.splitlines()[3] == "epoch 1: 500 of 1,000 done"
    assert "\x1b" not in result.stderr
