"""The arithmetic of ``benchmarks.embedding``, and what processes take."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.embedding import JOB, likeness, table
from benchmarks.process import used

_TWO = """
import subprocess, sys, time
held = bytearray(b"1") * (60 << 20)
if sys.argv[1:]:
    subprocess.run([sys.executable, __file__], check=True)
end = time.process_time() + 0.4
while time.process_time() < end:
    pass
"""


def test_processor_time_and_memory_of_a_process_and_its_child(tmp_path: Path) -> None:
    program = tmp_path / "two.py"
    program.write_text(_TWO)
    alone, both = (used([sys.executable, program, *more], tmp_path / "log") for more in ((), ("child",)))
    assert alone.cpu >= 0.4
    assert both.cpu >= 0.8
    assert 60 <= alone.peak_mib < 110  # of which the interpreter takes some 10
    assert 120 <= both.peak_mib < 170
    with pytest.raises(RuntimeError, match="ended with 3"):
        used([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log")


def test_latents_are_those_of_the_same_photographs() -> None:
    ours = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    assert likeness(ours, ours + np.float32([0, 1])).startswith("3 of 3 latents")
    assert "10.0% of the distance" in likeness(ours[:2], ours[:2] + np.float32([0, 1]))
    assert likeness(ours, ours[[1, 0, 2]]).startswith("1 of 3 latents")
    with pytest.raises(ValueError, match=r"latents of \(2, 2\), not of \(3, 2\)"):
        likeness(ours, ours[:2])


def test_the_table_has_medians_and_ratios() -> None:
    def run(cpu: float) -> dict[str, float]:
        return {"cpu": cpu, "cpu_of_start": 1.5, "seconds": 2.5, "peak_mib": 1000.4, "peak_mib_few": 900}

    lines = [*table({JOB: [run(2), run(4), run(3)], "Daft": [run(4), run(6), run(12)]})]
    assert lines[2].startswith("| latentlake | **3.0** (2.0, 4.0, 3.0) | 1.00 | **1.5**")
    assert lines[3].startswith("| Daft | **6.0** (4.0, 6.0, 12.0) | 2.00 | ")
    assert "**1,000** (1,000, 1,000, 1,000)" in lines[3]
