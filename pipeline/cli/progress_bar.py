"""The progress of a job on stderr: a bar on a terminal, otherwise a line every 30 seconds."""

import locale
import math
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from lake.core.counters import TALLY, Counts
from lake.core.errors import LatentlakeError
from lake.core.records import Unit
from lake.formats import FORMATS
from lake.inputs.units import record_count
from pipeline.cli.terminal import clock, line_of

if TYPE_CHECKING:
    from pipeline.job.prepare import Job

_BARS = (24, 10)  # characters of the bar, where there is room
_FRAME = 0.2  # seconds between two updates of the bar
_LINE = 30.0  # seconds between two log lines
_COLUMNS = 80  # of a terminal that does not say how many it has
_DUMB = ("", "dumb", "unknown")  # terminals that know no escapes, by $TERM
_FOOTERS = 1000  # most shards whose footers are read to count their records


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

    def news(self) -> Iterable[str]:
        """What is to be said once, since the last call."""


class ThisProcess:
    """The counts of a job that runs in this process."""

    first = None
    waiting = "loading the model and reading ahead"

    @property
    def counts(self) -> Counts:
        return TALLY.counts

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
        self._bytes = max(1, job.plan.todo_bytes)
        self._stored = self._bytes  # the same, with each shard once
        self._units = len(job.plan.todo)
        self._records: int | None = None
        self._before = source.counts
        self._started = time.monotonic()
        self._first: float | None = None  # when the first record came out
        self._live = sys.stderr.isatty() and os.environ.get("TERM", "") not in _DUMB
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
                # One column stays free: a terminal may wrap when its last one is written.
                line = self.line(time.monotonic(), _width(self._out.fileno()) - 1)
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
        self._stored = max(1, self._bytes - _counted_again(self._plan.todo))
        self._records = _records_of(self._plan.todo)

    def line(self, now: float, width: int | None = None) -> str:
        """Return the progress as one line.

        Args:
          now: time on the clock of ``time.monotonic``.
          width: most characters of the line; None for a line of a log, which has no bar.
        """
        counts = self._source.counts
        read = counts.read - self._before.read
        if not read:
            seconds = f"{now - self._started:.0f} s"
            return _fitting([f"{self._source.waiting}, {seconds}", f"loading, {seconds}"], width)
        self._first = self._source.first or (now if self._first is None else self._first)
        share = self._share(counts)
        return _fitting(self._forms(read, counts, share, now, bars=width is not None), width)

    def _forms(self, read: int, counts: Counts, share: float, now: float, *, bars: bool) -> Iterator[str]:
        """Yield the line in all its forms, from the longest to the shortest."""
        percent, left, rate = f"{math.floor(share * 100):3d}%", self._left(share, now), self._rate(read, now)
        records, rejects = f"{read:,} records", f"{counts.rejected - self._before.rejected:,} rejects"
        units = f"{counts.units - self._before.units}/{self._units} units"
        for size in _BARS if bars else ():
            yield _joined(f"{_bar(share, size)} {percent}", records, rate, rejects, units, left)
        yield _joined(percent, records, rate, rejects, units, left)
        yield _joined(percent, records, rate, rejects, left)
        yield _joined(percent, records, rate, left)
        yield _joined(percent, records, left)
        yield _joined(percent, left)
        yield percent

    def _share(self, counts: Counts) -> float:
        """Return what part of the work is done, 1 only when every unit has finished."""
        if counts.units - self._before.units >= self._units:
            return 1.0
        if self._records:
            return min((counts.read - self._before.read) / self._records, 0.99)
        # Bytes are read ahead of the records they hold, and some columns are never read, so bytes are only an estimate;
        # sizes of finished units are exact but late.
        finished = (counts.unit_bytes - self._before.unit_bytes) / self._bytes
        return min(max(finished, (counts.bytes_read - self._before.bytes_read) / self._stored), 0.99)

    def _rate(self, read: int, now: float) -> str:
        if self._first is None or now - self._first < 1:
            return ""
        rate = read / (now - self._first)
        if rate >= 10:
            return f"{rate:,.0f}/s"
        return f"{rate:.1f}/s" if rate >= 0.1 else f"{rate * 60:.1f}/min"

    def _left(self, share: float, now: float) -> str:
        if self._first is None or not 0 < share < 1 or now - self._first < 1:
            return ""
        # While there is work to do, some time is left.
        return f"{clock(max(1, (now - self._first) * (1 - share) / share))} left"


def _fitting(forms: Iterable[str], width: int | None) -> str:
    """Return the first form that fits, else what fits of the last."""
    form = ""
    for form in forms:
        if width is None or len(form) <= width:
            return form
    return form[: max(0, width or 0)]


def _joined(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


def _bar(share: float, size: int) -> str:
    # Not the encoding of stderr: Python writes UTF-8 also where the terminal is told to show ASCII only (LC_ALL=C).
    full, empty = ("█", "░") if locale.getencoding().lower().replace("-", "") == "utf8" else ("#", "-")
    filled = int(share * size)
    return full * filled + empty * (size - filled)


def _width(descriptor: int) -> int:
    try:
        return os.get_terminal_size(descriptor).columns or _COLUMNS
    except OSError:
        return _COLUMNS


def _counted_again(units: Iterable[Unit]) -> int:
    """Return the bytes that a plan counts more than once: each slice of a shard counts the whole shard."""
    seen, again = set[str](), 0
    for unit in units:
        if unit.stop is not None and unit.shards:
            (shard,) = unit.shards
            again += shard.size if shard.uri in seen else 0
            seen.add(shard.uri)
    return again


def _records_of(units: Iterable[Unit]) -> int | None:
    """Count the records of some units; None if that is not known."""
    total, footers = 0, _FOOTERS
    for unit in units:
        count = None if unit.retry_rejects else _count(unit, footers=footers > 0)
        footers -= unit.stop is None
        if count is None:
            return None
        total += count
    return total


def _count(unit: Unit, *, footers: bool) -> int | None:
    # On a store a footer takes requests.
    if (count := record_count(unit)) is not None or not footers or "://" in unit.shards[0].uri:
        return count
    try:
        rows = FORMATS[unit.format].reader.rows(unit.shards[0])
    except (LatentlakeError, OSError):  # the unit will say so
        return None
    return None if rows is None else sum(rows)
