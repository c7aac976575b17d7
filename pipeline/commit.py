"""The commit: counts and gate are checked, then the manifest, then ``_SUCCESS``; last, what was superseded goes."""

import platform
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import __version__, checked
from pipeline.attempts import attempt
from pipeline.config import JobConfig
from pipeline.errors import HeldError, LatentlakeError
from pipeline.examples import examples
from pipeline.hold import beat, release
from pipeline.layout import Layout
from pipeline.lines import read_obsolete
from pipeline.receipts import Output, Receipt, counts, names, read_manifest, read_receipts, write_manifest
from pipeline.storage import configure, put, store_for
from pipeline.storage.tries import RETRIES
from pipeline.sweep import sweep

_NAMED = 20  # failed units that the summary names
_REASONS = 3  # reasons of rejects that it gives examples of


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What an output may fall short of and still get ``_SUCCESS``; judged on all records of the output."""

    max_reject_fraction: float = 0.01
    max_failed_units: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the commit must know of the run; small, however many units there are, since it travels in the graph."""

    units: int  # in the plan, done before or not
    todo: int
    obsolete: str  # URI of what the plan wrote of units that they make obsolete; "" for none
    passed_over: int  # files of the input that are no shards
    started: float  # seconds since the epoch
    expected: int | None = None  # records of the whole input, where the user says so
    tidy: bool = False  # a run that died may have left files that nothing names


def commit(config: JobConfig, gate: Gate, run: Run, fresh: Iterable[Receipt]) -> dict[str, Any]:
    """Fold this run's receipts into the output's state; gives the summary that it leaves.

    Committed once more, as an engine does that lost the answer of the first time, it changes nothing.

    Raises:
      HeldError: another run holds the output.
      LatentlakeError: a unit of the plan left no receipt, or a receipt contradicts itself.
    """
    configure(config.stores)
    layout = Layout(config.output)
    if (done := _ended(config, layout)) is not None:
        return done
    new = {receipt.unit: receipt for receipt in fresh}
    _check(new, run)
    before, pending = read_manifest(layout), read_receipts(layout, known=_finished(new))
    state = _state({**before, **pending}, new, read_obsolete(run.obsolete))
    failed = [receipt for receipt in new.values() if receipt.error is not None]
    stale = _stale(state, failed)
    if not (refused := _judge(gate, run, _without(state, stale), len(failed))):
        state = _without(state, stale)
    _check_names(state.values())
    manifest = attempt("the manifest", lambda _: write_manifest(layout, state.values()))
    summary = _summary(config, run, state, new, manifest, refused)
    _publish(layout, config, summary)
    superseded = names([*before.values(), *pending.values()])
    sweep(layout, superseded, names(state.values()), tidy=run.tidy)
    release(config.output, config.run)
    return summary


def _ended(config: JobConfig, layout: Layout) -> dict[str, Any] | None:
    """The summary of a run that has let go of its output: a commit does so last; None for a run that holds it.

    Raises:
      HeldError: neither.
    """
    try:
        beat(config.output, config.run)
    except HeldError:
        uri = layout.summary(config.run)
        if (store := store_for(uri)).stat(uri) is None:
            raise
        with store.open(uri) as file:
            return checked.loads(file.read(), uri)
    return None


def _state(known: Mapping[str, Receipt], new: Mapping[str, Receipt], gone: Container[str]) -> dict[str, Receipt]:
    """What the output holds now."""
    state = {**known, **{unit: receipt for unit, receipt in new.items() if receipt.error is None}}
    return {unit: receipt for unit, receipt in state.items() if receipt.error is None and unit not in gone}


def _finished(new: Mapping[str, Receipt]) -> set[str]:
    """Units of this run whose receipts need not be read again: they came here by themselves."""
    return {unit for unit, receipt in new.items() if receipt.error is None}


