"""From a planned job to its summary: stage, run on Beam, read what the commit left."""

import gc
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from pipeline import checked
from pipeline.commit import commit
from pipeline.config import JobConfig
from pipeline.errors import LatentlakeError, UsageError
from pipeline.hold import beating
from pipeline.job import Job, begin
from pipeline.layout import Layout
from pipeline.quoted import quoted
from pipeline.settings import Settings
from pipeline.storage import store_for
from pipeline.storage.tries import RETRIES
from pipeline.submit import announce, leaves, makes_template, names, runner, submit, submit_nothing, with_processes
from pipeline.terminal import Progress


def launch(settings: Settings, beam_arguments: Sequence[str], *, detach: bool = False) -> dict[str, Any]:
    """Run a job to its end.

    With no ``--runner`` it runs in this process: every core, no network, no download.

    Args:
      settings: what is asked for.
      beam_arguments: options of Beam.
      detach: leave once the runner has the job; the launcher of a template always does.

    Returns:
      The summary, as ``_SUCCESS`` has it; of a launcher that leaves, what ``pipeline.submit.submit`` gives.

    Raises:
      LatentlakeError: the job could not be finished; what units finished is kept for the next run.
    """
    leaving = leaves(beam_arguments, detach)
    beam_arguments = with_processes(beam_arguments, settings.threads)
    pipeline = None if _runs_here(beam_arguments) else _empty(beam_arguments)  # its options are checked at once
    job = begin(settings, ends_here=_ends_here(beam_arguments))
    if not leaving or not job.plan.todo:
        summary = _finish(job, pipeline, beam_arguments)
        if makes_template(beam_arguments):
            submit_nothing(pipeline)
        return summary
    try:
        return submit(job, pipeline, beam_arguments)
    except Exception as error:
        raise _cause(error) from error


def _finish(job: Job, pipeline: Any, beam_arguments: Sequence[str]) -> dict[str, Any]:
    if job.nothing_to_do:
        return _nothing_to_do(job)
    with beating(job.config.output, job.config.run):
        if not job.plan.todo:  # at most a commit is missing, so neither Beam nor the model is loaded
            return commit(job.config, job.settings.gate, job.run, [])
        with Progress(job) if pipeline is None else nullcontext():
            _run(job, pipeline, beam_arguments)
    return _read(Layout(job.config.output).summary(job.config.run))


def _nothing_to_do(job: Job) -> dict[str, Any]:
    summary = _read(Layout(job.config.output).success)
    zero = {"units": 0, "kept_units": job.run.units, "failed_units": 0, "read": 0, "results": 0, "rejects": 0}
    zero |= {"passed_over_files": job.run.passed_over, "store_retries": RETRIES.take()}
    now = {"started": job.run.started, "ended": time.time(), "seconds": round(time.time() - job.run.started, 3)}
    return {**summary, "failed": [], "run": {**zero, **now}}


def _run(job: Job, pipeline: Any, beam_arguments: Sequence[str]) -> None:
    with _loading(job.config if pipeline is None else None):
        pipeline = _empty(beam_arguments) if pipeline is None else pipeline
        from pipeline.transforms import RunJob

        pipeline | "Job" >> RunJob(job)
    try:
        result = pipeline.run()
        announce(result)
        result.wait_until_finish()
    except Exception as error:
        raise _cause(error) from error


def _empty(beam_arguments: Sequence[str]) -> Any:
    """A pipeline without a step.

    Raises:
      UsageError: the runner refuses its options.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

    options = PipelineOptions(list(beam_arguments))
    options.view_as(SetupOptions).save_main_session = False
    try:
        return beam.Pipeline(runner=_runner(beam_arguments), options=options)
    except ValueError as error:
        raise UsageError(f"Beam refuses its options: {' '.join(str(error).split())}") from error


def _runner(beam_arguments: Sequence[str]) -> Any:
    """FnApiRunner by default: DirectRunner would try to download another runner first."""
    if runner(beam_arguments):
        return None
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    return FnApiRunner()


def _ends_here(beam_arguments: Sequence[str]) -> bool:
    """Whether nothing of a run is left when this process ends."""
    local = ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner")
    return runner(beam_arguments) in (None, *local)


def _runs_here(beam_arguments: Sequence[str]) -> bool:
    """Whether units run in this very process."""
    return runner(beam_arguments) is None and not names(beam_arguments, "--direct_running_mode")


@contextmanager
def _loading(config: JobConfig | None) -> Iterator[None]:
    """Import Beam in the block, and where units run here load the model meanwhile.

    The garbage collector is off: importing TensorFlow makes a million objects that all stay, and looking through them
    again and again takes a sixth of the time. Frozen, they are not looked at later either.
    """
    warm = threading.Thread(target=_warm, args=(config,), name="warm") if config else None
    gc.disable()
    try:
        if warm:
            warm.start()
        yield
        if warm:
            warm.join()
        gc.freeze()
    finally:
        gc.enable()


def _warm(config: JobConfig) -> None:
    """Load the model while Beam is being imported and its graph built; an error comes back from the first unit."""
    from pipeline.worker import worker_for

    try:
        worker_for(config.model, config.model_digest, config.target, config.threads, config.retry)
    except Exception as error:
        logging.getLogger(__name__).debug("warming up failed and is tried again by the first unit: %s", error)


def _cause(error: BaseException) -> BaseException:
    """What a worker raised, out of the wrappings that an engine puts around it."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, (LatentlakeError, OSError)):
            return link
        link = link.__cause__ or link.__context__
    return quoted(str(error))


def _read(uri: str) -> dict[str, Any]:
    with store_for(uri).open(uri) as file:
        return checked.loads(file.read(), uri)
