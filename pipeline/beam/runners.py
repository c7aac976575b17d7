"""Options of Beam's runners, and jobs whose launcher exits before they end.

The pipeline of such a job commits by itself. It also fails by itself if the output is not complete, because the
launcher cannot report that any more.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lake.core.errors import UsageError
from pipeline.job.prepare import Job
from pipeline.job.stage import awaiting_workers
from pipeline.lineage.tell import lineage_of, telling

_DATAFLOW = "DataflowRunner"


def has_option(arguments: Sequence[str], flag: str) -> bool:
    """Whether an option is given.

    >>> has_option(["--runner=FlinkRunner", "--parallelism", "4"], "--parallelism")
    True
    """
    return any(argument.partition("=")[0] == flag for argument in arguments)


def runner(arguments: Sequence[str]) -> str | None:
    """Return the name of the runner, without its module; None if none is named. The last one named counts.

    >>> runner(["--runner=apache_beam.runners.dataflow.DataflowRunner"])
    'DataflowRunner'
    """
    named = option_value(arguments, "--runner")
    return None if named is None else named.rpartition(".")[2]


def option_value(arguments: Sequence[str], flag: str) -> str | None:
    """Return the value of an option; None if it is not given.

    >>> option_value(["--parallelism=2", "--parallelism", "4"], "--parallelism")
    '4'
    """
    values = [value for name, value in _pairs(arguments) if name == flag]
    # argparse, which Beam uses, lets the last of several values win.
    return values[-1] if values else None


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield options with their values, given as ``--name=value`` or as ``--name value``."""
    for argument, following in zip(arguments, (*arguments, "")[1:], strict=True):
        name, equals, value = argument.partition("=")
        yield name, value if equals else following


def makes_template(arguments: Sequence[str]) -> bool:
    """Whether this process is the launcher of a Dataflow template. Dataflow starts the job after it has exited."""
    return runner(arguments) == _DATAFLOW and has_option(arguments, "--template_location")


def detaches(arguments: Sequence[str], detach: bool) -> bool:
    """Whether the launcher exits once the runner has accepted the job.

    Args:
      arguments: options of Beam.
      detach: whether the user asked for it.

    Raises:
      UsageError: the user asked for it, and the runner would end the job with this process.
    """
    if detach and (why := _ends_with_launcher(arguments)):
        raise UsageError(f"--detach: {why}")
    return detach or makes_template(arguments)


def _ends_with_launcher(arguments: Sequence[str]) -> str:
    """Say why a job would end with the process that submits it, and what to do; "" if it would not."""
    name, environment = runner(arguments), option_value(arguments, "--environment_type")
    flink = name == "FlinkRunner" and not (option_value(arguments, "--flink_master") or "[auto]").startswith("[")
    if name == _DATAFLOW:
        return ""
    if not flink and not has_option(arguments, "--job_endpoint"):
        return (
            f"with {name or 'no --runner'} the job ends with this process; name a runner that goes on without it: "
            "DataflowRunner, FlinkRunner with --flink_master=HOST:PORT, or PortableRunner with --job_endpoint"
        )
    if environment == "LOOPBACK" or (flink and environment is None):
        return "workers of --environment_type=LOOPBACK, Flink's default, end with this process; name EXTERNAL"
    # Workers that Beam's boot program starts fetch what is staged, also after the job server has ended.
    if has_option(arguments, "--job_endpoint") or environment == "EXTERNAL" or has_option(arguments, "--artifacts_dir"):
        return ""
    return f"--environment_type={environment} needs an --artifacts_dir that all machines reach, or name EXTERNAL"


def with_processes(arguments: Sequence[str], threads: int | None) -> list[str]:
    """Return Beam's options, with defaults for Dataflow: one process per machine, which works on two bundles.

    Dataflow's own default is a process per core. Each would load the model, and each would have a thread pool for all
    cores. That default stays if ``threads`` says how many threads a process has. Options that the user gives are not
    changed.

    Args:
      arguments: options of Beam.
      threads: threads of a worker process; None for one per core.

    >>> with_processes(["--runner=FlinkRunner"], None)
    ['--runner=FlinkRunner']
    """
    defaults = []
    if runner(arguments) == _DATAFLOW and threads is None:
        if not any("use_multiple_sdk_containers" in argument for argument in arguments):
            defaults.append("--experiments=no_use_multiple_sdk_containers")
        if not has_option(arguments, "--number_of_worker_harness_threads"):
            defaults.append("--number_of_worker_harness_threads=2")
    return [*arguments, *defaults]


