"""ONNX Runtime leaves nothing in a home, and so has nothing to send."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

IN_A_PROCESS = "from lake.core.onnxruntime import onnxruntime; onnxruntime().SessionOptions()"


@pytest.mark.parametrize("told", [{}, {"ORT_DISABLE_TELEMETRY": "1"}])
def test_it_leaves_nothing_in_the_home(tmp_path: Path, told: dict[str, str]) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = {**kept, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), **told}
    subprocess.run([sys.executable, "-c", IN_A_PROCESS], env=environment, cwd=Path(__file__).parents[3], check=True)
    assert list(tmp_path.rglob("*")) == []
