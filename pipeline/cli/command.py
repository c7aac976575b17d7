"""The commands of jobs: ``latentlake COMMAND`` and ``python -m pipeline COMMAND``."""

import gc
import json
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lake.cli.interrupt import INTERRUPTED, hearing_interrupts
from lake.cli.lines import log_in_lines, print_error
from lake.cli.options import given, store_options
from lake.core.errors import LatentlakeError, UsageError
from lake.core.line_warnings import warnings_in_lines
from lake.storage import configure, configured
from model.cli.parser import MODEL_COMMANDS
from pipeline.cli.explore import EXPLORE, explore
from pipeline.cli.parser import check_beam_arguments, parse
from pipeline.config import Gate
from pipeline.options.job_options import JobOptions, Scope, make_options

if TYPE_CHECKING:
    from pipeline.output.verify import VerifyReport


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
      arguments: the command line without the program's name; None for that of this process.

    Returns:
      The exit status; see ``lake.core.errors``.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    advice = "; what is done is kept, run the same command again to go on"
    with hearing_interrupts(advice) as interrupted, warnings_in_lines():
        try:
            return _main(arguments)
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            if interrupted.is_set():  # Beam reports it as an error of a worker
                return INTERRUPTED
            if not isinstance(error, (LatentlakeError, OSError)):
                raise
            return _fail(error, "--verbose" in arguments)


def _main(arguments: Sequence[str]) -> int:
    options, beam_arguments = parse(arguments)
    configure(store_options(options))
    if options.command in MODEL_COMMANDS:
        from model.cli.main import run

        return run(options)
    quiet_logs(options.verbose)
    if options.command in EXPLORE:
        return explore(options)
    check_beam_arguments(beam_arguments, options.verb if options.command == "plan" else options.command)
    return _COMMANDS.get(options.command, _run)(options, beam_arguments)


def _fail(error: LatentlakeError | OSError, verbose: bool) -> int:
    print_error(error, trace=verbose)
    return error.exit_status if isinstance(error, LatentlakeError) else 1


def _run(options: Namespace, beam_arguments: Sequence[str]) -> int:
    return _launch(job_options(options, options.command), options, beam_arguments)


def _launch(job: JobOptions, options: Namespace, beam_arguments: Sequence[str]) -> int:
    from pipeline.beam.launch import launch
    from pipeline.cli.progress_bar import Progress

    try:
        summary = launch(job, beam_arguments, detach=hasattr(options, "detach"), show=Progress)
    finally:
        # The process is about to end, and Python would traverse all objects once more, which takes half a second.
        gc.freeze()
    # Only now, since they would take a part of the time before the first record.
    from pipeline.cli.summary import describe
    from pipeline.output.commit.publish_state import check_complete

    _print(json.dumps(summary, indent=2) if options.json else describe(summary))
    check_complete(summary)
    return 0


def _plan(options: Namespace, beam_arguments: Sequence[str]) -> int:
    from pipeline.cli.plan_text import describe_plan, plan_value

    if beam_arguments:
        raise UsageError(f"plan runs nothing, so it takes no option of Beam ({beam_arguments[0]})")
    value = plan_value(job_options(options, options.verb))
    _print(json.dumps(value, indent=2) if options.json else describe_plan(value))
    return 0


def _verify(options: Namespace, beam_arguments: Sequence[str]) -> int:
    from pipeline.job.repair import repair_options

    repair = hasattr(options, "repair")
    if beam_arguments and not repair:
        raise UsageError(f"verify runs here, so it takes no option of Beam ({beam_arguments[0]})")
    report = _verify_and_print(options)
    if repair and report.problems:
        _launch(repair_options(report, allow_code=hasattr(options, "allow_code")), options, beam_arguments)
        report = _verify_and_print(options)
    report.raise_for_problems()
    return 0


def _verify_and_print(options: Namespace) -> "VerifyReport":
    from pipeline.output.verify import verify

    report = verify(options.output, deep=hasattr(options, "deep"))
    _print(json.dumps(report.to_value(), indent=2) if options.json else report.describe())
    return report


def _status(options: Namespace, beam_arguments: Sequence[str]) -> int:
    from pipeline.cli.status_text import describe_status
    from pipeline.output.progress.status import read_status

    if beam_arguments:
        raise UsageError(f"status asks no engine, so it takes no option of Beam ({beam_arguments[0]})")
    status = read_status(options.output)
    _print(json.dumps(status.to_value(), indent=2) if options.json else describe_status(status))
    return status.exit_status


def _retry(options: Namespace, beam_arguments: Sequence[str]) -> int:
    from pipeline.job.repair import RETRIED, retry_options

    asked = {name: value for name, value in vars(options).items() if name in RETRIED}
    return _launch(retry_options(options.output, asked), options, beam_arguments)


_COMMANDS = {"plan": _plan, "verify": _verify, "status": _status, "retry": _retry}


def _print(text: str) -> None:
    """Print a result.

    A reader that closes the pipe early, as ``| head`` does, is no error of the job.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python flushes stdout at exit and would report the closed pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def job_options(options: Namespace, verb: str) -> JobOptions:
    """Convert parsed options to ``JobOptions``.

    Args:
      options: the command line, parsed. Options that were not given are not in it.
      verb: what the job computes.
    """
    asked = {name: value for kind in (JobOptions, Gate, Scope) for name, value in given(options, kind).items()}
    asked.pop("verb", None)  # of ``plan``
    return make_options(verb, {**asked, "stores": configured()})


def quiet_logs(verbose: bool) -> None:
    """Set log levels, so that libraries do not write over the progress bar. Errors are raised in any case.

    This project's own warnings are shown, for instance that a store does not answer.

    Args:
      verbose: show more instead.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # At the root Beam logs what an engine said of an error: a trace of a hundred lines, which also is in the error.
    logging.getLogger().setLevel(logging.INFO if verbose else logging.CRITICAL)
    log_in_lines()
    for package in ("lake", "model", "pipeline"):
        logging.getLogger(package).setLevel(logging.INFO if verbose else logging.WARNING)
    if not verbose:  # Beam logs the trace of every error that it passes on
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
