"""Command lines of ``python -m model``. Nothing heavy is imported here: ``--help`` answers at once."""

import argparse
from collections.abc import Sequence
from typing import Any

from pipeline import __version__
from pipeline.errors import UsageError
from pipeline.options import INPUT, Option, fraction, positive
from pipeline.parser import Parser, add_common, add_options, unknown

_TRAIN_EXAMPLE = "python -m model train --kind autoencoder --input 'shards/*.tfrecord' --output bundle"
_EXPORT_EXAMPLE = "python -m model export my.keras --latent bottleneck --output bundle --value-range -1 1"
_CHECK_EXAMPLE = "python -m model check bundle"
_NOT_FOR_TRAINING = {"--key", "--carry"}


def natural(text: str) -> int:
    """A number from 0 on that fits 32 bits.

    Raises:
      ValueError: it is not.
    """
    value = int(text)
    if not 0 <= value < 1 << 32:
        raise ValueError(text)
    return value


def rate(text: str) -> float:
    """A positive number.

    Raises:
      ValueError: it is not.
    """
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


TRAIN = (
    Option(
        flag="--kind",
        field="kind",
        default="autoencoder",
        choices=("autoencoder", "dense"),
        help="autoencoder: convolutional, for images (default); dense: for numeric vectors",
    ),
    Option(flag="--output", field="output", required=True, metavar="BUNDLE", help="directory to write the bundle to"),
    *(option for option in INPUT if option.flag not in _NOT_FOR_TRAINING),
    Option(
        flag="--latent-dim",
        field="latent_dim",
        type=positive,
        default=128,
        metavar="D",
        help="length of a latent (default 128)",
    ),
    Option(
        flag="--epochs",
        field="epochs",
        type=positive,
        default=20,
        metavar="N",
        help="most passes over the data (default 20)",
    ),
    Option(
        flag="--batch-size",
        field="batch_size",
        type=positive,
        default=128,
        metavar="N",
        help="samples per step (default 128)",
    ),
    Option(
        flag="--learning-rate",
        field="learning_rate",
        type=rate,
        default=1e-3,
        metavar="R",
        help="of Adam (default 0.001)",
    ),
    Option(
        flag="--seed", field="seed", type=natural, default=0, metavar="N", help="of weights and shuffling (default 0)"
    ),
    Option(
        flag="--validation-fraction",
        field="validation_fraction",
        type=fraction,
        default=0.1,
        metavar="F",
        help="share of the samples that is not trained on (default 0.1)",
    ),
    Option(
        flag="--patience",
        field="patience",
        type=positive,
        default=3,
        metavar="N",
        help="stop after this many epochs without a better validation loss (default 3); the best weights are kept",
    ),
)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of one command.

    Raises:
      UsageError: an option is unknown, its value is wrong, or a required one is missing.
    """
    top = Parser(
        prog="python -m model",
        description="Train an autoencoder, or make a bundle of a trained one, for 'python -m pipeline'.",
        epilog="Each command has its own --help.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    parsers = {"train": _train(commands), "export": _export(commands), "check": _check(commands)}
    if arguments and arguments[0] in parsers:
        _refuse_unknown(arguments[1:], parsers[arguments[0]])
    return top.parse_args(arguments)


def _train(commands: Any) -> Parser:
    parser = _command(commands, "train", "train an autoencoder on image or vector shards", _TRAIN_EXAMPLE)
    add_options(parser, TRAIN)
    _add_shape(parser, "shape of the network's input (default: that of the first record)")
    return parser


def _export(commands: Any) -> Parser:
    parser = _command(commands, "export", "make a bundle of a trained Keras model", _EXPORT_EXAMPLE)
    parser.add_argument("file", metavar="FILE.keras", help="what model.save() wrote: one input, one output")
    parser.add_argument(
        "--latent",
        required=True,
        metavar="LAYER",
        help="layer whose output is the latent; encoder/LAYER within a nested model, or the nested model's own name",
    )
    parser.add_argument("--output", required=True, metavar="BUNDLE", help="directory to write the bundle to")
    parser.add_argument(
        "--value-range",
        type=float,
        nargs=2,
        default=(0.0, 1.0),
        metavar=("BLACK", "WHITE"),
        help="values that black and white had in training (default 0 1)",
    )
    parser.add_argument("--color", choices=("gray", "rgb", "rgba"), help="of the channels (default: by their number)")
    _add_shape(parser, "shape of the input where the model leaves it open")
    return parser


def _check(commands: Any) -> Parser:
    parser = _command(commands, "check", "prove a bundle: digests, safety, golden outputs, speed", _CHECK_EXAMPLE)
    parser.add_argument("bundle", metavar="BUNDLE", help="directory of the bundle")
    return parser


def _command(commands: Any, name: str, text: str, example: str) -> Parser:
    parser: Parser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_common(parser)
    return parser


def _add_shape(parser: Parser, text: str) -> None:
    parser.add_argument("--input-shape", type=positive, nargs="+", metavar="SIDE", help=f"{text}: H W C, or d")


def _refuse_unknown(arguments: Sequence[str], parser: Parser) -> None:
    # Before argparse, which would report what is missing rather than what was mistyped.
    for token in arguments:
        flag = token.partition("=")[0]
        if flag.startswith("--") and flag not in parser._option_string_actions:
            raise UsageError(f"{unknown(flag, parser._option_string_actions)} (see {parser.prog} --help)")
