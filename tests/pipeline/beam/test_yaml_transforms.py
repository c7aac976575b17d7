"""The pipeline of docs/beam.md as Beam YAML runs it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.output.verify import verify
from tests.examples.pages import ROOT, blocks


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_pipeline_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(7):
        pixels = np.random.default_rng(number).integers(0, 256, (28, 28), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/{number}.png")
    (text,) = [block.code for block in blocks(ROOT / "docs/beam.md") if block.language == "yaml"]
    spec: Any = yaml.safe_load(text)
    *jobs, log = spec["pipeline"]["transforms"]
    assert log == {"type": "LogForTesting", "input": "Counts"}
    said = [{"output": str(tmp_path / "latents"), "read": 7, "results": 7}]
    spec["pipeline"]["transforms"] = [*jobs, {"type": "AssertEqual", "input": "Counts", "config": {"elements": said}}]
    spec["providers"] = [{"include": str(ROOT / one["include"])} for one in spec["providers"]]
    for job in jobs[:2]:
        job["config"] |= {name: str(tmp_path / job["config"][name]) for name in ("input", "output")}
    (tmp_path / "nightly.yaml").write_text(yaml.safe_dump(spec))
    command = [sys.executable, "-m", "apache_beam.yaml.main", f"--yaml_pipeline_file={tmp_path / 'nightly.yaml'}"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("latents", "clean"):
        assert verify(str(tmp_path / name), deep=True).problems == ()
