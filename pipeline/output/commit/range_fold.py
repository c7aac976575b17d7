"""Commit one range of units as far as a worker can by itself: its parts of the manifest, and what it adds up to."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lake.core.batches import in_batches
from lake.core.ordered_map import requested
from lake.storage import configure, store_for
from pipeline.config import JobConfig
from pipeline.output.commit.commit import changes_of, ended
from pipeline.output.commit.commit_checks import check_balance
from pipeline.output.commit.range_file import RangeFile, read_range_file, write_range_file
from pipeline.output.commit.ranges import UnitRange, is_cleaned_up, read_range
from pipeline.output.commit.recovery import read_adopted
from pipeline.output.commit.run import Run
from pipeline.output.commit.run_sums import RunSums
from pipeline.output.commit.run_timing import spans_of
from pipeline.output.fencing.heartbeat import HEARTBEAT, guard_of
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import Manifest, read_manifest
from pipeline.output.manifest.manifest_cutter import Change, Changes, Cutter, is_closed, with_changes
from pipeline.output.manifest.manifest_parts import ManifestPart
from pipeline.output.manifest.name_set import NameSet, hash_names
from pipeline.output.units.receipts import Receipt, output_names

_AT_ONCE = 1000  # receipts that are there with all that is said of their run
_EMPTY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedRange:
    """What a range adds up to, small enough to travel through an engine.

    Attributes:
      number: of the range.
      found: number of units that left a receipt in this run.
      parts: of the manifest.
      judged: those that a complete output would have; None if they are the same.
      sums: over the receipts of this run; None if it has committed already.
    """

    number: int
    found: int = 0
    parts: Sequence[ManifestPart] = ()
    judged: Sequence[ManifestPart] | None = None
    sums: RunSums | None = None


def fold_range(config: JobConfig, run: Run, number: int, fresh: Iterable[Receipt]) -> FoldedRange:
    """Merge the receipts of a range into its parts of the manifest, and write these.

    Until there is a root over them they say nothing, so an engine may do this twice.

    Args:
      config: the job.
      run: facts of the run.
      number: of the range.
      fresh: the receipts of the run's units in the range, in any order.

    Raises:
      HeldError: another run holds the output.
      LatentlakeError: a receipt contradicts itself.
    """
    configure(config.stores)
    with HEARTBEAT.beating(config.output, config.run):
        if is_over(config):
            return FoldedRange(number=number)
        return _Fold(config, run, number).fold(_Fresh(fresh, run.started))


def is_over(config: JobConfig) -> bool:
    """Whether a run has committed, so that a task of it that an engine starts again has nothing to do.

    Args:
      config: the job.

    Raises:
      HeldError: the run has lost its lease.
    """
    return ended(config) is not None or is_cleaned_up(Layout(config.output), config.run)


class _Fresh:
    """The receipts of a run in one range: what they add up to, and of each what a manifest says of it.

    Attributes:
      by_unit: the receipts, without what is only said of the run: a range may have a hundred thousand.
      sums: over the whole receipts.
      spans: when their units were at work.
    """

    def __init__(self, receipts: Iterable[Receipt], started: float) -> None:
        self.by_unit = dict[str, Receipt]()
        sums, spans = [RunSums.of([], spans_of([], started))], [spans_of([], started)]
        for some in in_batches(receipts, _AT_ONCE):
            # What comes twice counts once.
            new = {receipt.unit: receipt for receipt in some if receipt.unit not in self.by_unit}
            check_balance(new.values())
            spans.append(spans_of((receipt for receipt in new.values() if receipt.error is None), started))
            sums.append(RunSums.of([*new.values()], spans[-1]))
            self.by_unit |= {unit: _untimed(receipt) for unit, receipt in new.items()}
        self.sums, self.spans = RunSums.join(sums), np.concatenate(spans, axis=1)


def _untimed(receipt: Receipt) -> Receipt:
    return Receipt(
        unit=receipt.unit,
        fingerprint=receipt.fingerprint,
        options=sys.intern(receipt.options),
        retried=sys.intern(receipt.retried),
        read=receipt.read,
        results=receipt.results,
        rejects=receipt.rejects or _EMPTY,
        outputs=receipt.outputs,
        spent=_EMPTY,
        error=receipt.error,
    )


@dataclass(slots=True)
class _Seen:
    """Names of files that a new state of a range has, by their hashes, and those that units had before."""

    new: list[np.ndarray] = field(default_factory=list)
    old: list[str] = field(default_factory=list)

    def noted(self, receipts: Iterable[Receipt]) -> Iterator[Receipt]:
        """The receipts of the new state, as they pass."""
        for some in in_batches(receipts, _AT_ONCE):
            self.new.append(hash_names(output.name for receipt in some for output in receipt.outputs))
            yield from some


class _Fold:
    """One range on its way."""

    def __init__(self, config: JobConfig, run: Run, number: int) -> None:
        self._layout, self._guard = Layout(config.output), guard_of(config.output, config.run)
        self._config, self._run, self._number = config, run, number
        self._range = read_range(self._layout, config.run, number)
        self._before = read_manifest(self._layout)

    def fold(self, fresh: _Fresh) -> FoldedRange:
        """With these receipts."""
        new = fresh.by_unit
        finished = {unit for unit, receipt in new.items() if receipt.error is None}
        adopted = [unit for unit in self._range.adopted if unit not in finished]
        pending = read_adopted(self._layout, self._config.run, adopted)
        doubtful, obsolete = frozenset(self._range.doubtful), frozenset(self._range.obsolete)
        changes = dict(changes_of(pending, new, doubtful, obsolete))
        stale = self._stale(changes, new)
        seen = _Seen(old=sorted(output_names(pending.values())))
        parts = self._cut(changes, seen)
        judged = None
        if stale:
            seen = _Seen(old=sorted(output_names(pending.values())))
            judged = self._cut({**changes, **dict.fromkeys(stale)}, seen)
        names = np.concatenate([hash_names(()), *seen.new])
        content = RangeFile(
            names=names,
            stale=hash_names(sorted(output_names(stale.values()))),
            spans=fresh.spans,
            units=sorted({*new, *self._range.adopted}),
            old=self._gone(seen.old, NameSet(hashes=[names])),
        )
        write_range_file(self._layout, self._config.run, self._number, content, self._guard)
        return FoldedRange(number=self._number, found=len(new), parts=parts, judged=judged, sums=fresh.sums)

    def _stale(self, changes: Mapping[str, Receipt | None], new: Mapping[str, Receipt]) -> dict[str, Receipt]:
        """Units with rows of an earlier shard or model that have failed: a complete output does not have them."""
        failed = sorted((one for one in new.values() if one.error is not None), key=lambda one: one.unit)
        states = ((one, changes[one.unit] if one.unit in changes else self._before.get(one.unit)) for one in failed)
        return {one.unit: now for one, now in states if now is not None and now.fingerprint != one.fingerprint}

    def _cut(self, changes: Mapping[str, Receipt | None], seen: _Seen) -> list[ManifestPart]:
        """The parts of the range with some changes, as ``changed_manifest`` makes those of all."""
        cutter = Cutter(self._layout, self._before.parts, self._guard, few=True)
        ahead = Changes(sorted(changes.items(), key=lambda change: change[0]))
        for part, whole in _parts_within(self._before, self._range):
            # The last part is open, unless it ends by itself: units that come after its last one belong to it.
            last = part.last if part is not self._before.parts[-1] or is_closed(part) else None
            if whole and not cutter.within and not ahead.within(last):
                cutter.keep(part)
                seen.new.append(hash_names(self._before.names([part])))
            else:
                self._add(cutter, self._before.of(part), ahead.up_to(last), seen)
        self._add(cutter, () if self._before.parts else self._before.values(), ahead.up_to(None), seen)
        return [part for part in cutter.result() if isinstance(part, ManifestPart)]

    def _add(self, cutter: Cutter, rows: Iterable[Receipt], changes: Iterator[Change], seen: _Seen) -> None:
        rows = [receipt for receipt in rows if receipt.unit in self._range]
        seen.old += (output.name for receipt in rows for output in receipt.outputs)
        cutter.add(seen.noted(with_changes(rows, changes)))

    def _gone(self, old: Iterable[str], current: NameSet) -> dict[str, str]:
        """Data files that go with this range, with their versions, unless another range names them."""
        names = sorted({*old})
        gone = [name for name, stays in zip(names, current.has(hash_names(names)), strict=True) if not stays]
        stats = requested(store_for(self._layout.output).stat, map(self._layout.at, gone))
        found = {name: stat.identity for name, stat in zip(gone, stats, strict=True) if stat is not None}
        # Of an attempt that came before, perhaps before the manifest, which by now has what this run has made.
        return dict(sorted({**found, **self._earlier()}.items()))

    def _earlier(self) -> Mapping[str, str]:
        try:
            return read_range_file(self._layout, self._config.run, self._number, ["old"]).old
        except FileNotFoundError:
            return {}


def _parts_within(before: Manifest, units: UnitRange) -> Iterator[tuple[ManifestPart, bool]]:
    """The parts that may have units of a range, and whether they have no others."""
    first = ""
    for part in before.parts:
        # An open last part is also of the units that come after it.
        if part.last > units.after and (units.last is None or first < units.last):
            yield part, first >= units.after and (units.last is None or part.last <= units.last)
        first = part.last
