"""Many short processes without the seconds that TensorFlow and Beam take to be imported: one imports, then forks.

    with Nursery() as nursery:
        child = nursery.start(["encode", "--input", ...], log)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL

A child is a process like any other that runs ``python -m pipeline``: no thread and no session was there when it was
forked. ``python -m tests.faults.forkserver`` is the one that forks; it reads one request a line and answers each.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MAIN = "pipeline.cli.command:main"
_HEAVY = (
    *("apache_beam.runners.portability.fn_api_runner", "keras", "tensorflow"),
    *("pipeline.beam.launch", "pipeline.transforms", "pipeline.worker.run_unit"),
)
_CAPABILITY_VERSION = 0x20080522  # capset(2), _LINUX_CAPABILITY_VERSION_3
_LIMITS = {"file_size": resource.RLIMIT_FSIZE, "open_files": resource.RLIMIT_NOFILE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a child is kept from.

    file_size: bytes that a file may have; more is EFBIG.
    open_files: descriptors that it may have; more is EMFILE.
    plain: it may do no more than any user, so that permissions count for it.
    """

    file_size: int | None = None
    open_files: int | None = None
    plain: bool = False

    def apply(self) -> None:
        """Bind the calling process."""
        for name, kind in _LIMITS.items():
            if (most := getattr(self, name)) is not None:
                resource.setrlimit(kind, (most, most))
        if self.plain:
            _drop_capabilities()


class Nursery:
    """The process that forks, from the outside. Used by one thread."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.forkserver"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)

    def start(self, arguments: Sequence[str], log: Path, *, call: str = MAIN, limits: Limits = Limits()) -> "Child":
        """Begin a child that calls a function of one list, which gives its exit status."""
        request = {"call": call, "arguments": [str(a) for a in arguments], "log": str(log), "limits": asdict(limits)}
        return Child(pid=self._ask(request), log=log, nursery=self)

    def run(self, arguments: Sequence[str], log: Path, **how: Any) -> "Child":
        """A child that has ended."""
        child = self.start(arguments, log, **how)
        child.wait()
        return child

    def _ask(self, request: Mapping[str, Any]) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@dataclass(slots=True, kw_only=True)
class Child:
    """A process that was forked; ``status`` once it was waited for, negative for a signal."""

    pid: int
    log: Path
    nursery: Nursery
    status: int | None = None

    def wait(self, seconds: float = 100) -> int:
        """Its exit status; one that does not end in time is killed, and so is its status."""
        if self.status is None:
            self.status = self.nursery._ask({"wait": self.pid, "seconds": seconds})
        return self.status

    @property
    def ended(self) -> bool:
        """Whether it runs no more; it need not have been waited for."""
        return self._state in "ZX"

    @property
    def stands_still(self) -> bool:
        """Whether it was stopped."""
        return self._state == "T"

    @property
    def _state(self) -> str:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return "X"

    @property
    def said(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")


def _serve() -> None:
    _import()
    for line in sys.stdin:
        request = json.loads(line)
        answer = _wait(request["wait"], request["seconds"]) if "wait" in request else _fork(request)
        print(answer, flush=True)


def _import() -> None:
    for name in _HEAVY:
        import_module(name)


def _fork(request: Mapping[str, Any]) -> int:
    pid = os.fork()
    if not pid:
        os._exit(_child(request))
    return pid


def _child(request: Mapping[str, Any]) -> int:
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with Path(os.devnull).open() as nothing:
        for given, own in ((nothing.fileno(), 0), (log, 1), (log, 2)):
            os.dup2(given, own)
    os.close(log)
    os.setsid()  # so that it can be stopped with all that it starts
    Limits(**request["limits"]).apply()
    module, _, name = request["call"].partition(":")
    try:
        status = int(getattr(import_module(module), name)(request["arguments"]) or 0)
    except BaseException:
        traceback.print_exc()
        status = 70  # of no meaning to the job
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _wait(pid: int, seconds: float) -> int:
    end = time.monotonic() + seconds
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(ended[1])


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), errno.errorcode[ctypes.get_errno()])


if __name__ == "__main__":
    _serve()
    os._exit(0)  # to take TensorFlow down takes seconds, on a busy machine many
