"""``python -m latentlake``, and the command ``latentlake``."""

import sys
from pathlib import Path

from latentlake._packages import claim, load_module


def main() -> int:
    """Run the command line; the result is the exit status."""
    claim()
    status: int = load_module("pipeline.cli.command").main()
    load_module("lake.cli.interrupt").leave_if_interrupted(status)
    return status


if __name__ == "__main__":
    # "python -m" has put the working directory first, where a user may have modules of any name.
    if Path(sys.path[0]).resolve() == Path.cwd() != Path(__file__).resolve().parent.parent:
        del sys.path[0]
    sys.exit(main())
