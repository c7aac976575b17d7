"""Commit a run: check the counts, apply the gate, write the manifest and then ``_SUCCESS``, clean up.

Every write and delete is made under the run's guard: a commit that another run overtook ends with ``HeldError``.
"""

import platform
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from lake import __version__
from lake.core import sealed_json
from lake.core.counters import RETRIES
from lake.core.errors import HeldError, UnfinishedError
from lake.core.records import OutputFile
from lake.core.retry import retry
from lake.storage import Guard, configure, put, store_for
from pipeline.config import Gate, JobConfig
from pipeline.output.commit.cleanup import clean_up, leftovers
from pipeline.output.commit.commit_checks import check_balance, check_number, check_owners, judge
from pipeline.output.commit.companions import copy_companions
from pipeline.output.commit.recovery import read_adopted, read_recovered
from pipeline.output.commit.reject_examples import examples
from pipeline.output.commit.run_sums import RunSums
from pipeline.output.commit.run_timing import spans_of, timing_of
from pipeline.output.describe.description import Description, write_description
from pipeline.output.fencing.heartbeat import HEARTBEAT, guard_of
from pipeline.output.fencing.lease import hand_back, renew
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import (
    Manifest,
    changed_manifest,
    publish_manifest,
    read_manifest,
    replaced_names,
    superseded_parts,
)
from pipeline.output.manifest.manifest_cutter import Change
from pipeline.output.manifest.name_set import NameSet
from pipeline.output.state.plan_files import read_obsolete
from pipeline.output.state.state_file import read_summary
from pipeline.output.units.receipts import Receipt, output_names
from pipeline.tables.publishing import Publishing

