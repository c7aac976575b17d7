"""Launch a job: plan and stage it, run it on Beam, return the summary that its commit wrote."""

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, TypeAlias

from lake.cli.interrupt import noticing_interrupts
from lake.core.errors import LatentlakeError, UsageError
from pipeline.beam.flink import FlinkCluster, check_slots, flink_cluster
from pipeline.beam.local_workers import own_packages
from pipeline.beam.processes import with_processes_beside
from pipeline.beam.runners import (
    detaches,
    has_option,
    makes_template,
    name_job,
    print_job_id,
    runner,
    submit,
    submit_empty,
    with_processes,
    with_quick_server,
    workers_in_turn,
)
from pipeline.beam.watch import RemoteJob
from pipeline.beam.worker_errors import parse_worker_error
from pipeline.config import JobConfig
from pipeline.job.prepare import Job
from pipeline.job.stage import begin
from pipeline.lineage.tell import lineage_of, telling
from pipeline.options.job_options import JobOptions
from pipeline.output.commit.commit import commit
from pipeline.output.commit.publish_state import nothing_done
from pipeline.output.commit.range_commit import commit_ranges
from pipeline.output.fencing.heartbeat import renewing
from pipeline.output.fencing.lease import renew
from pipeline.output.fencing.stop import raise_if_stopped
from pipeline.output.layout import Layout
from pipeline.output.state.state_file import read_summary
from pipeline.worker.beside import BESIDE
from pipeline.worker.process import close_worker, warm

Show: TypeAlias = Callable[..., AbstractContextManager[object]]


def launch(
    options: JobOptions,
    beam_arguments: Sequence[str],
    *,
    detach: bool = False,
    show: Show = lambda *_: nullcontext(),
) -> dict[str, Any]:
    """Run a job to its end.

    Without ``--runner`` the job runs in this process, on every core, without a network connection or a download.

    Example:
      ```python
      options = JobOptions(verb="encode", input=["images/"], model="bundle", output="latents")
      summary = launch(options, ["--runner=FlinkRunner", "--flink_master=localhost:8081"])
      ```

    Args:
      options: the options of the job.
      beam_arguments: options of Beam, as words of a command line.
      detach: return once the runner has accepted the job. The launcher of a template always does.
      show: makes a context manager that shows the progress of a job. It is given the job and, if the units run
        elsewhere, a ``pipeline.beam.watch.RemoteJob``.

    Returns:
      The summary, as ``_SUCCESS`` holds it. For a detached launcher, what ``pipeline.beam.runners.submit`` returns.

    Raises:
      UsageError: an option, the input, the bundle or the output does not fit; nothing was written.
      HeldError: another run holds the output.
      LatentlakeError: the job failed. What its units had finished is kept for the next run.
      KeyboardInterrupt: the job was interrupted. The output is free, and what its units had finished is kept.
    """
    with noticing_interrupts() as interrupted:
        try:
            return _launch(options, beam_arguments, detach, show)
        except LatentlakeError as error:
            # Beam reports an interruption as an error of its own.
            if interrupted.is_set():
                raise KeyboardInterrupt from error
            raise


def _launch(options: JobOptions, beam_arguments: Sequence[str], detach: bool, show: Show) -> dict[str, Any]:
    detached, cluster = detaches(beam_arguments, detach), flink_cluster(beam_arguments)
    if cluster is not None:
        check_slots(cluster, beam_arguments)
        beam_arguments = with_quick_server(beam_arguments)
    beam_arguments = with_processes(beam_arguments, options.threads)
    # Created before the job is planned, so that wrong options of Beam are reported at once.
    pipeline = None if _runs_here(beam_arguments) else _empty(beam_arguments)
    job = begin(options, ends_with_process=_ends_with_process(beam_arguments))
    if not detached or not job.plan.todo:
        summary = _finish(job, pipeline, beam_arguments, show, cluster)
        # Dataflow's launcher of a template fails if the program submits no job.
        if makes_template(beam_arguments):
            submit_empty(pipeline)
        return summary
    try:
        return submit(job, pipeline, beam_arguments, _accepted(job, pipeline, cluster, beam_arguments))
    except Exception as error:
        raise _cause(error) from error


def _accepted(
    job: Job, pipeline: Any, cluster: FlinkCluster | None, beam_arguments: Sequence[str]
) -> Callable[[Any], dict[str, Any]]:
    """Name a job that is to be submitted; return the function that waits until the runner has it."""
    if cluster is None:
        return lambda _: {}
    name, others = name_job(pipeline, job, beam_arguments), cluster.job_ids()

    def wait(result: Any) -> dict[str, Any]:
        # The job server passes the job on, and ends with this process.
        found = cluster.await_job(name, others, result)
        return {"job": found.id, "page": found.page}

    return wait


