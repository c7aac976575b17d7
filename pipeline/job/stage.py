"""Begin a job: plan it, take the lease on its output, and write what workers need below the output."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

from lake.storage import store_for
from pipeline.job.dealing import lines_largest_first
from pipeline.job.prepare import UNITS_PER_PART, Job, output_state, prepare
from pipeline.job.reuse import stage_reuse
from pipeline.options.job_options import JobOptions
from pipeline.options.kept_options import options_to_json
from pipeline.output.commit.companions import write_list
from pipeline.output.commit.ranges import are_many, make_ranges, write_ranges
from pipeline.output.commit.recovery import write_recovered
from pipeline.output.fencing.heartbeat import HEARTBEAT, guard_of
from pipeline.output.fencing.lease import acquire, await_workers, check_free, clear_staged, release
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import read_manifest
from pipeline.output.state.cuts_file import read_cuts, write_cuts
from pipeline.output.state.job_file import write_job_file
from pipeline.output.state.plan_files import write_lines, write_obsolete
from pipeline.output.state.run_file import RunFile, earlier_receipts, write_run_file
from pipeline.output.units.marks import adopt_marks
from pipeline.output.units.receipts import Receipt, write_receipt
from pipeline.worker.orphan import stays_for_launcher


def begin(options: JobOptions, *, ends_with_process: bool) -> Job:
    """Plan a job, take the lease on its output and stage it, unless there is nothing to do.

    Args:
      options: the options of the job.
      ends_with_process: whether the run ends with this process. If so, the lease is free as soon as the process is
        gone.

    Returns:
      The job. If ``nothing_to_do`` is true, the lease is free and nothing was written.

    Raises:
      UsageError: as ``pipeline.job.prepare.prepare``, or the output has no bucket; nothing was written.
      HeldError: another run holds the output.
    """
    stays_for_launcher()
    job = _prepare(options, restarts=not ends_with_process)
    # Without a lease of a dead run there is nothing to clean up, so a complete output need not be locked.
    if check_free(job.config.output) and job.nothing_to_do:
        return job
    previous_died = acquire(job.config.output, job.config.run, ends_with_process=ends_with_process)
    try:
        # Planning again and copying the model may take longer than the lease lasts.
        with HEARTBEAT.beating(job.config.output, job.config.run):
            # From here on no request of another run has an effect on what is there. Between the plan and the lease one
            # may have gone on, or ended. Its results make the plan out of date.
            clear_staged(job.config.output, job.config.run, guard_of(job.config.output, job.config.run))
            if output_state(Layout(job.config.output)) != job.state:
                job = _prepare(options, job.config.run, restarts=not ends_with_process)
            job = replace(job, run=replace(job.run, tidy=job.run.tidy or previous_died))
            if job.nothing_to_do:
                release(job.config.output, job.config.run)
                return job
            reuse = Layout(job.config.output).reuse_index(job.config.run) if job.reusable and job.plan.todo else ""
            job = replace(job, config=replace(job.config, marks=job.config.restarts or job.run.tidy, reuse=reuse))
            job = _in_ranges(job)
            if job.run.tidy:
                adopt_marks(Layout(job.config.output), job.config.run)
            stage(job)
    except BaseException:
        release(job.config.output, job.config.run)
        raise
    return job


def _in_ranges(job: Job) -> Job:
    """The job, in ranges if there are so many units that workers commit them."""
    # A table takes its files from one task, and copies beside images are of all units.
    if job.config.table is not None or job.run.companions:
        return job
    if not are_many(len(job.plan.todo), job.plan.obsolete, job.recovered):
        return job
    todo = (unit.id for unit in job.plan.todo)
    ranges = make_ranges(todo, read_manifest(Layout(job.config.output)), job.plan.obsolete, job.recovered)
    if ranges is None:
        return job
    return replace(job, ranges=ranges, run=replace(job.run, ranges=len(ranges)))


def _prepare(options: JobOptions, run: str | None = None, *, restarts: bool) -> Job:
    job = prepare(options, run)
    # No engine that ends with this process starts a job again, so its units need not ask whether they are done.
    return replace(job, config=replace(job.config, restarts=restarts))


@contextmanager
def awaiting_workers(job: Job) -> Iterator[None]:
    """Give a staged job to a runner in the block. The output is held until workers begin, or until the block fails."""
    # The launcher does not renew the lease, and no worker does before it has started.
    try:
        await_workers(job.config.output, job.config.run)
        yield
    # Also for an interruption: the next run must not have to wait until the lease expires.
    except BaseException:
        release(job.config.output, job.config.run)
        raise


def stage(job: Job) -> None:
    """Write what workers need below the output: the model, the plan, and what the output is about to hold.

    Args:
      job: a planned job, whose run holds the output.
    """
    layout, guard = Layout(job.config.output), guard_of(job.config.output, job.config.run)
    # First of all: from now on the output is not complete, and a reader must not take it for complete.
    if job.success is not None:
        store_for(layout.output).discard([job.success], guard)
    # A retry leaves _job.json as it is: its policies apply to the rejects only.
    if job.options.retry_policies is None:
        write_job_file(job.config, job.selection, options_to_json(job.options), guard)
    job.bundle.copy(job.config.model, guard)
    # A receipt without a fingerprint replaces the one in the manifest. Should this run die, the next one redoes the
    # unit.
    for name in job.options.scope.redo:
        receipt = Receipt(unit=name, fingerprint="", run=job.config.run, error="to be done again")
        write_receipt(layout, receipt, guard)
    if job.run.obsolete:
        write_obsolete(job.run.obsolete, job.plan.obsolete, guard)
    if job.run.recovered:
        write_recovered(job.run.recovered, job.recovered, guard)
    if job.ranges is not None:
        write_ranges(layout, job.config.run, job.ranges, guard)
    if job.run.companions:
        write_list(job.run.companions, job.plan.units, guard)
    if job.config.reuse:
        stage_reuse(job.config, job.reusable, {unit.id for unit in job.plan.todo}, guard)
    if job.cuts and job.cuts != read_cuts(layout):
        write_cuts(layout, job.cuts, guard)
    # The plan is written to files, because engines limit the size of a pipeline's graph.
    lines = lines_largest_first(job.plan.todo)
    for uri in job.parts:
        write_lines(uri, islice(lines, UNITS_PER_PART), guard)
    _write_run_file(layout, job)


def _write_run_file(layout: Layout, job: Job) -> None:
    # After everything else: with it the run counts as begun, and the receipts that are there are not its own.
    earlier = earlier_receipts(layout, (unit.id for unit in job.plan.todo))
    run = job.run
    content = RunFile(verb=job.config.verb, started=run.started, units=run.units, todo=run.todo, earlier=earlier)
    write_run_file(layout, job.config.run, content, guard_of(job.config.output, job.config.run))
