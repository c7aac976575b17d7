"""The process in which ``pipeline.worker.apart`` runs a unit: ``python -m pipeline.worker.child DESCRIPTOR``."""

import os
import pickle
import sys
import threading
from contextlib import suppress
from pathlib import Path

from lake.core.records import Unit
from lake.storage import configure
from pipeline.config import JobConfig
from pipeline.output.heartbeat import HEARTBEAT
from pipeline.output.receipts import Receipt
from pipeline.worker.run_unit import run_anew


def main(descriptor: int) -> None:
    """Read a unit and its job from stdin, run it, and write its receipt, or what it raised, to a descriptor."""
    # Where memory is short, the kernel is to end this process, and not the one that waits for it.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    unit, config = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    data = pickle.dumps(_run(unit, config))
    with os.fdopen(descriptor, "wb") as answer:
        answer.write(data)
    os._exit(0)  # not later, for threads that still work


def _run(unit: Unit, config: JobConfig) -> Receipt | Exception:
    configure(config.stores)
    try:
        with HEARTBEAT.beating(config.output, config.run):
            return run_anew(unit, config)
    except Exception as error:
        return error


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
