"""``python -m pipeline`` with a process beside its own, however small the job is."""

from collections.abc import Sequence

from pipeline.beam import processes
from pipeline.cli.command import main as run

CALL = "tests.faults.beside:main"


def main(arguments: Sequence[str]) -> int:
    """Run one command."""
    processes.cores = lambda: 2  # type: ignore[assignment]
    processes._WORTH = processes._WORTH_BYTES = processes._UNITS = 1
    return run(arguments)
