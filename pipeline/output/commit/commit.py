"""Commit a run: check the counts, apply the gate, write the manifest and then ``_SUCCESS``, clean up.

Every write and delete is made under the run's guard: a commit that another run overtook ends with ``HeldError``.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from lake.core.errors import HeldError
from lake.core.retry import retry
from lake.storage import Guard, Stat, configure, store_for
from pipeline.config import Gate, JobConfig
from pipeline.output.commit.cleanup import clean_up, leftovers
from pipeline.output.commit.commit_checks import check_balance, check_number, check_owners, judge
from pipeline.output.commit.companions import copy_companions
from pipeline.output.commit.publish_state import publish_state
from pipeline.output.commit.recovery import read_adopted, read_recovered
from pipeline.output.commit.run import Run
from pipeline.output.commit.run_sums import RunSums
from pipeline.output.commit.run_timing import spans_of, timing_of
from pipeline.output.fencing.heartbeat import HEARTBEAT, guard_of
from pipeline.output.fencing.lease import hand_back, renew
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import (
    Manifest,
    changed_manifest,
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
    if (done := ended(config)) is not None:
        return done
    layout, guard = Layout(config.output), guard_of(config.output, config.run)
    new = {receipt.unit: receipt for receipt in fresh}
    check_number(len(new), run.todo)
    check_balance(new.values())
    finished = {unit: receipt for unit, receipt in new.items() if receipt.error is None}
    before, recovered = read_manifest(layout), read_recovered(run.recovered)
    # Receipts of this run came with the pipeline and need not be read.
    pending = read_adopted(layout, config.run, [unit for unit in recovered.adopted if unit not in finished])
    changes = changes_of(pending, new, frozenset(recovered.doubtful), read_obsolete(run.obsolete))
    failed = [receipt for receipt in new.values() if receipt.error is not None]
    state, refused = _judged(layout, gate, run, before, changes, failed, guard)
    table = None if config.table is None else Publishing(config.table, layout, config.run, guard)
    superseded = chain(replaced_names(before, state), output_names(pending.values()))
    leftover = _leftover(layout, run, before, state, superseded, table)
    spans = spans_of(finished.values(), run.started)
    sums = RunSums.of([*new.values()], spans)
    summary = publish_state(config, run, state, sums, timing_of(sums.busy, [spans]), refused, table)
    # Old files are removed last. Should this process die earlier, every file that a manifest names still exists.
    with named_loss(config):
        clean_up(layout, leftover, guard, reuse=bool(config.reuse) or run.tidy)
        hand_back(config.output, config.run)
    return summary


def _judged(
    layout: Layout,
    gate: Gate,
    run: Run,
    before: Manifest,
    changes: Iterable[Change],
    failed: Sequence[Receipt],
    guard: Guard,
) -> tuple[Manifest, Sequence[str]]:
    """Return the new state of the output, and why the gate refuses it; of one that it lets pass, nothing."""
    state = changed_manifest(layout, before, changes, guard)
    # The gate judges the state as it would be under _SUCCESS. If it refuses, stale units keep their old results.
    judged = changed_manifest(layout, state, [(unit, None) for unit in sorted(_stale(state, failed))], guard)
    if not (refused := judge(gate, run.expected, judged.counts(), len(failed))):
        state = judged
    if run.companions:
        state = changed_manifest(layout, state, _with_companions(layout, run, state, before, guard), guard)
    return state, refused


def _leftover(
    layout: Layout, run: Run, before: Manifest, state: Manifest, superseded: Iterable[str], table: Publishing | None
) -> list[Stat]:
    """List the files that nothing has any more once a state is published, neither its units nor the output's table."""
    current = NameSet(state.names())
    check_owners(state, current)
    if table is not None:
        superseded = chain(superseded, table.superseded)
    leftover = leftovers(layout, superseded, current, tidy=run.tidy)
    if table is not None:
        leftover = table.spare(leftover)
    if run.tidy or before.parts or state.parts:
        leftover += superseded_parts(layout, state)
    return leftover


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