def with_quick_server(arguments: Sequence[str]) -> list[str]:
    """Return Beam's options for a cluster, with a job server that starts in half the time.

    It only translates the job and passes it on, which does not pay for code that is compiled twice. Options that the
    user gives are not changed.

    Args:
      arguments: options of Beam.

    >>> with_quick_server(["--job_server_jvm_properties=-Xmx1g"])
    ['--job_server_jvm_properties=-Xmx1g']
    """
    if has_option(arguments, "--job_server_jvm_properties") or has_option(arguments, "--job_server_jvm_property"):
        return [*arguments]
    return [*arguments, "--job_server_jvm_properties=-XX:TieredStopAtLevel=1"]


def workers_in_turn(arguments: Sequence[str]) -> int:
    """Return how many workers a runner has that gives them elements in turn; 1 if it deals them in another way.

    Flink and Beam's local runner do so: what one worker gets does not depend on how far it is. Dataflow takes elements
    back from a worker that is late.

    Args:
      arguments: options of Beam.

    >>> workers_in_turn(["--runner=FlinkRunner", "--parallelism=8"])
    8
    """
    given = option_value(arguments, "--parallelism") or option_value(arguments, "--direct_num_workers") or ""
    # As the local runner does, for 0.
    return max(1, int(given) or os.cpu_count() or 1) if given.isdecimal() else 1


def submit(
    job: Job, pipeline: Any, arguments: Sequence[str], accepted: Callable[[Any], Mapping[str, Any]]
) -> dict[str, Any]:
    """Submit a staged job to its runner and return without waiting for it.

    Args:
      job: a job that ``pipeline.job.stage.begin`` has planned and staged.
      pipeline: an empty pipeline on the runner.
      arguments: options of Beam.
      accepted: waits until the runner has accepted the job, given what ``run`` of the pipeline returned, and returns
        what is known of the job.

    Returns:
      What is known so far, in place of a summary: ``complete`` is None, and ``submitted`` identifies the job.
    """
    from pipeline.transforms import FailUnlessComplete, RunJob

    lineage = lineage_of(job)
    with awaiting_workers(job), telling(lineage):
        pipeline | "Job" >> RunJob(job, workers_in_turn(arguments), lineage) | "Finish" >> FailUnlessComplete()
        result = pipeline.run()
        print_job_id(result)
        job_of_runner = {"job": _job_id(result), **accepted(result)}
    known = {"run": job.config.run, "units": job.run.todo, "runner": runner(arguments), **job_of_runner}
    return {"complete": None, "output": job.config.output, "submitted": known}


def name_job(pipeline: Any, job: Job, arguments: Sequence[str]) -> str:
    """Return the name that the engine shows for a job: the user's, or else one that names verb and run.

    Args:
      pipeline: the pipeline, whose options are given the name.
      job: the job.
      arguments: options of Beam.
    """
    from apache_beam.options.pipeline_options import GoogleCloudOptions

    name = option_value(arguments, "--job_name") or f"latentlake-{job.config.verb}-{job.config.run.lower()}"
    pipeline.options.view_as(GoogleCloudOptions).job_name = name
    return name


def submit_empty(pipeline: Any) -> None:
    """Submit a job that does nothing. The launcher of a template fails if it receives no job at all."""
    import apache_beam as beam

    pipeline | "Nothing to do" >> beam.Create([])
    pipeline.run()


def print_job_id(result: Any) -> None:
    """Print the id of a Dataflow job, in the words that schedulers such as Airflow search a launcher's output for."""
    if getattr(result, "has_job", False):
        print(f"Created job with id: [{result.job_id()}]", file=sys.stderr, flush=True)


def _job_id(result: Any) -> str | None:
    """Return the runner's id of the job; None for a template, which has none yet."""
    if getattr(result, "has_job", False):  # Dataflow's
        return str(result.job_id())
    return getattr(result, "_job_id", None)
