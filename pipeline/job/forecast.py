"""What a job would do, as a table: units, shards, records and bytes by what becomes of them, and what it would take."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lake.core.errors import VerifyError
from lake.core.records import Unit
from lake.inputs.units import total_bytes
from pipeline.job.record_counts import FOOTERS, count_records
from pipeline.output.layout import Layout
from pipeline.output.state.state_file import check_state, read_summary
from pipeline.output.state.state_values import Rule, check_fields, natural, number, optional, utf8
from pipeline.output.units.receipts import Receipt

if TYPE_CHECKING:
    from pipeline.job.prepare import Job

_RUNS = 5  # most earlier runs whose rate is looked for, the latest first
_RUN: Mapping[str, Rule] = {
    "id": utf8,
    "read": natural,
    "started": number,
    "first_result": optional(number),
    "ended": number,
}
_SUMMARY: Mapping[str, Rule] = {
    "model_digest": utf8,
    "run": lambda value: check_fields(value, _RUN, whole=True),
    "options": lambda value: check_fields(value, {"ensemble": natural}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Units that one thing becomes of.

    Attributes:
      units: how many.
      shards: their shards; None of units whose shards are gone.
      records: their records; None if that is not known.
      exact: whether these are counted. Else they are reckoned from the bytes, as other units have records.
      bytes: of their shards; None of those that are gone.
    """

    units: int
    shards: int | None
    records: int | None
    exact: bool
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run would take and write, if it goes as an earlier one did.

    Attributes:
      run: id of that run.
      ended: when it ended, in seconds since the epoch.
      startup: its seconds before the first result.
      rate: its records per second after that.
      seconds: how long this run would take.
      output_bytes: what it would write.
    """

    run: str
    ended: float
    startup: float
    rate: float
    seconds: float
    output_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a job would do.

    Attributes:
      rows: ``new``, ``changed`` and ``retried`` units are to be done; ``unchanged`` ones are kept. Those of shards that
        the input no longer has are ``vanished`` if they are kept, too. Others that are ``dropped`` are those, with
        --prune, and those whose records are now in other units.
      todo: the units that are to be done, together.
      all: all units of the input.
      estimate: None if no earlier run tells.
    """

    rows: Mapping[str, Row]
    todo: Row
    all: Row
    estimate: Estimate | None

    def to_value(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        rows = {name: asdict(row) for name, row in self.rows.items()}
        estimate = None if self.estimate is None else asdict(self.estimate)
        return {"table": {**rows, "todo": asdict(self.todo), "all": asdict(self.all)}, "estimate": estimate}


def forecast(job: "Job", receipts: Mapping[str, Receipt]) -> Forecast:
    """Tell what a job would do, without doing it. Reads footers of up to a thousand shards.

    Args:
      job: a planned job.
      receipts: receipts of the units that are done, by unit.
    """
    plan = job.plan
    todo, counts = {unit.id: unit for unit in plan.todo}, _counts(plan.units, plan.todo, receipts)
    kinds: dict[str, list[Unit]] = {"new": [], "changed": [], "retried": [], "unchanged": []}
    for unit in plan.units:
        kinds[_kind(unit, todo, receipts)].append(unit)
    # If every shard has changed, each is taken to hold what it held.
    before = {unit.id: receipts[unit.id].read for unit in plan.units if unit.id in receipts}
    density = _density(plan.units, counts) or _density(plan.units, before)
    rows = {name: _row(units, counts, density) for name, units in kinds.items()}
    dropped = {*plan.obsolete}
    rows["vanished"] = _row_of_receipts(receipts[unit] for unit in plan.vanished if unit not in dropped)
    rows["dropped"] = _row_of_receipts(receipts[unit] for unit in plan.obsolete if unit in receipts)
    work = _row(plan.todo, counts, density)
    return Forecast(
        rows=rows,
        todo=work,
        all=_row(plan.units, counts, density),
        estimate=_estimate(job, work.records, receipts) if work.units else None,
    )


def _kind(unit: Unit, todo: Mapping[str, Unit], receipts: Mapping[str, Receipt]) -> str:
    if unit.id not in todo:
        return "unchanged"
    if todo[unit.id].retry_rejects:
        return "retried"
    return "changed" if unit.id in receipts else "new"


def _counts(units: Sequence[Unit], todo: Iterable[Unit], receipts: Mapping[str, Receipt]) -> dict[str, int]:
    """Records of the units that are known: by their receipts if they are unchanged, else by footers and the like."""
    open_units = {unit.id for unit in todo}
    counts, footers = dict[str, int](), FOOTERS
    for unit in units:
        if unit.id not in open_units:
            counts[unit.id] = receipts[unit.id].read
            continue
        count = count_records(unit, footers=footers > 0, stores=True)
        footers -= unit.stop is None
        if count is not None:
            counts[unit.id] = count
    return counts


def _density(units: Iterable[Unit], counts: Mapping[str, int]) -> float | None:
    """Records of a byte, by the units whose records are known; None if there are none."""
    known = [unit for unit in units if unit.id in counts and unit.stop is None]
    size = sum(total_bytes(unit.shards) for unit in known)
    return sum(counts[unit.id] for unit in known) / size if size else None


def _row(units: Sequence[Unit], counts: Mapping[str, int], density: float | None) -> Row:
    known = sum(counts[unit.id] for unit in units if unit.id in counts)
    unknown = [unit for unit in units if unit.id not in counts]
    guessed = 0.0 if density is None else density * sum(total_bytes(unit.shards) for unit in unknown)
    slices = {unit.shards[0].uri: unit.shards[0].size for unit in units if unit.stop is not None and unit.shards}
    whole = [unit for unit in units if unit.stop is None]
    return Row(
        units=len(units),
        shards=len(slices) + sum(len(unit.shards) for unit in whole),
        records=None if unknown and density is None else known + round(guessed),
        exact=not unknown,
        bytes=sum(slices.values()) + sum(total_bytes(unit.shards) for unit in whole),
    )


def _row_of_receipts(receipts: Iterable[Receipt]) -> Row:
    read = [receipt.read for receipt in receipts]
    return Row(units=len(read), shards=None, records=sum(read), exact=True, bytes=None)


def _estimate(job: "Job", records: int | None, receipts: Mapping[str, Receipt]) -> Estimate | None:
    """What the run would take, by the latest run of this output with this model that did something."""
    last = _last_run(job)
    read = sum(receipt.read for receipt in receipts.values())
    if last is None or records is None or not read:
        return None
    written = sum(output.size for receipt in receipts.values() for output in receipt.outputs)
    startup, seconds = last["first_result"] - last["started"], last["ended"] - last["first_result"]
    # The model is nearly all that a denoising takes.
    rate = last["read"] / max(seconds, 1e-3) * last["ensemble"] / job.config.ensemble
    return Estimate(
        run=last["id"],
        ended=last["ended"],
        startup=round(startup, 3),
        rate=round(rate, 3),
        seconds=round(startup + records / rate, 3),
        output_bytes=round(written / read * records),
    )


def _last_run(job: "Job") -> Mapping[str, Any] | None:
    layout = Layout(job.config.output)
    for run in sorted(job.state.left.summaries, reverse=True)[:_RUNS]:
        with suppress(VerifyError, OSError):  # it only helps to guess
            summary = read_summary(layout.summary(run))
            check_state(summary, _SUMMARY, layout.summary(run))
            same = (summary["verb"], summary["model_digest"]) == (job.config.verb, job.config.model_digest)
            did: Mapping[str, Any] = summary["run"]
            # A retry copies most of its records, and what is reused costs next to nothing.
            whole = not did.get("retry") and not did.get("reused")
            if same and did["read"] and did["first_result"] is not None and whole:
                return {**did, "ensemble": max(1, summary["options"].get("ensemble", 1))}
    return None
