"""Why a run ends before its units are done: an error that each of them, and every new start of the job, would meet.

An engine takes an error of a worker for a reason to start the job again, up to ten times. So such an error does not
leave the worker as one: the pipeline passes it on as a value, comes to its end, and the launcher raises it.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from lake.core import sealed_json
from lake.core.errors import HeldError, LatentlakeError
from lake.core.retry import backoff_for
from lake.storage import put, store_for
from pipeline.config import JobConfig
from pipeline.output.fencing.heartbeat import guard_of
from pipeline.output.fencing.lease import release, renew
from pipeline.output.layout import Layout
from pipeline.output.state.state_file import read_state_file
from pipeline.output.state.state_values import natural, utf8

_LINE = '{"stop": '  # how the line of a stop begins, and that of no receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """An error that ends a run.

    Attributes:
      stop: what it says.
      exit_status: of a process that ends with it.

    >>> stop = Stop(stop="out is in use by run one", exit_status=4)
    >>> Stop.from_line(stop.to_line()) == stop, is_stop(stop.to_line())
    (True, True)
    """

    stop: str
    exit_status: int

    @classmethod
    def of(cls, error: Exception) -> "Stop":
        """The stop for an error."""
        return cls(stop=str(error), exit_status=getattr(error, "exit_status", 1))

    def to_line(self) -> str:
        """Return the stop as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> "Stop":
        """Parse what ``to_line`` returned."""
        return cls(**json.loads(line))

    @property
    def error(self) -> LatentlakeError:
        """The error, as the launcher raises it."""
        error = LatentlakeError(self.stop)
        error.exit_status = self.exit_status
        return error


def is_stop(line: str | bytes) -> bool:
    """Whether a line is that of a stop, and not of a receipt or a packed unit."""
    return line.startswith(_LINE) if isinstance(line, str) else line.startswith(_LINE.encode())


def ends_run(error: Exception) -> bool:
    """Whether an error that is not a unit's own would be met by every other unit, and after every new start."""
    if isinstance(error, OSError):
        return backoff_for(error) is None
    return isinstance(error, LatentlakeError)


def write_stop(config: JobConfig, error: Exception) -> Stop:
    """Leave word for the other workers and for the launcher, as far as the output can be written.

    Args:
      config: the job.
      error: ends the run.
    """
    stop = Stop.of(error)
    # Who lost the lease writes nothing more. The launcher sees that by itself.
    if not isinstance(error, HeldError):
        with suppress(OSError, HeldError):
            _put_stop(config, stop)
    return stop


def _put_stop(config: JobConfig, stop: Stop) -> None:
    guard = guard_of(config.output, config.run)
    put(Layout(config.output).stop(config.run), sealed_json.dumps(asdict(stop)), guard)


def read_stop(config: JobConfig) -> Stop | None:
    """Read why a run ends; None as long as no worker has said so.

    Args:
      config: the job.

    Raises:
      VerifyError: the file is damaged.
    """
    return stop_of(Layout(config.output), config.run)


def stop_of(layout: Layout, run: str) -> Stop | None:
    """Read why a run has ended before its units were done; None if it did not say so.

    Args:
      layout: of the output.
      run: id of the run.

    Raises:
      VerifyError: the file is damaged.
    """
    uri = layout.stop(run)
    try:
        return Stop(**read_state_file(uri, {"stop": utf8, "exit_status": natural}))
    except FileNotFoundError:
        return None


def stopped_summary(config: JobConfig, stop: Stop) -> dict[str, Any]:
    """End a run without a commit.

    The output is free for the next run, but where the launcher can only see by the lease why this one has ended.

    Args:
      config: the job.
      stop: why.

    Returns:
      What the pipeline gives in place of the summary of a commit.
    """
    with suppress(LatentlakeError, OSError):
        if read_stop(config) is not None:
            release(config.output, config.run)
    return {"complete": False, "output": config.output, "refused": [stop.stop], "stopped": asdict(stop)}


def raise_if_stopped(config: JobConfig) -> None:
    """Raise what ended a run whose pipeline has come to its end, unless it was the commit.

    Args:
      config: the job.

    Raises:
      HeldError: the run has lost its lease.
      LatentlakeError: with the words and the exit status of the error that ended it.
      OSError: the output cannot be written.
    """
    layout = Layout(config.output)
    if store_for(config.output).stat(layout.summary(config.run)) is not None:
        return
    if (stop := read_stop(config)) is not None:
        raise stop.error
    # Its worker could not write it down. Most likely this process meets the same.
    renew(config.output, config.run)
    error = LatentlakeError(f"{config.output}: a worker ended the run and could not say why; the engine's log does")
    _put_stop(config, Stop.of(error))
    raise error
