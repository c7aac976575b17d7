"""Entry for launchers that pass only ``--name=value``: ``python pipeline/main.py --mode=encode --input=... ``."""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a file, as Beam's launchers do
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from pipeline.cli import main as command_line
from pipeline.options import JOBS
from pipeline.parser import COMMANDS

_OPTIONS = {option.flag: option for options in JOBS.values() for option in options}


def main(arguments: Sequence[str]) -> int:
    """``--mode=COMMAND`` becomes the command.

    Lists are separated by commas (``--input=a,b``), switches are ``--overwrite=true`` or ``=false``, and the options of
    this project may have underscores (``--max_pixels=1M``) or no value, as of a field that was left empty.
    """
    modes = [argument.partition("=")[2] for argument in arguments if argument.startswith("--mode=")]
    if len(modes) != 1 or modes[0] not in COMMANDS:
        print(f"error: name one --mode of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    rest = [word for argument in arguments if not argument.startswith("--mode=") for word in _words(argument)]
    return command_line([modes[0], *rest])


def _words(argument: str) -> list[str]:
    """An argument as the command line takes it."""
    name, equals, value = argument.partition("=")
    option = _OPTIONS.get(name.replace("_", "-"))
    if option is None or not equals:
        return [argument]
    if not value or (option.switch and value == "false"):
        return []
    if option.switch and value == "true":
        return [option.flag]
    if option.many or option.arity:
        return [option.flag, *value.split(",")]
    return [f"{option.flag}={value}"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