def _stale(state: Mapping[str, Receipt], failed: Iterable[Receipt]) -> set[str]:
    """Units whose rows are of an earlier shard or model, since doing them anew has failed.

    While ``_SUCCESS`` is kept back they stay; it must not stand over them.
    """
    return {r.unit for r in failed if r.unit in state and state[r.unit].fingerprint != r.fingerprint}


def _without(state: Mapping[str, Receipt], units: Container[str]) -> dict[str, Receipt]:
    return {unit: receipt for unit, receipt in state.items() if unit not in units}


def _check(new: Mapping[str, Receipt], run: Run) -> None:
    if len(new) != run.todo:
        raise LatentlakeError(f"{run.todo} units were planned and {len(new)} left a receipt; run the job again")
    for receipt in new.values():
        if receipt.error is None and receipt.read != receipt.results + receipt.rejected:
            raise LatentlakeError(
                f"unit {receipt.unit}: {receipt.read} records read, but {receipt.results} results and "
                f"{receipt.rejected} rejects; this is a defect of the job, please report it"
            )


def _check_names(receipts: Iterable[Receipt]) -> None:
    """One file, one unit: two that wrote under one name would have lost the records of one."""
    owner: dict[str, str] = {}
    for receipt in receipts:
        for output in receipt.outputs:
            if owner.setdefault(output.name, receipt.unit) != receipt.unit:
                raise LatentlakeError(
                    f"units {owner[output.name]!r} and {receipt.unit!r} both wrote {output.name}; run one job for each"
                )


def _summary(
    config: JobConfig,
    run: Run,
    state: Mapping[str, Receipt],
    new: Mapping[str, Receipt],
    manifest: Output,
    refused: Sequence[str],
) -> dict[str, Any]:
    failed = sorted((r for r in new.values() if r.error is not None), key=lambda r: r.unit)
    total = counts(state.values())
    return {
        "complete": not refused,
        "refused": refused,
        "verb": config.verb,
        "output": config.output,
        "model_digest": config.model_digest,
        "latent_layer": config.latent_layer,
        "total": {"units": len(state), **total},
        "run": {
            "id": config.run,
            "retry": config.retry is not None,
            "units": run.todo,
            "kept_units": run.units - run.todo,
            "passed_over_files": run.passed_over,
            "failed_units": len(failed),
            **counts(r for r in new.values() if r.error is None),
            "store_retries": RETRIES.take() + sum(r.store_retries for r in new.values()),
            "started": run.started,
            "first_result": min((r.first for r in new.values() if r.first), default=None),
            "ended": time.time(),
            "seconds": round(time.time() - run.started, 3),
        },
        "failed": [{"unit": r.unit, "error": r.error} for r in failed[:_NAMED]],
        "examples": examples(Layout(config.output), state.values(), list(total["reasons"])[:_REASONS]),
        "manifest": asdict(manifest),
        "options": config.options(),
        "version": __version__,
        "python": platform.python_version(),
    }


def _judge(gate: Gate, run: Run, state: Mapping[str, Receipt], failed: int) -> list[str]:
    """Why ``_SUCCESS`` is kept back, if it is."""
    refused = []
    if failed > gate.max_failed_units:
        refused.append(f"{failed} failed units, {gate.max_failed_units} allowed (--max-failed-units)")
    read = sum(receipt.read for receipt in state.values())
    share = sum(receipt.rejected for receipt in state.values()) / max(read, 1)
    if share > gate.max_reject_fraction:
        allowed = f"{gate.max_reject_fraction:.2%} allowed (--max-reject-fraction)"
        refused.append(f"{share:.2%} of the records were rejected, {allowed}")
    if run.expected not in (None, read):
        refused.append(f"{read} records, and {run.expected} are expected (--expect-records)")
    return refused


def _publish(layout: Layout, config: JobConfig, summary: Mapping[str, Any]) -> None:
    text = checked.dumps(summary)
    put(layout.summary(config.run), text)
    if summary["complete"]:
        beat(config.output, config.run)  # the last look: another run may have taken the output for a dead run's
        put(layout.success, text)
