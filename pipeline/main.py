"""Entry point for launchers that pass only ``--name=value`` arguments: ``python pipeline/main.py --mode=encode ...``.

Dataflow's Flex Template launcher is one of them.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a file, as Beam's launchers do
    if not sys.flags.safe_path:
        del sys.path[0]  # this folder, whose modules are not top-level ones
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lake.cli.interrupt import leave_if_interrupted
from pipeline.cli.command import main as command_line
from pipeline.cli.parser import COMMANDS
from pipeline.worker.verbs import VERBS

_OPTIONS = {option.flag: option for verb in VERBS.values() for option in verb.flags}


def main(arguments: Sequence[str]) -> int:
    """Translate template parameters to a command line and run it.

    ``--mode=COMMAND`` names the command. Values of an option that takes several are separated by commas
    (``--input=a,b``). Switches are ``--overwrite=true`` or ``--overwrite=false``. Options of this project may be
    spelled with underscores (``--max_pixels=1M``). An option with an empty value is ignored: template forms send their
    empty fields.

    Args:
      arguments: the command line without the program's name.

    Returns:
      The exit status; see ``lake.core.errors``.
    """
    modes = [argument.partition("=")[2] for argument in arguments if argument.startswith("--mode=")]
    if len(modes) != 1 or modes[0] not in COMMANDS:
        print(f"error: name one --mode of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    rest = [word for argument in arguments if not argument.startswith("--mode=") for word in _words(argument)]
    return command_line([modes[0], *rest])


def _words(argument: str) -> list[str]:
    """Translate one argument to the words that the command line's parser expects."""
    name, equals, value = argument.partition("=")
    option = _OPTIONS.get(name.replace("_", "-"))
    if option is None or not equals:
        return [argument]
    # A template form sends every field, also empty ones and switches that are off.
    if not value or (option.switch and value == "false"):
        return []
    if option.switch and value == "true":
        return [option.flag]
    if option.repeated:
        return [f"{option.flag}={item}" for item in value.split(",")]
    if option.several:
        return [option.flag, *value.split(",")]
    return [f"{option.flag}={value}"]


if __name__ == "__main__":
    sys.exit(leave_if_interrupted(main(sys.argv[1:])))
