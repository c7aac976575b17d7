"""Pipelines in a notebook: IPython is a stand-in, pandas is that of the environment, or none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# What Beam asks of IPython to find out whether it runs in it, and which cell runs.
_SHELL = """
import sys, types
shell = types.SimpleNamespace(config={"IPKernelApp": {}}, execution_count=7)
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: shell, __spec__=None, version_info=(9, 0))
"""
_JOB = """
import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
import latentlake
latentlake.EncodeImages
p = beam.Pipeline(runner=FnApiRunner())
p | beam.Create([20]) | beam.Map(lambda number: print(number + 1))
p.run()
"""


@pytest.mark.parametrize("pandas", ["", "sys.modules['pandas'] = None"])
@pytest.mark.slow
def test_a_pipeline_runs_in_a_notebook(pandas: str) -> None:
    code = "\n".join([_SHELL, pandas, _JOB])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "21\n"), done.stderr


_LABELS = """
import apache_beam as beam
import latentlake
latentlake.EncodeImages
beam.Pipeline() | beam.Create([20])
"""


def test_elsewhere_ipython_is_not_imported_to_name_a_step(tmp_path: Path) -> None:
    (tmp_path / "IPython.py").write_text("print('imported')\nget_ipython = lambda: None\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", ""), str(Path.cwd())])
    command = [sys.executable, "-c", _LABELS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path})
    assert done.stdout == ""
