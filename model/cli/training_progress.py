"""The progress of a training on stderr: a bar on a terminal, otherwise a line for every epoch and every 30 seconds."""

import sys
import time
from typing import TYPE_CHECKING

from lake.cli.screen import bar, blocks_of_terminal, columns_of, moves_cursor
from lake.core.printable import printable

if TYPE_CHECKING:
    from model.training.steps import StepReport

_BAR = 24  # characters
_FRAME = 0.1  # seconds between two updates of the bar; a terminal shows no more
_LINE = 30.0  # seconds between two lines of a log
_MOST = 2000  # characters of a line


class TrainingProgress:
    """Shows lines, and between them how far the steps are."""

    def __init__(self) -> None:
        self._live = moves_cursor(sys.stderr)
        self._shown = time.monotonic()

    def line(self, text: str) -> None:
        """Show a line that stays."""
        self._shown = time.monotonic()
        text = printable(text, _MOST)
        print(f"\r{text}\x1b[K" if self._live else text, file=sys.stderr, flush=True)

    def steps(self, name: str, done: int, of: int) -> None:
        """Show how far the steps are, if the last time is long enough ago.

        Args:
          name: of what consists of steps, such as an epoch.
          done: steps, or samples.
          of: all of them.
        """
        if time.monotonic() - self._shown < (_FRAME if self._live else _LINE):
            return
        if not self._live:
            self.line(f"{name}: {done:,} of {of:,} done")
            return
        self._shown = time.monotonic()
        text = f"{name}  {done:,} of {of:,}"
        # One column stays free: a terminal may wrap when its last one is written.
        room = columns_of(sys.stderr.fileno()) - 1
        shown = f"{bar(done / of, _BAR, blocks_of_terminal())} {text}" if _BAR + 1 + len(text) <= room else text[:room]
        print(f"\r{shown}\x1b[K", end="", file=sys.stderr, flush=True)


def step_text(report: "StepReport", steps: int, loss: str, held_out: str) -> str:
    """A report of a training by steps as a line of a log.

    Args:
      report: the report.
      steps: all steps.
      loss: the loss, as it is shown.
      held_out: what was measured on the held-out images; "" for nothing.
    """
    from model.training.schedule import share_done

    left = int(report.seconds * (1 / share_done(report.step, steps) - 1))
    parts = [
        f"step {report.step:,} of {steps:,}",
        f"loss {loss}",
        *([f"held out {held_out}"] if held_out else []),
        f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left",
    ]
    return "  ".join(parts)
