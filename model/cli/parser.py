"""The parser of the model commands. It does not import TensorFlow, so that ``--help`` is fast."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from lake import __version__
from lake.cli.option import Option
from lake.cli.options import STORES
from lake.cli.parser import Parser, add_command, add_options, add_place, check_command, defaults_of, unknown
from lake.core.errors import UsageError
from lake.formats.reader import ColumnSelection
from lake.images.types import Target
from model.cli.export_options import ALLOW_CODE, EXPORT
from model.cli.train_options import TRAIN
from model.parts import Parts
from model.preprocessing import Preprocessing
from model.training.options import DenoiserOptions, TrainingOptions

MODEL_COMMANDS = {
    "train": (
        "train an autoencoder on image or vector shards",
        "latentlake train --kind autoencoder --input 'shards/*.tfrecord' --output bundle",
    ),
    "export": (
        "make a bundle of a trained Keras model",
        "latentlake export my.keras --latent bottleneck --output bundle --value-range -1 1",
    ),
    "check": ("prove a bundle: digests, safety, golden outputs, speed", "latentlake check bundle"),
}
CHECK = (ALLOW_CODE, *STORES)
# As ``pipeline.options.flags.OFTEN``.
OFTEN = ("--kind", "--input", "--latent", "--output", "--value-range", "--input-shape", "--latent-dim", "--preset")
FLAGS = {"train": TRAIN, "export": EXPORT, "check": CHECK}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line.

    Args:
      arguments: the command line without the program's name.

    Raises:
      UsageError: an option is unknown, its value is wrong, or a required one is missing.

    >>> parse(["check", "zoo:mnist-vae"]).bundle
    'zoo:mnist-vae'
    """
    top = Parser(
        prog="latentlake",
        description="Train an autoencoder, or make a bundle of a trained one.",
        epilog="Each command has its own --help.",
    )
    top.add_argument("--version", action="version", version=__version__)
    parsers = add_commands(top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser))
    if arguments and not arguments[0].startswith("-"):
        check_command(arguments[0], parsers, "latentlake")
        refuse_unknown(arguments, parsers[arguments[0]], lambda: FLAGS)
    return top.parse_all(arguments)


def add_commands(commands: Any) -> dict[str, Parser]:
    """Add the model commands to a parser.

    Args:
      commands: what ``ArgumentParser.add_subparsers`` returned.

    Returns:
      The parsers of the commands, by name.
    """
    train = add_command(commands, "train", *MODEL_COMMANDS["train"])
    add_options(train, TRAIN, defaults_of(ColumnSelection, Target, DenoiserOptions, TrainingOptions), OFTEN)
    export = add_command(commands, "export", *MODEL_COMMANDS["export"])
    add_place(export, "file", "FILE.keras", "what model.save() wrote, also .h5", "?")
    add_options(export, EXPORT, defaults_of(Preprocessing, Parts), OFTEN)
    check = add_command(commands, "check", *MODEL_COMMANDS["check"])
    add_place(check, "bundle", "BUNDLE", "directory of the bundle, or zoo:NAME for an included one")
    add_options(check, CHECK, {})
    return {"train": train, "export": export, "check": check}


def refuse_unknown(
    arguments: Sequence[str], parser: Parser, tables: Callable[[], Mapping[str, Iterable[Option]]]
) -> None:
    """Check that a command knows all options, before argparse reports what is missing.

    Args:
      arguments: the command line, which begins with the name of the command.
      parser: the parser of the command.
      tables: gives the options of each command.

    Raises:
      UsageError: it does not know one; the text names the commands that do, or the nearest known option.
    """
    # argparse would report the missing option first, and the mistyped one is why it is missing.
    for token in takewhile(lambda word: word != "--", arguments[1:]):
        flag = token.partition("=")[0]
        if flag.startswith("--") and flag not in parser._option_string_actions:
            raise UsageError(f"{unknown(flag, arguments[0], tables())} (see {parser.prog} --help)")
