"""``python -m pipeline`` over a shard that ends every process that reads it, as a crash in native code does."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from lake.formats.parquet.reader import ParquetReader
from pipeline.cli.command import main as run
from pipeline.worker import apart, child

CALL = "tests.faults.poison:main"
UNIT = "a/00002"


def spread() -> None:
    """From now on, in this process and in those that it starts for units."""
    read = ParquetReader.read

    def poisonous(self: ParquetReader, unit: Any, *rest: Any) -> Iterator[Any]:
        if unit.id == os.environ.get("POISON", UNIT):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, unit, *rest)

    ParquetReader.read = poisonous  # type: ignore[method-assign]
    apart._PROGRAM = "tests.faults.poison"


def main(arguments: Sequence[str]) -> int:
    """Run one command."""
    spread()
    return run(arguments)


if __name__ == "__main__":
    spread()
    child.main(*map(int, sys.argv[1:]))
