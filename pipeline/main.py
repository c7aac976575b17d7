"""Entry for launchers that pass only ``--name=value``: ``python pipeline/main.py --mode=encode --input=... ``."""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a file, as Beam's launchers do
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from pipeline.cli import main as command_line
from pipeline.options import JOBS
from pipeline.parser import COMMANDS

_LISTS = {option.flag for options in JOBS.values() for option in options if option.many or option.arity}


def main(arguments: Sequence[str]) -> int:
    """``--mode=COMMAND`` becomes the command; lists are separated by commas (``--input=a,b``)."""
    modes = [argument.partition("=")[2] for argument in arguments if argument.startswith("--mode=")]
    if len(modes) != 1 or modes[0] not in COMMANDS:
        print(f"error: name one --mode of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    rest = [part for argument in arguments if not argument.startswith("--mode=") for part in _split(argument)]
    return command_line([modes[0], *rest])


def _split(argument: str) -> list[str]:
    name, equals, value = argument.partition("=")
    if equals and name in _LISTS:
        return [name, *value.split(",")]
    return [argument]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
