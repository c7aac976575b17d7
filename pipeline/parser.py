"""Command lines to settings. Nothing heavy is imported here: ``--help`` answers at once."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from pipeline import __version__
from pipeline.errors import UsageError
from pipeline.option import Option
from pipeline.options import JOBS, RETRY, VERIFY

COMMANDS = {
    "encode": (
        "latent vectors of every image, as Parquet",
        "python -m pipeline encode --input 'shards/*.tfrecord' --model bundle --output latents",
    ),
    "reconstruct": (
        "what the model makes of every image, latent vectors, and how much was lost (mse, psnr)",
        "python -m pipeline reconstruct --input images/ --model bundle --output scored",
    ),
    "denoise": (
        "the same dataset with cleaner images, of any size and depth",
        "python -m pipeline denoise --input photos/ --model model/zoo/denoiser-gray --noise-level 25 --output clean",
    ),
    "decode": (
        "images of latent vectors",
        "python -m pipeline decode --input latents/latents --model bundle --output decoded",
    ),
    "generate": (
        "new images, from the prior of a variational autoencoder or between two images",
        "python -m pipeline generate --count 10000 --seed 1 --model model/zoo/mnist-vae --output digits",
    ),
    "plan": (
        "what a job would do, without doing it",
        "python -m pipeline plan encode --input 'shards/*.tar' --model bundle --output latents",
    ),
    "verify": (
        "prove an output: every file and count against its manifest, and on request every byte",
        "python -m pipeline verify latents --deep",
    ),
    "retry": (
        "rejected records and failed units of an output once more, also under other policies",
        "python -m pipeline retry latents --resize crop --on-damage reject",
    ),
}
VERBS = tuple(JOBS)
_OURS = {option.flag for options in (*JOBS.values(), RETRY, VERIFY) for option in options} | {
    "--json",
    "--verbose",
    "--help",
    "--version",
}


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are this project's."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Known options as a namespace, and the rest, which is Beam's or a mistake.

    Raises:
      UsageError: an option's value is wrong or a required one is missing.
    """
    try:
        return _build().parse_known_args(arguments)
    except UsageError:
        check_rest([a for a in arguments if a.startswith("--") and a.partition("=")[0] not in _OURS])
        raise  # no option was mistyped, which would explain it better than the one that is missing


def _build() -> argparse.ArgumentParser:
    top = Parser(
        prog="python -m pipeline",
        description="Run a trained autoencoder over a lake of image shards.",
        epilog="Each command has its own --help. Options of Apache Beam (--runner, ...) are passed on to it.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for verb in VERBS:
        _add_options(_command(commands, verb), JOBS[verb])
    plan = _command(commands, "plan")
    verbs = plan.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for verb in VERBS:
        _add_options(_subparser(verbs, verb, f"what {verb} would do", f"plan {verb}"), JOBS[verb])
    for name, options in (("verify", VERIFY), ("retry", RETRY)):
        command = _command(commands, name)
        command.add_argument("output", metavar="OUTPUT", help="directory that a job wrote")
        _add_options(command, options)
    return top


def _command(commands: Any, name: str) -> argparse.ArgumentParser:
    text, example = COMMANDS[name]
    return _subparser(commands, name, text, name, f"example:\n  {example}")


def _subparser(commands: Any, name: str, text: str, title: str, epilog: str = "") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        prog=f"python -m pipeline {title}",
        description=text[0].upper() + text[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def _add_options(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    add_options(parser, options)
    add_common(parser)


def add_options(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    """Options of a table to a parser."""
    for option in options:
        if option.switch:
            action = "store_false" if option.default else "store_true"
            parser.add_argument(option.flag, dest=option.field, action=action, help=option.help)
            continue
        parser.add_argument(
            option.flag,
            dest=option.field,
            type=option.type,
            default=option.default,
            choices=option.choices,
            metavar=option.metavar,
            required=option.required,
            nargs="+" if option.many else option.arity,
            action="extend" if option.many else "store",
            help=option.help,
        )


def add_common(parser: argparse.ArgumentParser) -> None:
    """What every command has."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.add_argument("--verbose", action="store_true", help="show the trace of an error")


def unknown(flag: str, known: Iterable[str]) -> UsageError:
    """The error for an option that is not known; it names the nearest that is."""
    near = difflib.get_close_matches(flag, list(known), n=1, cutoff=0.5)
    return UsageError(f"unknown option {flag}" + (f"; did you mean {near[0]}?" if near else ""))


def check_rest(rest: Sequence[str]) -> None:
    """Refuse an option that neither this project nor Beam knows.

    Raises:
      UsageError: it names the nearest known option.
    """
    if not rest:
        return
    known = _beam_flags()
    expecting = False
    for token in rest:
        flag = token.partition("=")[0]
        if flag.startswith("-") and flag not in known:
            raise unknown(flag, [*_OURS, *known])
        if not flag.startswith("-") and not expecting:
            raise UsageError(f"unexpected argument {token!r}")
        expecting = (flag.startswith("-") and "=" not in token) or (expecting and not flag.startswith("-"))


def _beam_flags() -> set[str]:
    """Every option that Beam and its runners define."""
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    for options in _descendants(PipelineOptions):
        if "_add_argparse_args" in vars(options):
            options._add_argparse_args(parser)
    return set(parser._option_string_actions)


def _descendants(cls: type[Any]) -> Iterable[type[Any]]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)
