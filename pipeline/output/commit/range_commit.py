"""Commit a run whose units were folded range by range: join the ranges, publish, remove what each has superseded."""

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lake.core.errors import LatentlakeError
from lake.core.ordered_map import requested
from lake.storage import Stat, configure, store_for
from lake.storage.store import Listing
from pipeline.config import Gate, JobConfig
from pipeline.output.commit.cleanup import clean_up, unnamed_files
from pipeline.output.commit.commit import ended, named_loss
from pipeline.output.commit.commit_checks import check_number, check_owners, judge
from pipeline.output.commit.publish_state import publish_state
from pipeline.output.commit.range_file import RangeFile, read_range_file
from pipeline.output.commit.range_fold import FoldedRange, fold_range, is_over
from pipeline.output.commit.run import Run
from pipeline.output.commit.run_sums import RunSums
from pipeline.output.commit.run_timing import timing_of
from pipeline.output.fencing.heartbeat import HEARTBEAT, guard_of
from pipeline.output.fencing.lease import hand_back
from pipeline.output.layout import Layout, files_below
from pipeline.output.manifest.manifest import Manifest, joined_manifest, read_manifest, superseded_parts
from pipeline.output.manifest.manifest_parts import ManifestPart
from pipeline.output.manifest.name_set import NameSet, hash_names
from pipeline.output.state.state_file import read_summary


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeToClean:
    """A range whose receipts and superseded files are to go.

    Attributes:
      number: of the range.
      spared: names among its old files that stay: a unit of another range has them now, or they are kept as long as the
        output is not complete.
    """

    number: int
    spared: frozenset[str]


def commit_folded(config: JobConfig, gate: Gate, run: Run, folded: Iterable[FoldedRange]) -> list[RangeToClean]:
    """Join the ranges of a run to the new state of the output, write its manifest and summary.

    Committing a run a second time changes nothing, so an engine may retry this step.

    Args:
      config: the job.
      gate: limits within which ``_SUCCESS`` is written.
      run: facts of the run.
      folded: all of its ranges.

    Returns:
      What is to be cleaned up; nothing if the run has ended already.

    Raises:
      HeldError: another run holds the output.
      LatentlakeError: a unit of the plan left no receipt, or two wrote the same file.
    """
    configure(config.stores)
    with HEARTBEAT.beating(config.output, config.run):
        if is_over(config):
            return []
        by_number = {one.number: one for one in folded}
        ranges = [by_number[number] for number in sorted(by_number)]
        check_number(sum(one.found for one in ranges), run.todo)
        if len(ranges) != run.ranges:
            raise LatentlakeError(f"{len(ranges)} of {run.ranges} ranges of units were folded; run the job again")
        return _Join(config, run).commit(gate, ranges)


class _Join:
    """The commit of all ranges together."""

    def __init__(self, config: JobConfig, run: Run) -> None:
        self._layout, self._guard = Layout(config.output), guard_of(config.output, config.run)
        self._config, self._run = config, run
        self._before = read_manifest(self._layout)

    def commit(self, gate: Gate, ranges: Sequence[FoldedRange]) -> list[RangeToClean]:
        """Join, judge and publish."""
        sums = RunSums.join([one.sums for one in ranges if one.sums is not None])
        state = judged = self._joined([one.parts for one in ranges])
        if any(one.judged is not None for one in ranges):
            judged = self._joined([one.parts if one.judged is None else one.judged for one in ranges])
        # The gate judges the state as it would be under _SUCCESS. If it refuses, stale units keep their old results.
        if not (refused := judge(gate, self._run.expected, judged.counts(), sums.failed_units)):
            state = judged
        kept = ["names", "stale"] if refused else ["names"]
        current = NameSet(hashes=[getattr(one, name) for one in self._files(ranges, kept) for name in kept])
        check_owners(state, current)
        lost = unnamed_files(self._layout, current) if self._run.tidy else []
        timing = timing_of(sums.busy, (one.spans for one in self._files(ranges, ["spans"])))
        publish_state(self._config, self._run, state, sums, timing, refused)
        with named_loss(self._config):
            store_for(self._layout.output).discard(lost, self._guard)
        old = zip(ranges, self._files(ranges, ["old"]), strict=True)
        return [RangeToClean(number=one.number, spared=_spared(content.old, current)) for one, content in old]

    def _joined(self, parts: Iterable[Sequence[ManifestPart]]) -> Manifest:
        return joined_manifest(self._layout, self._before, [part for some in parts for part in some], self._guard)

    def _files(self, ranges: Iterable[FoldedRange], columns: Sequence[str]) -> Iterator[RangeFile]:
        read = partial(read_range_file, self._layout, self._config.run, columns=columns)
        return requested(read, (one.number for one in ranges))


