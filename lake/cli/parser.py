"""An argparse parser that is built from an option table and raises this project's errors."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import chain
from typing import Any, NoReturn

from lake.cli.option import Option
from lake.core.choices import did_you_mean
from lake.core.errors import UsageError

COMMON = ("--json", "--verbose", "--help", "--version")  # options of every command


class Parser(argparse.ArgumentParser):
    """An ``argparse`` parser that raises ``UsageError`` and accepts no abbreviations.

    An option that is not typed is absent from the namespace, so the default of its dataclass field holds.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            **given,
        )

    def error(self, message: str) -> NoReturn:
        """Raise the message as a ``UsageError``, instead of printing it and exiting."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def add_command(commands: Any, title: str, text: str, example: str = "") -> Parser:
    """Add a command to a parser, with the options that every command has.

    Args:
      commands: what ``add_subparsers`` returned.
      title: the command's words after the program's name; the last one names it.
      text: one line of help.
      example: an example of its use.
    """
    parser: Parser = commands.add_parser(
        title.rpartition(" ")[2],
        help=text,
        prog=f"latentlake {title}",
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example:\n  {example}" if example else "",
    )
    parser.add_argument("--json", action="store_true", default=False, help="print the result as JSON")
    parser.add_argument("--verbose", action="store_true", default=False, help="show the trace of an error")
    return parser


def add_options(parser: argparse.ArgumentParser, options: Iterable[Option], defaults: Mapping[str, Any]) -> None:
    """Add the options of a table to a parser.

    Args:
      parser: receives the options.
      options: the table.
      defaults: defaults by field, for the help and to tell what a switch sets.
    """
    for option in options:
        text = option.described(defaults.get(option.field))
        if option.switch:
            # The switch sets the opposite of the default. Without it the name is absent, so the default holds.
            action = "store_false" if defaults.get(option.field) else "store_true"
            parser.add_argument(option.flag, dest=option.field, action=action, default=argparse.SUPPRESS, help=text)
            continue
        parser.add_argument(
            option.flag,
            dest=option.field,
            type=_one_of(option),
            metavar=f"{{{','.join(option.choices)}}}" if option.choices else option.metavar,
            required=option.required,
            nargs="+" if option.many else option.arity,
            action="extend" if option.many else "store",
            help=text,
        )


def defaults_of(*kinds: type[Any]) -> dict[str, Any]:
    """The defaults that dataclasses state, by field name. A later dataclass overrides an earlier one."""
    return {field.name: field.default for kind in kinds for field in fields(kind) if field.default is not MISSING}


def unknown(flag: str, command: str, tables: Mapping[str, Iterable[Option]], others: Iterable[str] = ()) -> UsageError:
    """The error for an option that a command does not have: who has it, or else the nearest one that the command has.

    Args:
      flag: the option.
      command: of these tables; another one counts as all of them together.
      tables: the options of each command.
      others: options that the command has besides.

    >>> prune, deep = (Option(flag=flag, field="", help="") for flag in ("--prune", "--deep"))
    >>> tables = {"encode": [prune], "verify": [deep]}
    >>> str(unknown("--prune", "verify", tables))
    '--prune is no option of verify, but of encode'
    >>> str(unknown("--prnue", "encode", tables))
    'unknown option --prnue; did you mean --prune?'
    """
    flags = {name: [option.flag for option in options] for name, options in tables.items()}
    having = [name for name, own in flags.items() if flag in own]
    if having and command in flags:
        return UsageError(f"{flag} is no option of {command}, but of {_listed(having)}")
    own = flags.get(command) or chain(*flags.values())
    return UsageError(f"unknown option {flag}{did_you_mean(flag, [*own, *COMMON, *others])}")


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _one_of(option: Option) -> Callable[[str], Any]:
    """The check of one word of an option, with its own text in place of that of ``argparse``."""

    def parse(text: str) -> Any:
        try:
            return option.parse_one(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse
