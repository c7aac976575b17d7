"""The parser of the command line. It imports neither Beam nor TensorFlow, so that ``--help`` is fast."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from lake import __version__
from lake.cli.option import Option
from lake.cli.parser import COMMON, Parser, add_command, add_options, add_place, check_command, defaults_of, unknown
from lake.core.errors import UsageError
from lake.storage.options import StoreOptions
from model.cli.parser import FLAGS as MODEL_FLAGS
from model.cli.parser import MODEL_COMMANDS, refuse_unknown
from model.cli.parser import add_commands as add_model_commands
from pipeline.cli.explore import EXPLORE
from pipeline.config import Gate
from pipeline.options.explore import ExploreOptions
from pipeline.options.flags import OFTEN
from pipeline.options.job_options import JobOptions, Scope
from pipeline.options.output_flags import RETRY, STATUS, VERIFY
from pipeline.worker.verbs import VERBS

if TYPE_CHECKING:
    from pipeline.worker.verbs.verb import Verb

OTHERS = {
    "plan": (
        "show what a job would do, without running it",
        "latentlake plan encode --input 'shards/*.tar' --model bundle --output latents",
    ),
    "verify": (
        "verify an output: compare every file and count with its manifest, with --deep also every byte",
        "latentlake verify latents --deep",
    ),
    "status": (
        "tell how far the latest run of an output is: 0 complete, 4 a run is at work, 3 neither",
        "latentlake status gs://lake/latents",
    ),
    "retry": (
        "retry the rejected records and failed units of an output, optionally with other decoding policies",
        "latentlake retry latents --resize crop --on-damage reject",
    ),
    "similar": (
        "find the records whose latents are nearest to those of a record, an image or a table",
        "latentlake similar latents --key a/00012.png --k 20",
    ),
    "outliers": (
        "find the records that are least like the others",
        "latentlake outliers scored --top 50",
    ),
    "duplicates": (
        "find records that are the same or nearly, in an output or in two; deletes nothing",
        "latentlake duplicates latents --write-list drop.jsonl",
    ),
    "compare": (
        "tell whether the data of two outputs differ: 0 no drift, 5 drift",
        "latentlake compare latents/monday latents/tuesday",
    ),
    "report": (
        "write a page that says whether a run was good, and which images to look at",
        "latentlake report latents --output-file report.html",
    ),
}
COMMANDS = (*VERBS, *OTHERS)
_OF_OUTPUTS = {"verify": VERIFY, "status": STATUS, "retry": RETRY}
JOB_DEFAULTS = defaults_of(JobOptions, Gate, Scope, StoreOptions)


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse a command line.

    Args:
      arguments: the command line without the program's name.

    Returns:
      The options of this project, and the remaining arguments, which are options of Beam or mistakes. Options that were
      not given are not in the namespace.

    Raises:
      UsageError: a value is wrong or a required option is missing.

    >>> options, beam_arguments = parse(
    ...     ["encode", "--input", "images/", "--model", "bundle", "--output", "latents", "--runner=FlinkRunner"]
    ... )
    >>> options.command, options.input, beam_arguments
    ('encode', ['images/'], ['--runner=FlinkRunner'])
    """
    _check_words(arguments)
    top, here = _build(tuple(VERBS[name] for name in _verbs(arguments)))
    # What does not run on Beam takes no options of it, so an unknown one is a mistake at once.
    if arguments and arguments[0] in here:
        refuse_unknown(arguments, here[arguments[0]], _flags)
        return top.parse_all(arguments), []
    try:
        return top.parse_known_args(arguments)
    except UsageError:
        # A mistyped option may be why a required one is missing. Then its name is the better explanation.
        command = next((word for word in arguments if word in _flags()), "")
        known = {*COMMON, *(option.flag for option in _flags().get(command, ()))}
        check_beam_arguments([a for a in arguments if a.startswith("--") and a.partition("=")[0] not in known], command)
        raise


