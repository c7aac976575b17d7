"""Runs that lose their output to another one and come back, as processes of machines that cannot see each other."""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from harness.servers.proxy import Fault, Proxy, always
from lake.storage import local_lock, request_retry
from pipeline.cli.command import main as run
from pipeline.output import lease, lease_record
from tests.faults.forkserver import Child, Nursery

CALL = "tests.faults.overtaken:main"
EXPIRY = 3.0  # seconds, instead of a minute

Files: TypeAlias = Mapping[str, bytes]


def main(arguments: Sequence[str]) -> int:
    """``python -m pipeline`` on a machine of its own, whose name comes first, and with a lease of a short life."""
    machine, *command = arguments
    lease_record.EXPIRY, lease.RENEWAL, local_lock.WAIT = EXPIRY, EXPIRY / 8, EXPIRY
    lease.this_place = lambda: machine
    request_retry.REQUESTS = request_retry.RequestBackoff(first=0.05, most=0.2, deadline=120, stall=120)
    return run(command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """How two runs ended: the one that was held up, and the one that went on without it."""

    late: Child
    next: Child
    overtook: bool  # whether the late one was held up in time


def take_over(nursery: Nursery, command: Sequence[str], log: Path) -> Child:
    """A run that is started again until the lease of the one before has expired."""
    end = time.monotonic() + 60
    while (child := nursery.run(["next", *command], log, call=CALL)).status == 4 and time.monotonic() < end:
        time.sleep(EXPIRY / 6)
    return child


def behind_a_proxy(
    nursery: Nursery, proxy: Proxy, fault: Fault, late: Sequence[str], next: Sequence[str], place: Path
) -> Ends:
    """A run whose store is away from some request on; what it has sent arrives when the next run is done."""
    with proxy.doing(always(fault)):
        child = nursery.start(["late", *late], place / "late.log", call=CALL)
        while proxy.gate.is_set() and not child.ended:
            time.sleep(0.002)
        overtook = not child.ended
        other = take_over(nursery, next, place / "next.log")
        proxy.faults = []
        proxy.gate.set()
        child.wait()
    return Ends(late=child, next=other, overtook=overtook)


def stopped(
    nursery: Nursery, here: Callable[[], bool], late: Sequence[str], next: Sequence[str], place: Path, pause: float = 0
) -> Ends:
    """A run whose process stands still from some instant on, until the next one is done."""
    child = nursery.start(["late", *late], place / "late.log", call=CALL)
    while not here() and not child.ended:
        time.sleep(0.001)
    time.sleep(pause)
    overtook = not child.ended
    if overtook:
        os.kill(child.pid, signal.SIGSTOP)
    other = take_over(nursery, next, place / "next.log")
    if overtook:
        os.kill(child.pid, signal.SIGCONT)
    child.wait()
    return Ends(late=child, next=other, overtook=overtook)


def check(ends: Ends, found: Files, wanted: Files) -> None:
    """The output is what the run that went on makes alone, and the late one says that it lost it."""
    assert ends.next.status == 0, ends.next.said
    if ends.overtook:
        assert ends.late.status == 4, (ends.late.status, ends.late.said)
        lines = [line for line in ends.late.said.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, ends.late.said
        assert "no longer held by run" in lines[0]
    differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    assert not differing


def dead_lease() -> bytes:
    """What a run leaves that died long ago: the next one has to look for files that nothing names."""
    value = {"run": "20200101T000000Z-aaaaaa", "host": "h", "place": "", "pid": 1, "born": "2", "beat": 1e9}
    return json.dumps(value).encode() + b"\n"
