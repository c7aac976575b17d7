"""What a person sees while a job runs: a bar on a terminal, else a line every 30 seconds."""

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from pipeline.progress import TALLY, Counts

if TYPE_CHECKING:
    from pipeline.job import Job

_BAR = 24  # characters
_FRAME = 0.2  # seconds between two pictures of the bar
_LINE = 30.0  # seconds between two log lines


class Progress:
    """Shows the counts of this process until the block ends."""

    def __init__(self, job: "Job") -> None:
        self._bytes = max(1, job.plan.todo_bytes)
        self._units = len(job.plan.todo)
        # Where nothing is read, the number of records is known.
        self._records = 0 if job.plan.todo_bytes else sum((unit.stop or 0) - unit.start for unit in job.plan.todo)
        self._before = TALLY.counts
        self._started = time.monotonic()
        self._first: float | None = None  # when the first record came out
        self._live = sys.stderr.isatty()
        # A descriptor of its own: while TensorFlow is imported, what native code writes to stderr is caught.
        self._out = os.fdopen(os.dup(sys.stderr.fileno()), "w") if self._live else sys.stderr
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True, name="progress")

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._live:
            print("\r\x1b[K", end="", file=self._out, flush=True)
            self._out.close()

    def _show(self) -> None:
        while not self._stop.wait(_FRAME if self._live else _LINE):
            line = self.line(time.monotonic())
            print(f"\r{line}\x1b[K" if self._live else line, end="" if self._live else "\n", file=self._out, flush=True)

    def line(self, now: float) -> str:
        """The state in one line."""
        counts = TALLY.counts
        read = counts.read - self._before.read
        if not read:
            return f"loading the model and reading ahead, {now - self._started:.0f} s"
        self._first = self._first or now
        rate = read / (now - self._first) if now > self._first else 0.0
        share = self._share(counts)
        filled = int(share * _BAR)
        bar = "█" * filled + "░" * (_BAR - filled)
        rejected = counts.rejected - self._before.rejected
        units = f"{counts.units - self._before.units}/{self._units} units"
        speed = f"{read:,} records  {rate:,.0f}/s  {rejected:,} rejects"
        return f"{bar} {share:4.0%}  {speed}  {units}  {self._left(share, now)}"

    def _share(self, counts: Counts) -> float:
        if self._records:
            return (counts.read - self._before.read) / self._records
        # Bytes read run ahead of records, finished units behind; columns that are not needed are never read.
        finished = counts.unit_bytes - self._before.unit_bytes
        read = min(counts.bytes_read - self._before.bytes_read, self._bytes * 0.99)
        return min(1.0, max(finished, read) / self._bytes)

    def _left(self, share: float, now: float) -> str:
        if self._first is None or share <= 0 or now - self._first < 1:
            return ""
        seconds = (now - self._first) * (1 - share) / share
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} left"