def _spared(old: Iterable[str], current: NameSet) -> frozenset[str]:
    names = [*old]
    return frozenset(name for name, stays in zip(names, current.has(hash_names(names)), strict=True) if stays)


def clean_range(config: JobConfig, cleaned: RangeToClean) -> None:
    """Remove what a range has superseded, and its receipts, which the manifest now holds.

    Args:
      config: the job.
      cleaned: the range.

    Raises:
      HeldError: the run has lost its lease; nothing more is removed.
    """
    configure(config.stores)
    with HEARTBEAT.beating(config.output, config.run):
        if is_over(config):
            return
        layout, guard = Layout(config.output), guard_of(config.output, config.run)
        store, content = store_for(config.output), read_range_file(layout, config.run, cleaned.number, ["units", "old"])
        old = (item for item in content.old.items() if item[0] not in cleaned.spared)
        with named_loss(config):
            store.discard((Stat(uri=layout.at(name), size=0, identity=version) for name, version in old), guard)
            store.discard(_receipts(layout, content.units), guard, by_name=True)


def _receipts(layout: Layout, units: Sequence[str]) -> Iterator[Stat]:
    """The receipts that some units have, directory by directory: a request for every thousand."""
    uris: dict[str, list[str]] = {}
    for unit in units:
        uri = layout.receipt(unit)
        uris.setdefault(posixpath.dirname(uri), []).append(uri)
    for directory, wanted in uris.items():
        start = _common(min(wanted), max(wanted))[len(directory) + 1 :]
        among = frozenset(wanted)
        yield from (stat for stat in files_below(directory, Listing(start=start, deep=False)) if stat.uri in among)


def _common(first: str, last: str) -> str:
    """What two texts begin with, and so do all between them."""
    same = (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(same, min(len(first), len(last)))]


def end_ranges(config: JobConfig, run: Run) -> dict[str, Any]:
    """Remove what is left when all ranges were cleaned up, and release the lease.

    Args:
      config: the job.
      run: facts of the run.

    Returns:
      The summary, as ``_SUCCESS`` holds it.

    Raises:
      HeldError: the run has lost its lease.
    """
    configure(config.stores)
    with HEARTBEAT.beating(config.output, config.run):
        if (done := ended(config)) is not None:
            return done
        layout, guard = Layout(config.output), guard_of(config.output, config.run)
        summary = read_summary(layout.summary(config.run))
        with named_loss(config):
            store_for(config.output).discard(superseded_parts(layout, read_manifest(layout)), guard)
            clean_up(layout, [], guard, reuse=bool(config.reuse) or run.tidy)
            hand_back(config.output, config.run)
        return summary


def commit_ranges(config: JobConfig, gate: Gate, run: Run) -> dict[str, Any]:
    """Commit a run without a unit to process whose changes are many: range by range, in this process.

    Args:
      config: the job.
      gate: limits within which ``_SUCCESS`` is written.
      run: facts of the run.

    Returns:
      The summary.

    Raises:
      HeldError: another run holds the output.
      LatentlakeError: as of ``commit_folded``.
    """
    with HEARTBEAT.beating(config.output, config.run):
        folded = [fold_range(config, run, number, ()) for number in range(run.ranges)]
        for cleaned in commit_folded(config, gate, run, folded):
            clean_range(config, cleaned)
        return end_ranges(config, run)
