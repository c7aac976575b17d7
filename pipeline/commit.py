"""The commit: counts and gate are checked, then the manifest, then ``_SUCCESS``; last, what was superseded goes."""

import json
import platform
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import __version__
from pipeline.config import JobConfig
from pipeline.errors import LatentlakeError
from pipeline.layout import Layout
from pipeline.receipts import Output, Receipt, read_manifest, read_receipts, write_manifest
from pipeline.storage import put, store_for

_NAMED = 20  # failed units that the summary names


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What an output may fall short of and still get ``_SUCCESS``; judged on all records of the output."""

    max_reject_fraction: float = 0.01
    max_failed_units: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the commit must know of the run: how many units it had, and what they make obsolete."""

    units: int  # in the plan, done before or not
    todo: int
    obsolete: Sequence[str]
    passed_over: int  # files of the input that are no shards
    started: float  # seconds since the epoch


def commit(config: JobConfig, gate: Gate, run: Run, fresh: Iterable[Receipt]) -> dict[str, Any]:
    """Fold this run's receipts into the output's state; gives the summary that it leaves.

    Raises:
      LatentlakeError: a unit of the plan left no receipt, or a receipt contradicts itself.
    """
    layout = Layout(config.output)
    new = {receipt.unit: receipt for receipt in fresh}
    _check(new, run)
    before = read_manifest(layout)
    pending = read_receipts(layout)
    finished = {unit: receipt for unit, receipt in new.items() if receipt.error is None}
    state = {**before, **pending, **finished}
    for unit in run.obsolete:
        state.pop(unit, None)
    _check_names(state.values())
    manifest = write_manifest(layout, state.values())
    summary = _summary(config, gate, run, state, new, manifest)
    _publish(layout, config.run, summary)
    _sweep(layout, {**before, **pending}, state, pending)
    store_for(layout.output).sweep(layout.output, run.started)
    return summary


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
    config: JobConfig, gate: Gate, run: Run, state: Mapping[str, Receipt], new: Mapping[str, Receipt], manifest: Output
) -> dict[str, Any]:
    failed = sorted((r for r in new.values() if r.error is not None), key=lambda r: r.unit)
    total = _counts(state.values())
    refused = _judge(gate, total, len(failed))
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
            "units": run.todo,
            "kept_units": run.units - run.todo,
            "passed_over_files": run.passed_over,
            "failed_units": len(failed),
            **_counts(r for r in new.values() if r.error is None),
            "started": run.started,
            "first_result": min((r.first for r in new.values() if r.first), default=None),
            "ended": time.time(),
            "seconds": round(time.time() - run.started, 3),
        },
        "failed": [{"unit": r.unit, "error": r.error} for r in failed[:_NAMED]],
        "manifest": asdict(manifest),
        "options": config.options(),
        "version": __version__,
        "python": platform.python_version(),
    }


def _counts(receipts: Iterable[Receipt]) -> dict[str, Any]:
    read = results = size = 0
    reasons: Counter[str] = Counter()
    for receipt in receipts:
        read += receipt.read
        results += receipt.results
        reasons.update(receipt.rejects)
        size += sum(output.size for output in receipt.outputs)
    return {
        "read": read,
        "results": results,
        "rejects": reasons.total(),
        "reasons": dict(reasons.most_common()),
        "output_bytes": size,
    }


def _judge(gate: Gate, total: Mapping[str, Any], failed: int) -> list[str]:
    refused = []
    if failed > gate.max_failed_units:
        refused.append(f"{failed} failed units, {gate.max_failed_units} allowed (--max-failed-units)")
    share = total["rejects"] / total["read"] if total["read"] else 0.0
    if share > gate.max_reject_fraction:
        allowed = f"{gate.max_reject_fraction:.2%} allowed (--max-reject-fraction)"
        refused.append(f"{share:.2%} of the records were rejected, {allowed}")
    return refused


def _publish(layout: Layout, run: str, summary: Mapping[str, Any]) -> None:
    text = (json.dumps(summary, indent=2) + "\n").encode()
    put(layout.summary(run), text)
    if summary["complete"]:
        put(layout.success, text)


def _sweep(
    layout: Layout, before: Mapping[str, Receipt], state: Mapping[str, Receipt], pending: Mapping[str, Receipt]
) -> None:
    """Drop outputs that no unit has any more, and receipts that the manifest now holds."""
    store = store_for(layout.output)
    current = _names(state.values())
    for name in sorted(_names(before.values()) - current):
        store.delete(layout.at(name))
    for unit in pending:
        store.delete(layout.receipt(unit))


def _names(receipts: Iterable[Receipt]) -> set[str]:
    return {output.name for receipt in receipts for output in receipt.outputs}
