"""Processes that run units, and that a unit may end without ending this one."""

import logging
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress
from logging import LogRecord

from lake.core.counters import TALLY
from lake.core.records import Unit
from pipeline.config import JobConfig
from pipeline.output.units.receipts import Receipt
from pipeline.worker.messages import Counted, Request

_PROGRAM = "pipeline.worker.child"
_PATIENCE = 2.0  # seconds that a process has to end which nobody needs any more


class ProcessEndedError(Exception):
    """The process ended without a word. The text says how."""


class UnitProcess:
    """A process that runs one unit after the other. It ends with this one, or when it is closed.

    What it counts and logs meanwhile is counted and logged here.
    """

    def __init__(self) -> None:
        answers, to_answer = os.pipe()
        self._answers = os.fdopen(answers, "rb")
        try:
            self._process = _start(to_answer)
        finally:
            os.close(to_answer)
        self.ended = False

    def warm(self, config: JobConfig) -> None:
        """Let it load the model ahead of its first unit.

        Args:
          config: the job.
        """
        self._ask(Request(unit=None, config=config))

    def run(self, unit: Unit, config: JobConfig) -> Receipt:
        """Run a unit.

        Args:
          unit: the unit.
          config: the job.

        Raises:
          ProcessEndedError: the process ended before the unit did.
          Exception: as of ``pipeline.worker.run_unit.run_anew``.
        """
        counted = Counter[str]()
        self._ask(Request(unit=unit, config=config))
        try:
            outcome = self._outcome(counted)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):  # in the middle of a word, or closed
            TALLY.add(**{name: -count for name, count in counted.items()})  # the unit will be counted once more
            self.close()
            raise ProcessEndedError(_how(self._process.returncode)) from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        """End the process, whatever it does. It is then ``ended``."""
        self.ended = True
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(_PATIENCE)
        self._answers.close()
        assert self._process.stdin is not None
        with suppress(OSError):  # what was not sent yet has nowhere to go
            self._process.stdin.close()

    def _ask(self, request: Request) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended already, which who waits for its answer is told
            # The pipe stays open: its end tells the process that this one is gone.
            pickle.dump(request, self._process.stdin)
            self._process.stdin.flush()

    def _outcome(self, counted: Counter[str]) -> Receipt | Exception:
        while True:
            said: Receipt | Exception | Counted | LogRecord = pickle.load(self._answers)
            if isinstance(said, Counted):
                counted.update(said.more)
                TALLY.add(**said.more)
            elif isinstance(said, LogRecord):
                _log(said)
            else:
                return said


def run_apart(unit: Unit, config: JobConfig) -> Receipt:
    """Run a unit in a process of its own.

    Args:
      unit: the unit.
      config: the job.

    Raises:
      ProcessEndedError: the process ended before the unit did.
      Exception: as of ``pipeline.worker.run_unit.run_anew``.
    """
    with closing(UnitProcess()) as process:
        return process.run(unit, config)


def _start(to_answer: int) -> "subprocess.Popen[bytes]":
    level = logging.getLogger("pipeline").getEffectiveLevel()
    return subprocess.Popen(
        [sys.executable, "-m", _PROGRAM, str(to_answer), str(level)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=(to_answer,),
        # Without the working directory, where a user may have modules of any name.
        env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def _log(record: LogRecord) -> None:
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _how(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
