"""Command lines of ``python -m model``. Nothing heavy is imported here: ``--help`` answers at once."""

import argparse
from collections.abc import Sequence
from typing import Any

from model.train_options import TRAIN, rate
from pipeline import __version__
from pipeline.errors import UsageError
from pipeline.option import positive
from pipeline.options import STORES
from pipeline.parser import Parser, add_common, add_options, unknown

_TRAIN_EXAMPLE = "python -m model train --kind autoencoder --input 'shards/*.tfrecord' --output bundle"
_EXPORT_EXAMPLE = "python -m model export my.keras --latent bottleneck --output bundle --value-range -1 1"
_CHECK_EXAMPLE = "python -m model check bundle"


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
    parser.add_argument("file", metavar="FILE.keras", help="what model.save() wrote")
    parser.add_argument(
        "--latent",
        metavar="LAYER",
        help="layer whose output is the latent; encoder/LAYER within a nested model, or the nested model's own name; "
        "without it the bundle only denoises, images of any size where the model takes them",
    )
    parser.add_argument(
        "--log-variance",
        metavar="LAYER",
        help="of a variational autoencoder: layer that puts out the logarithm of each latent's variance",
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
    parser.add_argument(
        "--noise-input",
        metavar="NAME",
        help="second input, which takes the noise level; 'channel' where the last channel of the only input does",
    )
    parser.add_argument(
        "--noise-scale",
        type=rate,
        default=1.0,
        metavar="S",
        help="what that input was in training for a standard deviation of all of white: 1 (default), or 255",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of convolutions and dense layers (default float32, as the file has them); bfloat16 is twice as fast on "
        "processors that have it, and other bits come out",
    )
    _add_shape(parser, "shape of the input where the model leaves it open, to fix it")
    add_options(parser, STORES)
    return parser


def _check(commands: Any) -> Parser:
    parser = _command(commands, "check", "prove a bundle: digests, safety, golden outputs, speed", _CHECK_EXAMPLE)
    parser.add_argument("bundle", metavar="BUNDLE", help="directory of the bundle")
    add_options(parser, STORES)
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
