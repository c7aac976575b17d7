"""The commit of very many units as steps of a pipeline: fold range by range, join the ranges, clean them up.

As in ``pipeline.beam.steps``, each step adapts a plain function to Beam and holds no logic of its own.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from lake.storage import configure
from pipeline.config import Gate, JobConfig
from pipeline.lineage.events import Lineage
from pipeline.lineage.tell import tell_end
from pipeline.output.commit.range_commit import RangeToClean, clean_range, commit_folded, end_ranges
from pipeline.output.commit.range_fold import FoldedRange, fold_range
from pipeline.output.commit.ranges import read_lasts
from pipeline.output.commit.run import Run
from pipeline.output.fencing.stop import Stop, is_stop, stopped_summary
from pipeline.output.layout import Layout
from pipeline.output.units.receipt_accumulator import RECEIPTS, pack_receipts, unpack_receipts
from pipeline.output.units.receipts import Receipt
from pipeline.worker.run_or_stop import known_stop, stop_run

_HELD = 10_000  # receipts of all ranges that wait for others
_Keyed: TypeAlias = tuple[int, bytes]  # number of a range, and receipts of it, or the line of a ``Stop``
_NO_RECEIPTS = b""  # for a range of which only units of earlier runs change


class CommitRanges(beam.PTransform):
    """Commit a run range by range: from lines of receipts to one summary.

    Args:
      config: the job.
      gate: limits within which ``_SUCCESS`` is written.
      run: facts of the run; with ranges.
      lineage: as of ``pipeline.transforms.RunJob``.
    """

    def __init__(self, config: JobConfig, gate: Gate, run: Run, lineage: Lineage | None) -> None:
        super().__init__()
        self._config, self._gate, self._run, self._lineage = config, gate, run, lineage

    # Lines, but Beam takes them for the values with a window that a step may yield, and refuses another type.
    def expand(self, receipts: beam.PCollection[Any]) -> beam.PCollection[dict[str, Any]]:
        keyed = receipts | "Key by range" >> beam.ParDo(KeyByRange(self._config))
        every = (
            receipts.pipeline
            | "Ranges" >> beam.Create(range(self._run.ranges), reshuffle=False)
            | "Without receipts" >> beam.Map(_without_receipts)
        )
        return (
            (keyed, every)
            | "Receipts" >> beam.Flatten()
            | "Group by range" >> beam.GroupByKey()
            | "Fold" >> beam.Map(fold_receipts, self._config, self._run)
            | "All ranges" >> beam.combiners.ToList()
            | "Join" >> beam.FlatMap(join_ranges, self._config, self._gate, self._run)
            # Ranges are cleaned up by all workers, and not before a retried task has joined them once and for all.
            | "Joined" >> beam.Reshuffle()
            | "Clean up" >> beam.Map(clean_up_range, self._config)
            | "All cleaned up" >> beam.combiners.ToList()
            | "End" >> beam.Map(end_run, self._config, self._run, self._lineage)
        )


def _without_receipts(number: int) -> _Keyed:
    return number, _NO_RECEIPTS


class KeyByRange(beam.DoFn):
    """Give each receipt to its range, many of a bundle as one compressed block."""

    def __init__(self, config: JobConfig) -> None:
        self._config = config
        self._lasts: list[str] | None = None

    def start_bundle(self) -> None:
        self._lines = dict[int, list[str]]()
        self._held = 0

    def process(self, line: Any) -> Iterator[_Keyed]:
        if is_stop(line):
            yield 0, line.encode()
            return
        try:
            number = bisect_left(self._known_lasts(), json.loads(line)["unit"])
        except Exception as error:
            yield 0, stop_run(self._config, error).to_line().encode()
            return
        lines = self._lines.setdefault(number, [])
        lines.append(line)
        self._held += 1
        if len(lines) >= RECEIPTS:
            yield number, pack_receipts(self._taken(number))
        elif self._held >= _HELD:
            yield from self._rest()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from map(GlobalWindows.windowed_value, self._rest())

    def _rest(self) -> Iterator[_Keyed]:
        for number in [*self._lines]:
            yield number, pack_receipts(self._taken(number))

    def _taken(self, number: int) -> list[str]:
        lines = self._lines.pop(number)
        self._held -= len(lines)
        return lines

    def _known_lasts(self) -> list[str]:
        if self._lasts is None:
            configure(self._config.stores)
            self._lasts = read_lasts(Layout(self._config.output), self._config.run)
        return self._lasts


def _receipts(blocks: Iterable[bytes]) -> Iterator[Receipt]:
    for block in blocks:
        if block != _NO_RECEIPTS:
            yield from unpack_receipts(block)


def fold_receipts(element: tuple[int, Iterable[bytes]], config: JobConfig, run: Run) -> FoldedRange | Stop:
    """Fold the receipts of one range; see ``pipeline.output.commit.range_fold``.

    A run that has ended before is not folded.
    """
    number, blocks = element[0], [*element[1]]
    if stops := [block for block in blocks if is_stop(block)]:
        return Stop.from_line(stops[0].decode())
    if (stop := known_stop(config)) is not None:
        return stop
    try:
        return fold_range(config, run, number, _receipts(blocks))
    except Exception as error:
        return stop_run(config, error)


def join_ranges(
    folded: Sequence[FoldedRange | Stop], config: JobConfig, gate: Gate, run: Run
) -> Iterator[RangeToClean | Stop]:
    """Commit a run from its ranges, and yield what is to be cleaned up; see ``pipeline.output.commit.range_commit``."""
    if stops := [one for one in folded if isinstance(one, Stop)]:
        yield stops[0]
        return
    try:
        yield from commit_folded(config, gate, run, [one for one in folded if isinstance(one, FoldedRange)])
    except Exception as error:
        yield stop_run(config, error)


def clean_up_range(cleaned: RangeToClean | Stop, config: JobConfig) -> Stop | None:
    """Clean up one range, or pass on why the run has ended."""
    if isinstance(cleaned, Stop):
        return cleaned
    try:
        clean_range(config, cleaned)
    except Exception as error:
        return stop_run(config, error)
    return None


def end_run(
    cleaned: Sequence[Stop | None], config: JobConfig, run: Run, lineage: Lineage | None = None
) -> dict[str, Any]:
    """End a run whose ranges were cleaned up, and return its summary. Where nobody waits for it, its end is told."""
    configure(config.stores)
    summary = _ended(cleaned, config, run)
    if lineage is not None:
        tell_end(lineage, summary)
    return summary


def _ended(cleaned: Sequence[Stop | None], config: JobConfig, run: Run) -> dict[str, Any]:
    if stops := [one for one in cleaned if one is not None]:
        return stopped_summary(config, stops[0])
    try:
        return end_ranges(config, run)
    except Exception as error:
        return stopped_summary(config, stop_run(config, error))
