"""Run a unit in a process of its own, which may end with it."""

import os
import pickle
import signal
import subprocess
import sys
from contextlib import suppress

from lake.core.records import Unit
from pipeline.config import JobConfig
from pipeline.output.receipts import Receipt

_PROGRAM = "pipeline.worker.child"


class ProcessEndedError(Exception):
    """The process ended without a word. The text says how."""


def run_apart(unit: Unit, config: JobConfig) -> Receipt:
    """Run a unit in a process of its own, which ends with this one.

    Args:
      unit: the unit.
      config: the job.

    Raises:
      ProcessEndedError: the process ended before the unit did.
      Exception: as of ``pipeline.worker.run_unit.run_anew``.
    """
    answer, to_answer = os.pipe()
    with os.fdopen(answer, "rb") as result:
        try:
            process = _start(to_answer)
        finally:
            os.close(to_answer)
        with process:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it has ended already
                # The pipe stays open: its end tells the process that this one is gone.
                process.stdin.write(pickle.dumps((unit, config)))
                process.stdin.flush()
            said = result.read()
    return _outcome(said, process.returncode)


def _start(to_answer: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", _PROGRAM, str(to_answer)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=(to_answer,),
        # Without the working directory, where a user may have modules of any name.
        env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def _outcome(said: bytes, status: int) -> Receipt:
    if not said:
        raise ProcessEndedError(f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}")
    outcome: Receipt | Exception = pickle.loads(said)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