def _check_words(arguments: Sequence[str]) -> None:
    """Check the command, and of ``plan`` the verb."""
    words = [*takewhile(lambda word: not word.startswith("-"), arguments[:2])]
    if words:
        check_command(words[0], (*COMMANDS, *MODEL_COMMANDS), "latentlake")
    if words[1:] and words[0] == "plan":
        check_command(words[1], VERBS, "latentlake plan")


def _verbs(arguments: Sequence[str]) -> Iterable[str]:
    """The verbs that a command line may need: others are not imported, which takes a part of the time before a job."""
    words = [*takewhile(lambda word: not word.startswith("-"), arguments[:2])]
    return VERBS if words in ([], ["plan"]) else [word for word in words if word in VERBS]


def check_beam_arguments(beam_arguments: Sequence[str], command: str) -> None:
    """Check that remaining arguments are options that Beam knows.

    Args:
      beam_arguments: what ``parse`` did not know.
      command: the command, of ``plan`` the verb.

    Raises:
      UsageError: one is not; the text names the commands that have it, or the nearest known option.
    """
    if not beam_arguments:
        return
    known = _beam_flags()
    expecting = False  # whether a value may follow: Beam's options are given as --name=value or --name value
    for token in beam_arguments:
        flag = token.partition("=")[0]
        if flag.startswith("-") and flag not in known:
            raise unknown(flag, command, _flags(), known)
        if not flag.startswith("-") and not expecting:
            what = f"unexpected argument {token!r}: no option before it takes it"
            raise UsageError(f"{what}; 'latentlake {command} --help' says what each takes")
        expecting = (flag.startswith("-") and "=" not in token) or (expecting and not flag.startswith("-"))


def _build(verbs: "Sequence[type[Verb]]") -> tuple[Parser, Mapping[str, Parser]]:
    """Build the parser, with some of the verbs. Also return the parsers of commands that take no options of Beam."""
    top = Parser(
        prog="latentlake",
        description="Run a trained autoencoder over a lake of image shards.",
        epilog="Each command has its own --help. Options of Apache Beam (--runner, ...) are passed on to it.",
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for verb in verbs:
        _add(add_command(commands, verb.name, verb.help, verb.example), verb.flags)
    plan = add_command(commands, "plan", *OTHERS["plan"])
    _add(plan, ())
    planned = plan.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for verb in verbs:
        _add(add_command(planned, f"plan {verb.name}", f"what {verb.name} would do"), verb.flags)
    here = add_model_commands(commands)
    for name, (places, flags) in EXPLORE.items():
        command = add_command(commands, name, *OTHERS[name])
        _add_places(command, places)
        add_options(command, flags, defaults_of(ExploreOptions))
        here[name] = command
    for name, options in _OF_OUTPUTS.items():
        command = add_command(commands, name, *OTHERS[name])
        add_place(command, "output", "OUTPUT", "directory that a job wrote")
        _add(command, options)
    return top, here


def _add_places(parser: Parser, places: Mapping[str, str]) -> None:
    for place, text in places.items():
        name = place.strip("[]")
        add_place(parser, name.lower(), name, text, "?" if place != name else None)


def _add(parser: Parser, options: Iterable[Option]) -> None:
    add_options(parser, options, JOB_DEFAULTS, OFTEN)


def _flags() -> dict[str, tuple[Option, ...]]:
    """The options of each command; those of ``plan`` are its verb's."""
    jobs = {verb.name: verb.flags for verb in VERBS.values()}
    return {**jobs, **_OF_OUTPUTS, **{name: flags for name, (_, flags) in EXPLORE.items()}, **MODEL_FLAGS}


def _beam_flags() -> set[str]:
    """Return every option that Beam and its runners define."""
    from apache_beam.options.pipeline_options import PipelineOptions

    # Several of Beam's classes define the same option.
    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    for options in _descendants(PipelineOptions):
        if "_add_argparse_args" in vars(options):
            options._add_argparse_args(parser)
    return set(parser._option_string_actions)


def _descendants(cls: type[Any]) -> Iterable[type[Any]]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)
