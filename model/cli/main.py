"""The command line of models: ``latentlake train|export|check`` and ``python -m model``."""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence

from lake.cli.interrupt import INTERRUPTED, hearing_interrupts
from lake.cli.lines import line_of, log_in_lines, print_error
from lake.cli.options import store_options
from lake.core.errors import LatentlakeError
from lake.core.line_warnings import warnings_in_lines
from lake.storage import configure
from model.cli import check, export, train
from model.cli.parser import parse

_COMMANDS = {"train": train.run, "export": export.run, "check": check.run}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
      arguments: the command line without the program's name; None for that of this process.

    Returns:
      The exit status; see ``lake.core.errors``.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    with hearing_interrupts(""), warnings_in_lines():
        try:
            options = parse(arguments)
            configure(store_options(options))
            return run(options)
        except (LatentlakeError, OSError) as error:
            print_error(error, trace="--verbose" in arguments)
            return error.exit_status if isinstance(error, LatentlakeError) else 1
        except KeyboardInterrupt:
            return INTERRUPTED


def run(options: Namespace) -> int:
    """Run a parsed command and print its result.

    Args:
      options: what ``model.cli.parser.parse`` returned.

    Returns:
      The exit status.
    """
    log_in_lines()
    value, text = _COMMANDS[options.command](options)
    lines = "\n".join(map(line_of, text.split("\n")))
    print(json.dumps(value, indent=2) if options.json else lines)
    return INTERRUPTED if value.get("interrupted") else 0
