"""``python -m pipeline``."""

import sys
from pathlib import Path

# "python -m" has put the working directory first, where a user may have a lake.py or model.py of their own.
if Path(sys.path[0]).resolve() == Path.cwd() != Path(__file__).resolve().parent.parent:
    del sys.path[0]

from lake.cli.interrupt import leave_if_interrupted
from pipeline.cli.command import main

if __name__ == "__main__":
    sys.exit(leave_if_interrupted(main()))
