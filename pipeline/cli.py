"""The command line: ``python -m pipeline COMMAND``."""

import json
import logging
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pipeline.errors import LatentlakeError, UsageError
from pipeline.options import RETRY
from pipeline.parser import VERBS, check_rest, parse
from pipeline.storage import configure, configured
from pipeline.storage.options import given

if TYPE_CHECKING:
    from pipeline.job import Job
    from pipeline.settings import Settings
    from pipeline.verify import Report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit status (see ``pipeline.errors``)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options, rest = parse(arguments)
        quiet_logs(options.verbose)
        configure(given(options))
        check_rest(rest)
        return _COMMANDS[options.command](options, rest)
    except LatentlakeError as error:
        return _fail(error, "--verbose" in arguments, error.exit_status)
    except OSError as error:
        return _fail(error, "--verbose" in arguments, 1)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 1


def _fail(error: Exception, verbose: bool, status: int) -> int:
    if verbose:
        traceback.print_exception(error)
    print(f"error: {error}", file=sys.stderr)
    return status


def _run(options: Namespace, rest: Sequence[str]) -> int:
    return _launch(settings(options, options.command), options, rest)


def _launch(wanted: "Settings", options: Namespace, rest: Sequence[str]) -> int:
    from pipeline.launch import launch
    from pipeline.summary import check_complete, describe

    summary = launch(wanted, rest, detach=getattr(options, "detach", False))
    _say(json.dumps(summary, indent=2) if options.json else describe(summary))
    check_complete(summary)
    return 0


def _plan(options: Namespace, rest: Sequence[str]) -> int:
    from pipeline.job import prepare

    if rest:
        raise UsageError(f"plan runs nothing, so it takes no option of Beam ({rest[0]})")
    job = prepare(settings(options, options.verb))
    value = _plan_value(job)
    if options.json:
        _say(json.dumps(value, indent=2))
        return 0
    _say(f"{value['shards']} {value['format']} shards below {value['root']}, {value['units']} units")
    _say(f"to do: {value['todo']} units, {value['todo_bytes']:,} bytes; done: {value['done']} units")
    _say("\n".join(f"  {unit}" for unit in value["first"]))
    return 0


def _plan_value(job: "Job") -> dict[str, Any]:
    return {
        "root": job.found.root,
        "format": job.found.format,
        "shards": len(job.found.shards),
        "passed_over": job.found.passed_over,
        "units": len(job.plan.units),
        "todo": len(job.plan.todo),
        "todo_bytes": job.plan.todo_bytes,
        "done": len(job.plan.units) - len(job.plan.todo),
        "first": [unit.id for unit in job.plan.todo[:10]],
        "options": job.config.options(),
    }


def _verify(options: Namespace, rest: Sequence[str]) -> int:
    from pipeline.mend import mend_settings

    if rest and not options.repair:
        raise UsageError(f"verify runs here, so it takes no option of Beam ({rest[0]})")
    report = _checked(options)
    if options.repair and report.problems:
        _launch(mend_settings(report), options, rest)
        report = _checked(options)
    report.raise_for_problems()
    return 0


def _checked(options: Namespace) -> "Report":
    from pipeline.verify import verify

    report = verify(options.output, deep=options.deep)
    _say(json.dumps(report.to_value(), indent=2) if options.json else report.describe())
    return report


def _retry(options: Namespace, rest: Sequence[str]) -> int:
    from pipeline.mend import retry_settings

    given = {option.field: getattr(options, option.field) for option in RETRY}
    return _launch(retry_settings(options.output, given), options, rest)


_COMMANDS = {**dict.fromkeys(VERBS, _run), "plan": _plan, "verify": _verify, "retry": _retry}


def _say(text: str) -> None:
    """Print a result; whoever reads it may have seen enough (``| head``), which is no error of the job."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def settings(options: Namespace, verb: str) -> "Settings":
    """What the options ask for."""
    from pipeline.commit import Gate
    from pipeline.config import Verb
    from pipeline.plan import Scope
    from pipeline.settings import Settings, typed

    named = typed({f.name: getattr(options, f.name) for f in fields(Settings) if hasattr(options, f.name)})
    if "carry" in named:
        named["carry"] = _carry(named["carry"])
    named["input"] = named["input"] or ()
    named["scope"] = Scope(prune=options.prune)
    gate = Gate(max_reject_fraction=options.max_reject_fraction, max_failed_units=options.max_failed_units)
    return Settings(**{**named, "verb": Verb(verb), "gate": gate, "stores": configured()})


def _carry(names: Sequence[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    return () if list(names) == ["none"] else tuple(names)


def quiet_logs(verbose: bool) -> None:
    """Keep libraries from writing over the progress bar; what goes wrong comes as an exception all the same.

    What this project itself warns of is shown: a store that does not answer is waited for.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    logging.getLogger().setLevel(logging.INFO if verbose else logging.ERROR)
    logging.getLogger("pipeline").setLevel(logging.INFO if verbose else logging.WARNING)
    if not verbose:  # Beam logs the trace of every error that it passes on
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
