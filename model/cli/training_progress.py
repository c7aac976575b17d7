"""The progress of a training on stderr: a bar on a terminal, otherwise a line for every epoch and every 30 seconds."""

import sys
import time

from lake.cli.screen import bar, blocks_of_terminal, columns_of, moves_cursor
from lake.core.printable import printable

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
