"""Options that are given as values of Python, as words of a command line: for commands that have no such interface."""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

from lake.cli.check import check_names, check_values
from lake.cli.option import Option
from model.cli.parser import FLAGS


def command_words(command: str, values: Mapping[str, Any], *places: str) -> list[str]:
    """The command line of a command on models.

    Args:
      command: a name in ``model.cli.parser.FLAGS``.
      values: by field of its options; None for one that is not given. A switch is given by True.
      places: its positional arguments.

    Raises:
      UsageError: a name is no option of the command, or a value is none of its option.

    >>> command_words("export", {"latent": "z", "value_range": (-1, 1), "any_output": True}, "a.keras")
    ['export', '--latent=z', '--value-range', '-1.0', '1.0', '--any-output', '--', 'a.keras']
    """
    table = {option.field: option for option in FLAGS[command]}
    check_names(values, [*table])
    given = {name: value for name, value in values.items() if value is not None}
    checked = check_values(given, FLAGS[command])
    words = [word for name, value in checked.items() for word in _words(table[name], value)]
    return [command, *words, *(["--", *places] if places else [])]


def _words(option: Option, value: Any) -> list[str]:
    if option.switch:
        return [option.flag] if value else []
    if option.many or option.repeated:  # each as one word, for a name may begin with a dash
        return [f"{option.flag}={item}" for item in value]
    if option.arity:
        return [option.flag, *map(str, value)]
    return [f"{option.flag}={_text(value)}"]


def _text(value: Any) -> str:
    several = isinstance(value, Iterable) and not isinstance(value, (str, PathLike))
    return ",".join(map(str, value)) if several else str(value)