_REASONS = 3  # most reasons that the summary has examples of


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The part of a run that the commit needs.

    It travels in the pipeline's graph, so it stays small however many units there are.

    Attributes:
      units: number of units in the plan, finished before or not.
      todo: number of units that this run was to process.
      obsolete: URI of the list of units that the commit drops; "" for none.
      passed_over: what the input has and the job does not read, by reason: ``count`` and ``examples``.
      started: when the run began, in seconds since the epoch.
      expected: number of records that the whole input must have; None if it is not known.
      tidy: whether an earlier run may have left files that no receipt names.
      companions: URI of the list of files that the commit copies beside the images; "" for none.
      recovered: URI of what the plan counts on, and what it does not, of runs that did not come to their end; "" if
        there were none.
      description: what the commit says of the output beside the data; None for nothing.
      ranges: in how many ranges of units workers commit it; 0 if one task does. See ``pipeline.output.commit.ranges``.
    """

    units: int
    todo: int
    obsolete: str
    passed_over: Mapping[str, Any]
    started: float
    expected: int | None = None
    tidy: bool = False
    companions: str = ""
    recovered: str = ""
    description: Description | None = None
    ranges: int = 0


def commit(config: JobConfig, gate: Gate, run: Run, fresh: Iterable[Receipt]) -> dict[str, Any]:
    """Merge this run's receipts into the state of the output, and write its manifest and summary.

    ``_SUCCESS`` is written if the output is within the limits of the gate. Committing a run a second time changes
    nothing, so an engine may retry this step.

    Args:
      config: the job.
      gate: limits within which ``_SUCCESS`` is written.
      run: facts of the run.
      fresh: the receipts of this run's units.

    Returns:
      The summary, as ``_SUCCESS`` holds it; ``complete`` says whether it was written, ``refused`` why not.

    Raises:
      HeldError: another run holds the output.
      LatentlakeError: a unit of the plan left no receipt, or a receipt contradicts itself.
    """
    configure(config.stores)
    # With millions of units it takes minutes, and the launcher may have exited.
    with HEARTBEAT.beating(config.output, config.run):
        return _commit(config, gate, run, fresh)


def _commit(config: JobConfig, gate: Gate, run: Run, fresh: Iterable[Receipt]) -> dict[str, Any]:
    layout, guard = Layout(config.output), guard_of(config.output, config.run)
    if (done := ended(config)) is not None:
        return done
    new = {receipt.unit: receipt for receipt in fresh}
    check_number(len(new), run.todo)
    check_balance(new.values())
    before, recovered = read_manifest(layout), read_recovered(run.recovered)
    # Receipts of this run came with the pipeline and need not be read.
    finished = {unit for unit, receipt in new.items() if receipt.error is None}
    pending = read_adopted(layout, config.run, [unit for unit in recovered.adopted if unit not in finished])
    failed = [receipt for receipt in new.values() if receipt.error is not None]
    changes = changes_of(pending, new, frozenset(recovered.doubtful), read_obsolete(run.obsolete))
    state = changed_manifest(layout, before, changes, guard)
    # The gate judges the state as it would be under _SUCCESS. If it refuses, stale units keep their old results.
    judged = changed_manifest(layout, state, [(unit, None) for unit in sorted(_stale(state, failed))], guard)
    if not (refused := judge(gate, run.expected, judged.counts(), len(failed))):
        state = judged
    if run.companions:
        state = changed_manifest(layout, state, _with_companions(layout, run, state, before, guard), guard)
    current = NameSet(state.names())
    check_owners(state, current)
    superseded = chain(replaced_names(before, state), output_names(pending.values()))
    table = None if config.table is None else Publishing(config.table, layout, config.run, guard)
    if table is not None:
        superseded = chain(superseded, table.superseded)
    leftover = leftovers(layout, superseded, current, tidy=run.tidy)
    if table is not None:
        leftover = table.spare(leftover)
    if run.tidy or before.parts or state.parts:
        leftover += superseded_parts(layout, state)
    done_spans = spans_of((receipt for receipt in new.values() if receipt.error is None), run.started)
    sums = RunSums.of([*new.values()], done_spans)
    summary = publish_state(config, run, state, sums, timing_of(sums.busy, [done_spans]), refused, table)
    # Old files are removed last. Should this process die earlier, every file that a manifest names still exists.
    with named_loss(config):
        clean_up(layout, leftover, guard, reuse=bool(config.reuse) or run.tidy)
        hand_back(config.output, config.run)
    return summary


def publish_state(
    config: JobConfig,
    run: Run,
    state: Manifest,
    sums: RunSums,
    timing: Mapping[str, Any],
    refused: Sequence[str],
    table: Publishing | None = None,
) -> dict[str, Any]:
    """Write the manifest of a state, and with it whatever says that the run has ended.

    Args:
      config: the job.
      run: facts of the run.
      state: the new state, whose parts are there.
      sums: of the receipts of the run.
      timing: what ``timing_of`` says of them.
      refused: why ``_SUCCESS`` is not written; empty if it is.
      table: the table of the output, if it has one.

    Returns:
      The summary.
    """
    layout, guard = Layout(config.output), guard_of(config.output, config.run)
    manifest = retry("the manifest", lambda _: publish_manifest(layout, state, guard))
    summary = _summary(config, run, state, sums, timing, manifest, refused)
    if (description := run.description) is not None:
        retry("the description", lambda _: write_description(layout, description, state.values(), summary, guard))
    # After the manifest, which says what the snapshot has; before _SUCCESS, which says that all is there.
    if table is not None and not refused:
        summary["table"] = table.publish(state.receipts())
    _publish(layout, config, summary, guard)
    return summary


@contextmanager
def named_loss(config: JobConfig) -> Iterator[None]:
    """Say of a clean-up that lost the output what it had done."""
    try:
        yield
    except HeldError as error:
        raise HeldError(
            f"run {config.run} committed {config.output} and then lost it while it cleaned up: {error}; what it had "
            "yet to remove is left to the run that took it over"
        ) from error


def nothing_done(output: str, run: Run) -> dict[str, Any]:
    """The summary of a run that found its output complete: what ``_SUCCESS`` says, and that this run did nothing."""
    summary = read_summary(Layout(output).success)
    zero = {"units": 0, "kept_units": run.units, "failed_units": 0, "read": 0, "results": 0, "rejects": 0}
    zero |= {**_passed_over(run), "store_retries": RETRIES.take()}
    now = {"started": run.started, "ended": time.time(), "seconds": round(time.time() - run.started, 3)}
    return {**summary, "failed": [], "run": {**zero, **now}}


def _passed_over(run: Run) -> dict[str, Any]:
    unknown = run.passed_over.get("unknown_format", {"count": 0})
    return {"passed_over_files": unknown["count"], "passed_over": dict(run.passed_over)}


def ended(config: JobConfig) -> dict[str, Any] | None:
    """Return the summary if this run has committed already, else None.

    A commit releases the lease as its last step. So a run without a lease has either committed or lost its output.

    Raises:
      HeldError: the run has neither the lease nor a summary.
    """
    try:
        renew(config.output, config.run)
    except HeldError:
        uri = Layout(config.output).summary(config.run)
        if store_for(uri).stat(uri) is None:
            raise
        return read_summary(uri)
    return None


def changes_of(
    pending: Mapping[str, Receipt], new: Mapping[str, Receipt], doubtful: Collection[str], gone: Collection[str]
) -> Iterator[Change]:
    """Yield what becomes of the units that are not as the manifest has them, sorted: None for those that are to go.

    Args:
      pending: receipts that the run counts on of earlier ones.
      new: those of the run.
      doubtful: units whose files a run may have replaced.
      gone: units that the commit drops.
    """
    for unit in sorted({*pending, *new, *doubtful, *gone}):
        receipt = new.get(unit)
        if receipt is None or receipt.error is not None:
            # A unit that has failed stays as it was before this run.
            if unit not in pending and unit not in doubtful and unit not in gone:
                continue
            receipt = None if unit in doubtful else pending.get(unit)
        yield unit, None if receipt is None or receipt.error is not None or unit in gone else receipt


def _stale(state: Mapping[str, Receipt], failed: Iterable[Receipt]) -> set[str]:
    """Return units with rows of an earlier shard or model, because processing them again has failed.

    They stay while ``_SUCCESS`` is not written. They must not be part of a complete output.
    """
    return {r.unit for r in failed if r.unit in state and state[r.unit].fingerprint != r.fingerprint}


def _with_companions(layout: Layout, run: Run, state: Manifest, before: Manifest, guard: Guard) -> Iterator[Change]:
    """Copy the files beside the images, and yield the units whose receipts name the copies."""
    described = retry(
        "the files beside the images", lambda _: copy_companions(layout, run.companions, state, before, guard)
    )
    yield from ((unit, described[unit]) for unit, old in state.items() if described[unit] != old)


def _summary(
    config: JobConfig,
    run: Run,
    state: Manifest,
    sums: RunSums,
    timing: Mapping[str, Any],
    manifest: OutputFile,
    refused: Sequence[str],
) -> dict[str, Any]:
    total = state.counts()
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
            **_passed_over(run),
            "failed_units": sums.failed_units,
            **sums.counts,
            "written": sums.written,
            **sums.rare,
            "store_retries": RETRIES.take() + sums.store_retries,
            "started": run.started,
            "first_result": sums.first,
            "ended": time.time(),
            "seconds": round(time.time() - run.started, 3),
            **timing,
        },
        "failed": sums.failed,
        "examples": examples(Layout(config.output), state, list(total["reasons"])[:_REASONS]),
        "manifest": asdict(manifest),
        "options": config.options(),
        "version": __version__,
        "python": platform.python_version(),
    }


def _publish(layout: Layout, config: JobConfig, summary: Mapping[str, Any], guard: Guard) -> None:
    text = sealed_json.dumps(summary)
    if summary["complete"]:
        put(layout.success, text, guard.strict)
    # After _SUCCESS: a summary says that the run has ended, also to a second attempt at this commit, and that plans
    # before it are of no account.
    put(layout.summary(config.run), text, guard.strict)


def check_complete(summary: Mapping[str, Any]) -> None:
    """Check that a run completed its output.

    Args:
      summary: the summary of the run.

    Raises:
      UnfinishedError: ``_SUCCESS`` was not written; the text says why.
    """
    if summary["complete"] is False:
        raise UnfinishedError(f"{summary['output']} has no _SUCCESS: {'; '.join(summary['refused'])}")
