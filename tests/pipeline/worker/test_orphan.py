"""A process whose engine is gone ends, and one that launches jobs is left alone."""

import subprocess
import sys
import time

import pytest

from harness.processes import ROOT

PROGRAM = """\
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pipeline.worker import orphan
orphan._LOOKS, orphan._GRACE = 0.05, 0.2
if {launches}:
    orphan.stays_for_launcher()
orphan.end_with_engine()
orphan.end_with_engine()
assert sum(thread.name == "orphan" for thread in threading.enumerate()) == {watches}
units = ThreadPoolExecutor(1)
units.submit(time.sleep, {seconds})
time.sleep(0.3)
print("the engine ends", flush=True)
"""


def run(*, launches: bool, seconds: float) -> tuple[int, float]:
    """Exit status, and seconds from the end of the main thread to that of the process."""
    program = PROGRAM.format(launches=launches, watches=int(not launches), seconds=seconds)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "the engine ends\n"
        began = time.monotonic()
        status = process.wait(60)
    return status, time.monotonic() - began


def test_a_unit_that_waits_keeps_no_process_alive() -> None:
    status, seconds = run(launches=False, seconds=30)
    assert status == 1
    assert seconds < 15, "0.3 on an idle machine"


@pytest.mark.parametrize(("launches", "seconds"), [(False, 0.0), (True, 1.0)])
def test_who_ends_by_itself_or_launches_jobs_does_so(launches: bool, seconds: float) -> None:
    assert run(launches=launches, seconds=seconds)[0] == 0
