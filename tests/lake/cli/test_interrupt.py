"""Ctrl-C ends a command, whatever it waits for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.processes import ROOT

HEAD = """\
import os, signal, subprocess, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background begins with it ignored
from lake.cli.interrupt import INTERRUPTED, hearing_interrupts, leave_if_interrupted
"""
TAIL = """\
with hearing_interrupts("; so it is") as heard:
    try:
        print("ready", flush=True)
        wait()
        status = 0
    except KeyboardInterrupt:
        status = INTERRUPTED
assert heard.is_set() == (status == INTERRUPTED)
sys.exit(leave_if_interrupted(status))
"""
WAITS = {
    "that is heard": "wait = lambda: time.sleep(60)",
    "that goes on": """
def wait():
    try:
        time.sleep(60)
    finally:  # as where the lease is released on a store that does not answer
        threading.Event().wait(60)
""",
    "for a thread": """
def wait():
    thread = threading.Thread(target=time.sleep, args=(60,))
    thread.start()
    try:
        thread.join()
    finally:
        thread.join()
""",
    "in native code": """
import hashlib
wait = lambda: hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)  # a minute, without a look at signals
""",
}


def begin(wait: str) -> "subprocess.Popen[str]":
    program = [sys.executable, "-c", HEAD + wait + "\n" + TAIL]
    job = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    return job


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_wait(wait: str) -> None:
    with begin(wait) as job:
        sent = time.monotonic()
        job.send_signal(signal.SIGINT)
        _, said = job.communicate(timeout=30)
        assert time.monotonic() - sent < 2 + _slack()
    assert (job.returncode, said) == (130, "interrupted; so it is\n")


def test_no_process_is_left(tmp_path: Path) -> None:
    """Neither those that were started, nor those that these have started."""
    pids = tmp_path / "pids"
    wait = f"""
def wait():
    script = "sleep 60 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"
    subprocess.Popen(["sh", "-c", script], start_new_session=True)
    time.sleep(60)
"""
    with begin(wait) as job:
        while not pids.exists():
            time.sleep(0.01)
        job.send_signal(signal.SIGINT)
        assert job.wait() == 130
    started = [int(pid) for pid in pids.read_text().split()]
    end = time.monotonic() + 10
    while any(_lives(pid) for pid in started) and time.monotonic() < end:
        time.sleep(0.01)
    assert [pid for pid in started if _lives(pid)] == []


_DEFERRING = """
from lake.cli.interrupt import deferring_interrupts
def wait():
    with deferring_interrupts(": it ends by itself") as asked:
        print("deferring", flush=True)
        end = time.monotonic() + 30
        while not asked.is_set() and time.monotonic() < end:
            time.sleep(0.01)
        print("asked", flush=True)
        time.sleep(SECONDS)  # longer than an interrupted command has
        print("done", flush=True)
"""


def test_a_block_that_ends_by_itself() -> None:
    with begin(_DEFERRING.replace("SECONDS", "2.5")) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "deferring\n"
        job.send_signal(signal.SIGINT)
        assert job.communicate(timeout=30) == ("asked\ndone\n", "interrupted: it ends by itself\n")
    assert job.returncode == 0


def test_a_block_that_is_interrupted_again() -> None:
    with begin(_DEFERRING.replace("SECONDS", "60")) as job:
        assert job.stdout is not None and job.stderr is not None
        assert job.stdout.readline() == "deferring\n"
        job.send_signal(signal.SIGINT)
        assert job.stdout.readline() == "asked\n"
        # The line comes from another thread, late on a busy machine; a second signal before it has one line for both.
        assert job.stderr.readline() == "interrupted: it ends by itself\n"
        job.send_signal(signal.SIGINT)
        _, said = job.communicate(timeout=30)
    assert (job.returncode, said) == (130, "interrupted; so it is\n")


def test_who_is_not_interrupted_is_left_alone() -> None:
    with begin("wait = lambda: None") as job:
        assert job.communicate() == ("", "")
    assert job.returncode == 0


def _slack() -> float:
    """Seconds for what a busy machine takes to begin a process and to end one."""
    return 3.0 if os.getloadavg()[0] > 2 else 0.5


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
