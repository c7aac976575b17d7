"""What reaches stderr while native code starts: everything but its own log, also of other threads and processes."""

import subprocess
import sys

import pytest

_NATIVE = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795910243.506429   21980 port.cc:153] oneDNN custom operations are on.",
    "E0000 00:00:1795910253.130873   21980 cuda_platform.cc:52] failed call to cuInit",
    "2026-11-28 23:40:24.123456: W tensorflow/core/kernels/data/x_op.cc:55] something",
]
_FATAL = "F0000 00:00:1795910253.130873   21980 mutex.cc:52] dead"
_THREADS = f"""
import os, sys, threading
from lake.core.native_stderr import without_native_logs
native = {_NATIVE!r}
def others():
    for number in range(100):
        os.write(2, f"line {{number}}\\n".encode())  # as one piece, which print may not do
with without_native_logs() as printed:
    thread = threading.Thread(target=others)
    thread.start()
    for line in native:
        os.write(2, line.encode() + b"\\n")
    thread.join()
    os.write(2, {_FATAL!r}.encode() + b"\\n")
    os.system("echo of another process >&2")
    sys.stderr.write("\\r 10%\\r 20%")
    sys.stderr.flush()
    printed.seek(0)
    everything = printed.read().decode()
    assert all(line in everything for line in native)
print(" after", file=sys.stderr)
"""
_LIVE = """
import os, sys
from lake.core.native_stderr import without_native_logs
with without_native_logs():
    print("now", file=sys.stderr, flush=True)
    sys.stdin.readline()
"""
_TENSORFLOW = """
import os, sys, threading
from lake.core.tensorflow import tensorflow
def others():
    number = 0
    while not done.wait(0.01):
        os.write(2, f"line {number}\\n".encode())
        number += 1
    print(number)
done = threading.Event()
thread = threading.Thread(target=others)
thread.start()
tensorflow()
done.set()
thread.join()
"""


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)


def test_only_native_logs_are_left_out() -> None:
    lines = run(_THREADS).stderr.replace("\r", "\n").splitlines()
    assert lines == [
        *(f"line {number}" for number in range(100)),
        _FATAL,
        "of another process",
        "",
        " 10%",
        " 20% after",
    ]


def test_what_others_print_comes_at_once() -> None:
    """The line is read while the block still waits for its input."""
    child = subprocess.Popen([sys.executable, "-c", _LIVE], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with child:
        assert child.stderr.readline() == "now\n"
        child.stdin.write("\n")


@pytest.mark.slow
def test_lines_of_other_threads_while_tensorflow_starts() -> None:
    done = run(_TENSORFLOW)
    # Contained, not equal: native code may write a line of its log in pieces, around a line of another thread.
    assert [number for number in range(int(done.stdout)) if f"line {number}\n" not in done.stderr] == []
    assert len(done.stderr.splitlines()) < int(done.stdout) + 3
