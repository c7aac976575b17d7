"""How far the units of a run are, told from the names of their receipts, and from the content of some."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from lake.core.counters import Counts
from lake.inputs.units import OWN_BYTES
from pipeline.output.layout import Layout
from pipeline.output.progress.remaining import Remaining, reckon
from pipeline.output.progress.unit_reports import UnitReport, read_reports
from pipeline.output.units.receipts import Receipt, listed_failures, listed_receipts, read_each

_SAMPLE = 1000  # most receipts that are read; of more, records are reckoned from as many


class FinishedUnits:
    """The units of a run that have finished or failed.

    ``update`` lists the receipts, a thousand in a request. It reads new ones until it has read a thousand: up to that
    many units, counts of records are exact.

    Args:
      layout: the output.
      run: id of the run.
      sizes: the units that the run was to process, each with the bytes of its input.
      earlier: of those, the ones with a receipt of an earlier run; see ``RunFile.earlier``.
      most: most receipts that are read.

    Attributes:
      done: units with a receipt of this run.
      failed: units that have failed and are not done.
    """

    def __init__(
        self, layout: Layout, run: str, sizes: Mapping[str, int], earlier: Mapping[str, str], *, most: int = _SAMPLE
    ) -> None:
        self._layout, self._run, self._sizes, self._earlier, self._most = layout, run, sizes, earlier, most
        self._read: dict[str, Receipt] = {}
        self._running: dict[str, UnitReport] = {}  # of units that are under way
        self.done: set[str] = set()
        self.failed: set[str] = set()

    def update(self) -> None:
        """Look again. What was finished stays finished, although the commit removes the receipts."""
        listed = listed_receipts(self._layout)
        self.done |= {u for u, identity in listed.items() if u in self._sizes and self._earlier.get(u) != identity}
        self.failed |= listed_failures(self._layout, self._run) & self._sizes.keys()
        self.failed -= self.done
        chosen = _spread(sorted(self.done & listed.keys() - self._read.keys()), self._most - len(self._read))
        self._read |= read_each({unit: self._layout.receipt(unit) for unit in chosen})
        reports, still_open = read_reports(self._layout, self._run), self._sizes.keys() - self.done - self.failed
        self._running = {unit: said for unit, said in reports.items() if unit in still_open}

    @property
    def exact(self) -> bool:
        """Whether the receipts of all finished units were read, so that counts of records are not reckoned."""
        return len(self._read) == len(self.done)

    @property
    def first(self) -> float | None:
        """When the first batch was finished, in seconds since the epoch; None if none is known to be."""
        return min((receipt.first for receipt in self._read.values() if receipt.first), default=None)

    @property
    def counts(self) -> Counts:
        """Sums over the units, without what is read of those that are still running."""
        scale = self._scale()
        return Counts(
            read=round(scale * sum(receipt.read for receipt in self._read.values())),
            rejected=round(scale * sum(receipt.rejected for receipt in self._read.values())),
            units=len(self.done) + len(self.failed),
            unit_bytes=self._bytes(self.done) + self._bytes(self.failed),
        )

    def remaining(self, now: float) -> Remaining | None:
        """How far the run is, also within the units that have not ended; None before that can be told.

        Args:
          now: in seconds since the epoch.
        """
        began = self.first or min((report.at - report.seconds for report in self._running.values()), default=now)
        running = {unit: (said.done_by(now), said.own_by(now)) for unit, said in self._running.items()}
        return reckon(self._work, self.done | self.failed, running, now - began)

    @property
    def store_retries(self) -> int:
        """Requests to stores that workers repeated, by the receipts that were read."""
        return sum(receipt.store_retries for receipt in self._read.values())

    def failures(self, most: int) -> dict[str, Receipt]:
        """Read the receipts of failed units, in order of their names, the first so many."""
        return read_each({unit: self._layout.failure(self._run, unit) for unit in sorted(self.failed)[:most]})

    @cached_property
    def _work(self) -> dict[str, float]:
        return {unit: float(OWN_BYTES + size) for unit, size in self._sizes.items()}

    def _scale(self) -> float:
        if self.exact or not self._read:
            return 1.0
        # A unit's records are taken to be as many as its bytes, against those of the units whose receipts were read.
        return self._bytes(self.done) / (self._bytes(self._read) or 1) or len(self.done) / len(self._read)

    def _bytes(self, units: set[str] | Mapping[str, Receipt]) -> int:
        return sum(self._sizes[unit] for unit in units)


def _spread(names: Sequence[str], most: int) -> Sequence[str]:
    """Return at most so many of some names, at equal distances.

    >>> _spread("abcdefgh", 3)
    ['a', 'c', 'f']
    """
    if len(names) <= most:
        return names
    return [names[number * len(names) // most] for number in range(max(0, most))]