def _finish(
    job: Job, pipeline: Any, beam_arguments: Sequence[str], show: Show, cluster: FlinkCluster | None
) -> dict[str, Any]:
    if job.nothing_to_do:
        return nothing_done(job.config.output, job.run)
    with renewing(job.config.output, job.config.run), telling(lineage_of(job)) as tell_end:
        summary = _to_end(job, pipeline, beam_arguments, show, cluster)
        tell_end(summary)
    return summary


def _to_end(
    job: Job, pipeline: Any, beam_arguments: Sequence[str], show: Show, cluster: FlinkCluster | None
) -> dict[str, Any]:
    # With no unit to run, at most a commit is missing. Beam and the model need not be loaded for it.
    if not job.plan.todo:
        if job.run.ranges:
            return commit_ranges(job.config, job.options.gate, job.run)
        return commit(job.config, job.options.gate, job.run, [])
    if pipeline is None:
        job, count = with_processes_beside(job)
        with show(job), BESIDE.started(count, job.config):
            _run(job, pipeline, beam_arguments)
    else:
        name = "" if cluster is None else name_job(pipeline, job, beam_arguments)
        with RemoteJob(job, cluster, name) as remote, show(job, remote):
            _run(job, pipeline, beam_arguments)
    if job.config.restarts:
        raise_if_stopped(job.config)
    return read_summary(Layout(job.config.output).summary(job.config.run))


def _run(job: Job, pipeline: Any, beam_arguments: Sequence[str]) -> None:
    here = job.config if pipeline is None else None
    with _frozen_heap():
        with _loading(here):
            pipeline = _empty(beam_arguments) if pipeline is None else pipeline
            from pipeline.transforms import RunJob

            pipeline | "Job" >> RunJob(job, workers_in_turn(beam_arguments))
        try:
            with own_packages():
                result = pipeline.run()
                print_job_id(result)
                result.wait_until_finish()
        except Exception as error:
            # Who has lost the output misses files that the next run has removed: its plan, its model.
            with suppress(OSError):
                renew(job.config.output, job.config.run)
            raise _cause(error) from error
    # Not after an error, for which units of other threads may still need it.
    if here:
        close_worker(here.worker_key)


def _empty(beam_arguments: Sequence[str]) -> Any:
    """Create a pipeline without steps.

    Raises:
      UsageError: the runner rejects its options.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

    from pipeline.beam.notebook import allow_plain_labels

    allow_plain_labels()
    options = PipelineOptions(list(beam_arguments))
    # Workers import the steps from their modules. The launcher's main module need not be picklable.
    options.view_as(SetupOptions).save_main_session = False
    try:
        return beam.Pipeline(runner=_runner(beam_arguments), options=options)
    except ValueError as error:
        raise UsageError(f"Beam refuses its options: {' '.join(str(error).split())}") from error


def _runner(beam_arguments: Sequence[str]) -> Any:
    """Return FnApiRunner if no runner is named, because DirectRunner would try to download another runner first."""
    if runner(beam_arguments):
        return None
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    return FnApiRunner()


def _ends_with_process(beam_arguments: Sequence[str]) -> bool:
    """Whether nothing of a run is left when this process ends."""
    local = ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner")
    return runner(beam_arguments) in (None, *local)


def _runs_here(beam_arguments: Sequence[str]) -> bool:
    """Whether the units run in this process."""
    return runner(beam_arguments) is None and not has_option(beam_arguments, "--direct_running_mode")


@contextmanager
def _loading(config: JobConfig | None) -> Iterator[None]:
    """Import Beam in the block. If units run here, load the model in another thread meanwhile."""
    # Importing TensorFlow creates a million objects that all stay. The garbage collector would traverse them again and
    # again, which takes a sixth of the time; frozen, they are not traversed later either.
    warming = threading.Thread(target=warm, args=(config,), name="warm") if config else None
    collects = gc.isenabled()
    gc.disable()
    try:
        if warming:
            warming.start()
        yield
        if warming:
            warming.join()
        # Moves all objects to a generation that is not traversed.
        gc.freeze()
    finally:
        if collects:
            gc.enable()


@contextmanager
def _frozen_heap() -> Iterator[None]:
    """Give what the block freezes back to the garbage collector: it belongs to the caller of the job too."""
    before = gc.get_freeze_count()
    try:
        yield
    finally:
        if not before:  # else the caller has frozen objects
            gc.unfreeze()


def _cause(error: BaseException) -> BaseException:
    """Find the error that a worker raised among those that an engine has wrapped around it."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, (LatentlakeError, OSError)):
            return link
        link = link.__cause__ or link.__context__
    return parse_worker_error(str(error))
