"""A job whose launcher leaves: its pipeline commits, and fails where nobody else would say that it is not complete."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.errors import UsageError
from pipeline.hold import await_workers, release
from pipeline.job import Job

_DATAFLOW = "DataflowRunner"


def names(arguments: Sequence[str], flag: str) -> bool:
    """Whether an option is given."""
    return any(argument.partition("=")[0] == flag for argument in arguments)


def runner(arguments: Sequence[str]) -> str | None:
    """The runner that is named last, without its module; None for none."""
    named = [value for name, value in _pairs(arguments) if name == "--runner"]
    return named[-1].rpartition(".")[2] if named else None


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options with their values, both ``--name=value`` and ``--name value``."""
    for argument, following in zip(arguments, (*arguments, "")[1:], strict=True):
        name, equals, value = argument.partition("=")
        yield name, value if equals else following


def makes_template(arguments: Sequence[str]) -> bool:
    """Whether this is the launcher of a template: Dataflow begins the job after it has left."""
    return runner(arguments) == _DATAFLOW and names(arguments, "--template_location")


def leaves(arguments: Sequence[str], detach: bool) -> bool:
    """Whether the launcher leaves once the runner has the job.

    Raises:
      UsageError: it is asked to, and the job would end with it.
    """
    if detach and runner(arguments) != _DATAFLOW and not names(arguments, "--job_endpoint"):
        raise UsageError(
            f"--detach: with {runner(arguments) or 'no --runner'} the job ends with this process; "
            "name a runner that goes on without it: DataflowRunner, or PortableRunner with --job_endpoint"
        )
    return detach or makes_template(arguments)


def with_processes(arguments: Sequence[str], threads: int | None) -> list[str]:
    """Beam's options; on Dataflow with one process for each machine, that works at two bundles.

    Dataflow's default, a process for each core, would load the model in each, with a pool for all cores in each. It
    stays where ``threads`` says how many a process has, and what is named is left as it is.
    """
    more = []
    if runner(arguments) == _DATAFLOW and threads is None:
        if not any("use_multiple_sdk_containers" in argument for argument in arguments):
            more.append("--experiments=no_use_multiple_sdk_containers")
        if not names(arguments, "--number_of_worker_harness_threads"):
            more.append("--number_of_worker_harness_threads=2")
    return [*arguments, *more]


def submit(job: Job, pipeline: Any, arguments: Sequence[str]) -> dict[str, Any]:
    """Give a staged job to its runner and leave.

    Args:
      job: what was begun.
      pipeline: an empty one, of the runner.
      arguments: Beam's.

    Returns:
      In the place of a summary what is known so far: ``complete`` is None, ``submitted`` says which job it is.
    """
    from pipeline.transforms import FailUnlessComplete, RunJob

    try:
        pipeline | "Job" >> RunJob(job) | "Finish" >> FailUnlessComplete()
        await_workers(job.config.output, job.config.run)
        result = pipeline.run()
    except BaseException:
        release(job.config.output, job.config.run)
        raise
    announce(result)
    known = {"run": job.config.run, "units": job.run.todo, "runner": runner(arguments), "job": _job_id(result)}
    return {"complete": None, "output": job.config.output, "submitted": known}


def submit_nothing(pipeline: Any) -> None:
    """Give an empty job to the launcher of a template, which fails where it gets none."""
    import apache_beam as beam

    pipeline | "Nothing to do" >> beam.Create([])
    pipeline.run()


def announce(result: Any) -> None:
    """Say which job Dataflow has made of it, in the words that schedulers look for in what a launcher prints."""
    if getattr(result, "has_job", False):
        print(f"Created job with id: [{result.job_id()}]", file=sys.stderr, flush=True)


def _job_id(result: Any) -> str | None:
    """The runner's id of the job; a template has none yet."""
    if getattr(result, "has_job", False):  # Dataflow's
        return str(result.job_id())
    return getattr(result, "_job_id", None)
