"""The child process of a call: it reads a request from stdin, runs it, and says how far it is and what came out.

Its messages are lines of JSON on a pipe of their own: ``bar`` with a line of progress, ``value`` with the result, or
``error`` with a pickled exception.
"""

import gc
import json
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lake.cli.interrupt import INTERRUPTED, hearing_interrupts
from lake.cli.lines import line_of
from lake.cli.screen import BLOCKS
from lake.core.errors import LatentlakeError
from lake.core.line_warnings import warnings_in_lines

if TYPE_CHECKING:
    from pipeline.job.prepare import Job
    from pipeline.options.job_options import JobOptions

Send = Callable[[dict[str, Any]], None]

_FRAME = 0.5  # seconds between two lines of progress
_WIDTH = 80  # characters of one


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job to run. Its value is the run's summary.

    Attributes:
      options: of the job.
      beam: options of Beam, as words of a command line.
    """

    options: "JobOptions"
    beam: tuple[str, ...] = ()

    def run(self, show: Callable[..., AbstractContextManager[object]]) -> dict[str, Any]:
        """Run it.

        Args:
          show: makes what shows the progress of a job.
        """
        from pipeline.beam.launch import launch
        from pipeline.cli.parser import check_beam_arguments
        from pipeline.output.commit.publish_state import check_complete

        check_beam_arguments(self.beam, self.options.verb)
        summary = launch(self.options, self.beam, show=show)
        check_complete(summary)
        return summary


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """A command on models to run. It prints its result, and has no value.

    Attributes:
      words: the command line without the program's name.
    """

    words: Sequence[str]

    def run(self, show: Callable[..., AbstractContextManager[object]]) -> None:  # noqa: ARG002
        """Run it; it shows its progress itself."""
        from lake.cli.options import store_options
        from lake.storage import configure
        from model.cli.main import run
        from model.cli.parser import parse

        options = parse(self.words)
        configure(store_options(options))
        run(options)


def main() -> int:
    """Run the request that is on stdin.

    Returns:
      The exit status: 0, 1 after an error, which was sent, or 130 after an interruption.
    """
    from pipeline.cli.command import quiet_logs
    from pipeline.cli.progress_bar import Progress
    from pipeline.cli.summary import headline

    signal.signal(signal.SIGINT, signal.default_int_handler)  # the caller may ignore it
    descriptor, with_bar = int(sys.argv[1]), sys.argv[2] == "bar"
    os.set_inheritable(descriptor, False)
    os.dup2(2, 1)  # what commands print is shown with their messages
    with os.fdopen(descriptor, "w") as out, hearing_interrupts("; what is done is kept, call it again to go on"):
        send = _sender(out)
        try:
            request = pickle.load(sys.stdin.buffer)
            threading.Thread(target=_end_with_caller, name="caller", daemon=True).start()
            quiet_logs(verbose=False)
            with warnings_in_lines():
                value = request.run(_frames(send) if with_bar else Progress)
            if with_bar and value and "total" in value:
                send({"bar": headline(value)})
            send({"value": value})
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            send({"error": b64encode(pickle.dumps(_sendable(error))).decode()})
            return 1
        finally:
            gc.freeze()  # else Python traverses all objects once more at its end, which takes half a second
    return 0


def _sender(out: Any) -> Send:
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with lock:
            print(json.dumps(message), file=out, flush=True)

    return send


def _sendable(error: Exception) -> Exception:
    """The error, if the caller can be given it as it is, else one that says the same."""
    kind = type(error)
    if isinstance(error, LatentlakeError) or kind.__module__ == "builtins":
        return error
    trace = "".join(traceback.format_exception(error))
    other = RuntimeError(f"{kind.__module__}.{kind.__qualname__}: {error}")
    other.add_note(trace)
    return other


def _end_with_caller() -> None:
    """Interrupt this process once the caller is gone, which holds the other end of stdin."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGINT)


def _frames(send: Send) -> Callable[..., AbstractContextManager[object]]:
    from pipeline.cli.progress_bar import Progress

    @contextmanager
    def frames(job: "Job", *source: Any) -> Iterator[None]:
        progress, ended = Progress(job, *source), threading.Event()

        def show() -> None:
            progress.count_records()
            while not ended.wait(_FRAME):
                for text in [news for one in source for news in one.news()]:
                    print(line_of(text), file=sys.stderr, flush=True)
                send({"bar": progress.line(time.monotonic(), _WIDTH, BLOCKS)})

        thread = threading.Thread(target=show, name="bar", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            send({"bar": progress.line(time.monotonic(), _WIDTH, BLOCKS)})

    return frames
