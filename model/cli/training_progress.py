"""The progress of a training on stderr: a bar on a terminal, otherwise a line for every epoch and every 30 seconds."""

import os
import sys
import time

_BAR = 24  # characters
_FRAME = 0.1  # seconds between two updates of the bar; a terminal shows no more
_LINE = 30.0  # seconds between two lines of a log
_DUMB = ("", "dumb", "unknown")  # terminals that know no escapes, by $TERM


class TrainingProgress:
    """Shows lines, and between them how far the steps are."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("TERM", "") not in _DUMB
        self._blocks = "█░" if _prints("█░") else "#."
        self._shown = time.monotonic()

    def line(self, text: str) -> None:
        """Show a line that stays."""
        self._shown = time.monotonic()
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
        text = f"{name}  {done:,} of {of:,}"
        if not self._live:
            self.line(text)
            return
        self._shown, filled = time.monotonic(), _BAR * done // of
        bar = self._blocks[0] * filled + self._blocks[1] * (_BAR - filled)
        print(f"\r{bar} {text}\x1b[K", end="", file=sys.stderr, flush=True)


def _prints(text: str) -> bool:
    try:
        text.encode(sys.stderr.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
