"""An argparse parser that is built from an option table and raises this project's errors."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import chain
from typing import Any, NoReturn

from lake.cli.option import Option
from lake.core.choices import did_you_mean, quoted
from lake.core.errors import UsageError

COMMON = ("--json", "--verbose", "--help", "--version")  # options of every command
MOST_USED, OPTIONS, EVERY = "most used", "options", "every command"
# Headings of the help, in this order.
GROUPS = (MOST_USED, OPTIONS, "input", "output", "images", "gate", "training", "run", "stores", EVERY)
_FIRST = 5  # options that come first
_FEW = 12  # options that need no such help


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

    def format_help(self) -> str:
        """The help, whose first line names what a command cannot do without; the rest is below in groups."""
        needed = map(_usage, filter(_is_needed, self._actions))
        self.usage = " ".join([self.prog.replace("%", "%%"), *needed, "[options]"])
        return super().format_help()

    def parse_all(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse a command line that holds nothing but what its command has.

        Args:
          arguments: the command line without the program's name.

        Raises:
          UsageError: a value is wrong, something required is missing, or something is left over.
        """
        options, left = self.parse_known_args(arguments)
        if left:  # argparse's own error is of this parser, whose help does not say what the command takes
            raise UsageError(f"unexpected argument {quoted(left[0])} (see {self.prog} {options.command} --help)")
        return options

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
        add_help=False,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example:\n  {example}" if example else "",
    )
    return parser


def add_options(
    parser: argparse.ArgumentParser, options: Iterable[Option], defaults: Mapping[str, Any], often: Sequence[str] = ()
) -> None:
    """Add the options of a table to a parser, in groups, and then those of every command.

    Args:
      parser: receives the options.
      options: the table.
      defaults: defaults by field, for the help and to tell what a switch sets.
      often: flags in the order of how often they are used; of a long table the first five come first.
    """
    table = {option.flag: option for option in options}
    first = [flag for flag in often if flag in table][:_FIRST] if len(table) > _FEW else []
    chosen = {flag: MOST_USED if flag in first else option.group for flag, option in table.items()}
    for title in GROUPS[:-1]:
        inside = first if title == MOST_USED else [flag for flag, group in chosen.items() if group == title]
        _add(parser.add_argument_group(title), map(table.__getitem__, inside), defaults)
    every = parser.add_argument_group(EVERY)
    every.add_argument("--json", action="store_true", default=False, help="print the result as JSON")
    every.add_argument("--verbose", action="store_true", default=False, help="show the trace of an error")
    every.add_argument("-h", "--help", action="help", help="show this help")


def check_command(word: str, commands: Iterable[str], prog: str) -> None:
    """Check that a command is known.

    Args:
      word: the command.
      commands: those that there are.
      prog: the words before it.

    Raises:
      UsageError: it is not; the text names the nearest.

    >>> check_command("encdoe", ["encode", "decode"], "latentlake")
    Traceback (most recent call last):
    ...
    lake.core.errors.UsageError: unknown command 'encdoe'; did you mean encode? (see latentlake --help)
    """
    known = [*commands]
    if word not in known:
        near = did_you_mean(word, known) or f"; there are {', '.join(known)}"
        raise UsageError(f"unknown command {quoted(word)}{near} (see {prog} --help)")


def _is_needed(action: argparse.Action) -> bool:
    return action.required or not action.option_strings


def _usage(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    if action.option_strings:
        return f"{action.option_strings[0]} {name}"
    return f"[{name}]" if action.nargs == "?" and not name.startswith("[") else name


def _add(group: Any, options: Iterable[Option], defaults: Mapping[str, Any]) -> None:
    for option in options:
        text = option.described(defaults.get(option.field)).replace("%", "%%")
        if option.switch:
            # The switch sets the opposite of the default. Without it the name is absent, so the default holds.
            action = "store_false" if defaults.get(option.field) else "store_true"
            group.add_argument(option.flag, dest=option.field, action=action, default=argparse.SUPPRESS, help=text)
            continue
        group.add_argument(
            option.flag,
            dest=option.field,
            type=_one_of(option),
            metavar=f"{{{','.join(option.choices)}}}" if option.choices else option.metavar,
            required=option.required,
            nargs="+" if option.many else option.arity,
            action="extend" if option.many else "append" if option.repeated else "store",
            help=text,
        )


def add_place(parser: Parser, name: str, metavar: str, help: str, nargs: str | None = None) -> None:
    """Add a path or a URI that is given without a flag. An empty one, as of an unset variable, is refused.

    Args:
      parser: of the command.
      name: of the field.
      metavar: as the help calls it.
      help: what it is.
      nargs: "?" if it may be left out.
    """
    kind = _one_of(Option(flag=metavar, field=name, help=help))
    parser.add_argument(name, metavar=metavar, nargs=nargs, type=kind, default=None, help=help)


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
