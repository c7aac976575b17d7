"""Keras does not import matplotlib for a job, and whoever wants it finds it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_NOTE = "import os, pathlib\npathlib.Path(os.environ['HOME'], 'imported').touch()\n"
_QUICK = """
import sys, threading
from lake.core.without_matplotlib import without_matplotlib

found = []
with without_matplotlib():
    try:
        import matplotlib.pyplot
    except ImportError as error:
        found.append(error.name)
    thread = threading.Thread(target=lambda: found.append(__import__("matplotlib").__name__))
    thread.start()
    thread.join()
import matplotlib.pyplot
print(found, len([one for one in sys.meta_path if type(one).__name__ == "_Absent"]))
"""
_KERAS = """
import pathlib, os
from lake.core.tensorflow import keras

keras()
print(pathlib.Path(os.environ["HOME"], "imported").exists())
from keras.src.visualization import plot_image_gallery as module
print(module.plt.subplots())
"""


def ask(home: Path, code: str) -> str:
    """Where a matplotlib is installed that leaves a file in the home when it is imported."""
    fake = home / "packages/matplotlib"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text(_NOTE)
    (fake / "pyplot.py").write_text("def subplots(): return 'drawn'\n")
    (fake / "patches.py").write_text("")
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(home / "packages")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=_ROOT, env=environment).stdout


def test_only_this_thread_and_only_in_the_block(tmp_path: Path) -> None:
    assert ask(tmp_path, _QUICK).split("\n")[0] == "['matplotlib', 'matplotlib'] 0"


@pytest.mark.slow
def test_keras_draws_with_it_and_imports_it_then(tmp_path: Path) -> None:
    assert ask(tmp_path, _KERAS).split() == ["False", "drawn"]
