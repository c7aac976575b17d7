"""Processes that tests and benchmarks start, signal and look at."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_SECONDS = 90  # until a server must answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A process, and all that it has started."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    @property
    def said(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")


def start(command: Sequence[object], log: Path, *, more: Mapping[str, str] | None = None) -> Part:
    """Start a process in a group of its own; programs of this Python's environment are found first.

    Args:
      command: the program and its arguments.
      log: where both of its outputs go.
      more: of the environment.
    """
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, **path, **(more or {})},
            start_new_session=True,
        )
    return Part(process=process, log=log)


def until(true: Callable[[], bool], what: str, *parts: Part, seconds: float = _SECONDS) -> None:
    """Wait for something; a server that does not answer yet is asked again, and these parts must live."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError):
            if true():
                return
        for part in parts:
            assert part.process.poll() is None, f"{part.log} ends before {what}: {part.said[-2000:]}"
        time.sleep(0.05)
    raise AssertionError(f"{seconds} s, and still not: {what}")


def await_url(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a server of this machine gives a page, as long as its process lives."""

    def answers_well() -> bool:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        with urllib.request.urlopen(url, timeout=5):
            return True

    until(answers_well, f"an answer of {url}", seconds=30)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def answers(port: int, address: str = "127.0.0.1") -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.create_connection((address, port), timeout=5):
        return True


def children(pid: int) -> list[int]:
    """Processes that a process has started and that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state not in "ZX":
                found.append(int(stat.parent.name))
    return found


def command_line(pid: int) -> str:
    """Of a process; "" where there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # proc(5): after the second of them
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
