"""Run a request in a child process and wait for it: the bar, the result, the error, the interruption."""

import json
import os
import pickle
import select
import signal
import site
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from lake.core.errors import LatentlakeError
from pipeline.calls.notebook import NotebookBar, in_notebook

_HOME = Path(__file__).resolve().parent.parent.parent
_CODE = (
    "from latentlake._packages import claim, load_module; claim(); "
    "raise SystemExit(load_module('pipeline.calls.child').main())"
)
_LOOK = 1.0  # seconds between two looks at whether the child is still there
_PATIENCE = 10.0  # seconds that an interrupted child has to end


def run_child(request: Any) -> Any:
    """Run a request in a child process.

    Args:
      request: of ``pipeline.calls.child``.

    Returns:
      The value that it gives.

    Raises:
      LatentlakeError: what the child raised, of its class; or the child was killed.
      KeyboardInterrupt: this process was interrupted, and the child has ended.
    """
    notebook = in_notebook()
    arrived, arrives = os.pipe()
    # In a session of its own it hears of an interruption from here alone, once.
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", _CODE, str(arrives), "bar" if notebook else ""],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE if notebook else None,
        pass_fds=(arrives,),
        env=_environment(),
        start_new_session=True,
    )
    os.close(arrives)
    with _ended(child), os.fdopen(arrived, "rb") as messages:
        _send(child, request)
        with _passed_on(child.stderr):
            return _answer(child, messages, NotebookBar() if notebook else None)


def _environment() -> dict[str, str]:
    """This process's environment, by which the child finds these packages, too."""
    if str(_HOME) in (*site.getsitepackages(), site.getusersitepackages()):
        return {**os.environ}
    path = os.pathsep.join([str(_HOME), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


@contextmanager
def _ended(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Make sure that the child has ended after the block; if the block is interrupted, by an interruption."""
    try:
        yield
    except KeyboardInterrupt:
        child.send_signal(signal.SIGINT)
        raise
    finally:
        try:
            with suppress(subprocess.TimeoutExpired):
                child.wait(_PATIENCE)
        finally:
            child.kill()
            child.wait()
            if child.stdin is not None:
                child.stdin.close()


def _send(child: "subprocess.Popen[bytes]", request: Any) -> None:
    assert child.stdin is not None
    try:
        # It stays open: where it ends, the child knows that this process is gone.
        child.stdin.write(pickle.dumps(request))
        child.stdin.flush()
    except BrokenPipeError:  # the child could not start, and its exit status says more
        return


@contextmanager
def _passed_on(stderr: IO[bytes] | None) -> Iterator[None]:
    """Print what the child writes on its stderr where this process prints: in the cell of a notebook."""
    if stderr is None:
        yield
        return

    def pass_on() -> None:
        for line in stderr:
            print(line.decode(errors="replace"), end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=pass_on, name="stderr", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(_LOOK)


def _answer(child: "subprocess.Popen[bytes]", messages: IO[bytes], bar: NotebookBar | None) -> Any:
    for message in _messages(child, messages):
        if "bar" in message and bar is not None:
            bar.show(message["bar"])
        if "error" in message:
            raise pickle.loads(b64decode(message["error"]))
        if "value" in message:
            return message["value"]
    status = child.wait()
    how = f"signal {-status}" if status < 0 else f"status {status}"
    raise LatentlakeError(
        f"the process of the job ended with {how} and no word (out of memory?); what is done is kept, call it again to "
        "go on"
    )


def _messages(child: "subprocess.Popen[bytes]", messages: IO[bytes]) -> Iterator[Mapping[str, Any]]:
    """Yield what the child says, until it ends. Processes that it has left may hold the pipe open."""
    rest = b""
    while True:
        ready, _, _ = select.select([messages], [], [], _LOOK)
        if not ready and child.poll() is not None:
            return
        if ready:
            if not (data := os.read(messages.fileno(), 1 << 16)):
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from map(json.loads, lines)
