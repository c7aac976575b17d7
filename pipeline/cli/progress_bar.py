"""The progress of a job on stderr: a bar on a terminal, otherwise a line every 30 seconds."""

import os
import sys
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from lake.cli.lines import line_of
from lake.cli.screen import blocks_of_terminal, columns_of, moves_cursor
from lake.core.counters import TALLY, Counts
from lake.inputs.units import OWN_BYTES
from pipeline.cli.progress_text import ShownProgress, bar_line, fitting, words_line
from pipeline.job.record_counts import about_records, total_records
from pipeline.output.progress.pace import Pace, TimeLeft
from pipeline.output.progress.remaining import Remaining

if TYPE_CHECKING:
    from pipeline.job.prepare import Job

_FRAME = 0.2  # seconds between two updates of the bar
_LINE = 30.0  # seconds between two log lines
_SURE = 1.0  # seconds before which a rate says nothing
_MOST = 0.99  # share of a job of which a unit has yet to end


class JobCounts(Protocol):
    """Where the counts of a job come from."""

    @property
    def counts(self) -> Counts:
        """The current counts."""

    @property
    def first(self) -> float | None:
        """When the first record came out, on the clock of ``time.monotonic``; None if only the counts tell."""

    @property
    def waiting(self) -> str:
        """What goes on before the first record."""

    def remaining(self) -> Remaining | None:
        """How far the job is, where the counts do not tell it; else None."""

    def news(self) -> Iterable[str]:
        """What is to be said once, since the last call."""


class ThisProcess:
    """The counts of a job that runs in this process."""

    first = None
    waiting = "loading the model and reading ahead"

    @property
    def counts(self) -> Counts:
        return TALLY.counts

    def remaining(self) -> Remaining | None:
        return None

    def news(self) -> Iterable[str]:
        return ()


_HERE = ThisProcess()


class Progress:
    """Context manager that shows the counts of a job until its block ends.

    Args:
      job: the job.
      source: where its counts come from.
    """

    def __init__(self, job: "Job", source: JobCounts = _HERE) -> None:
        self._source = source
        self._plan = job.plan
        self._units = len(job.plan.todo)
        self._work = max(1, job.plan.todo_bytes + self._units * OWN_BYTES)
        self._records: int | None = None
        self._about: float | None = None  # records, where their number is not known
        self._costs: Pace | None = None
        self._most_share = 0.0  # that was shown
        self._before = source.counts
        self._started = time.monotonic()
        # When the first record came out, and what was done by then: records, and the share of all work.
        self._first: tuple[float, int, float] | None = None
        self._live = moves_cursor(sys.stderr)
        # A duplicate of stderr's descriptor. While TensorFlow is imported, stderr itself is redirected to hide the
        # messages of native code.
        self._out = os.fdopen(os.dup(sys.stderr.fileno()), "w", errors="replace") if self._live else sys.stderr
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
        self.count_records()
        shown = time.monotonic()
        while not self._stop.wait(_FRAME):
            self._print_news()
            if self._live:
                # One column stays free: a terminal may wrap when its last one is written. The width is asked for each
                # time, for it changes.
                line = self.line(time.monotonic(), columns_of(self._out.fileno()) - 1)
                print(f"\r{line}\x1b[K", end="", file=self._out, flush=True)
            elif time.monotonic() - shown >= _LINE:
                shown = time.monotonic()
                print(self.line(shown), file=self._out, flush=True)
        self._print_news()

    def _print_news(self) -> None:
        for text in self._source.news():
            start = "\r\x1b[K" if self._live else ""
            print(f"{start}{line_of(text)}", file=self._out, flush=True)

    def count_records(self) -> None:
        """Count the records that are to be read, where that is known without reading the shards."""
        self._records = total_records(self._plan.todo)
        if self._records is None:
            self._about = about_records(self._plan.todo)

    def line(self, now: float, width: int | None = None, blocks: str | None = None) -> str:
        """Return the progress as one line.

        Args:
          now: time on the clock of ``time.monotonic``.
          width: most characters of the line; None for a line of a log, which has no bar.
          blocks: what the bar is made of; None for what the terminal shows.
        """
        if (shown := self.shown(now)) is None:
            seconds = f"{now - self._started:.0f} s"
            return fitting([f"{line_of(self._source.waiting)}, {seconds}", f"loading, {seconds}"], width)
        return words_line(shown) if width is None else bar_line(shown, width, blocks or blocks_of_terminal())

    def shown(self, now: float) -> ShownProgress | None:
        """Return what there is to be shown; None before the first record.

        Args:
          now: time on the clock of ``time.monotonic``.
        """
        counts, remaining = self._source.counts, self._source.remaining()
        if counts.read == self._before.read and remaining is None:
            return None
        read, ended = counts.read - self._before.read, counts.units - self._before.units
        share = 1.0 if ended >= self._units else min(_MOST, remaining.share if remaining else self._share(counts))
        rate, left = self._pace(read, share, now)
        costs = None if remaining or left is None else self._by_costs(read, share, now)
        if costs is not None:
            # What is left may turn out to be more than it seemed, and a bar that goes back is of no use.
            share = self._most_share = min(_MOST, max(self._most_share, costs.share))
            left = costs.seconds
        return ShownProgress(
            share=share,
            read=read,
            of=self._records,
            rejects=counts.rejected - self._before.rejected,
            units=ended,
            all_units=self._units,
            rate=rate,
            left=remaining.seconds if remaining and share < 1 else left,
            between=None if costs is None else (costs.least, costs.most),
        )

    def _by_costs(self, read: int, share: float, now: float) -> TimeLeft | None:
        """The time left where about as many records are known; None where they are not."""
        if self._about is None or self._first is None:
            return None
        began, read_then, share_then = self._first
        if self._costs is None:
            self._costs = Pace(records=max(0.0, self._about - read_then), bytes=(1 - share_then) * self._work)
        self._costs.add(now - began, read - read_then, (share - share_then) * self._work)
        return self._costs.left()

    def _share(self, counts: Counts) -> float:
        """Return what part of the work is done: of the records where their number is known, else of the bytes."""
        if self._records:
            return (counts.read - self._before.read) / self._records
        ended = counts.unit_bytes - self._before.unit_bytes + (counts.units - self._before.units) * OWN_BYTES
        return (ended + counts.running_bytes - self._before.running_bytes) / self._work

    def _pace(self, read: int, share: float, now: float) -> tuple[float | None, float | None]:
        """Records a second and seconds left; None in the first second, and where nothing is left."""
        if self._first is None:
            known = self._source.first
            self._first = (now, read, share) if known is None else (known, 0, 0.0)
        began, read_then, share_then = self._first
        if (elapsed := now - began) < _SURE:
            return None, None
        # A first batch comes at once with the first look. It took no time since, so it does not count.
        gained = share - share_then or share
        left = elapsed * (1 - share) / gained if 0 < share < 1 and gained > 0 else None
        return (read - read_then or read) / elapsed, left
