"""The process of ``pipeline.worker.apart``: ``python -m pipeline.worker.child DESCRIPTOR LEVEL``.

Requests come from stdin. Receipts, and what units raise, count and log, go to the descriptor.
"""

import logging
import os
import pickle
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from lake.core.counters import TALLY, Counts
from lake.core.line_warnings import warnings_in_lines
from lake.core.records import Unit
from lake.storage import configure
from pipeline.config import JobConfig
from pipeline.output.fencing.heartbeat import HEARTBEAT
from pipeline.output.units.receipts import Receipt
from pipeline.worker.messages import Counted, Request
from pipeline.worker.process import warm
from pipeline.worker.run_unit import run_anew

_FRAME = 0.2  # seconds between two words on what was counted: the bar is drawn as often


def main(descriptor: int, level: int) -> None:
    """Do what is asked, until whoever asks is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, for the process that asks: it ends this one
    # Where memory is short, the kernel is to end this process, and not the one that waits for it.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    asked, answers = SimpleQueue[Request](), _Answers(descriptor)
    logging.basicConfig(handlers=[QueueHandler(answers)], level=level)  # type: ignore[arg-type]  # it puts, no more
    for work, arguments in ((_hear, (asked,)), (answers.keep_counting, ())):
        threading.Thread(target=work, args=arguments, daemon=True).start()
    with warnings_in_lines():
        while True:
            request = asked.get()
            if request.unit is None:
                warm(request.config)
            else:
                answers.put(_run(request.unit, request.config))


class _Answers:
    """What is said to the process that asks. Thread-safe."""

    def __init__(self, descriptor: int) -> None:
        self._out, self._lock = os.fdopen(descriptor, "wb"), threading.Lock()
        self._counted = Counts()

    def put(self, said: Any) -> None:
        """Say an outcome, after all that was counted by then."""
        data = pickle.dumps(said)
        with self._lock:
            self._count()
            self._say(data)

    put_nowait = put  # as handlers of log records call it

    def keep_counting(self) -> None:
        """Say what is counted, again and again."""
        while True:
            time.sleep(_FRAME)
            with self._lock:
                self._count()

    def _count(self) -> None:
        before, self._counted = asdict(self._counted), TALLY.counts
        more = {name: count - before[name] for name, count in asdict(self._counted).items() if count != before[name]}
        if more:
            self._say(pickle.dumps(Counted(more=more)))

    def _say(self, data: bytes) -> None:
        self._out.write(data)
        self._out.flush()


def _hear(asked: "SimpleQueue[Request]") -> None:
    with suppress(EOFError, OSError):
        while True:
            asked.put(pickle.load(sys.stdin.buffer))
    os._exit(1)  # nobody takes what still runs


def _run(unit: Unit, config: JobConfig) -> Receipt | Exception:
    configure(config.stores)
    try:
        with HEARTBEAT.beating(config.output, config.run):
            return run_anew(unit, config)
    except Exception as error:
        return error


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
