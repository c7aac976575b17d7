"""A user's directory whose modules have the names of this project's packages."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SCRIPT = "import sys\nfrom latentlake.__main__ import main\nsys.exit(main())\n"  # as an installer writes it

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """``lake.py``, ``model.py`` and a package ``pipeline``, each of which fails when it is imported."""
    folder = tmp_path / "theirs"
    (folder / "pipeline").mkdir(parents=True)
    for name in ("lake.py", "model.py", "pipeline/__init__.py"):
        (folder / name).write_text(f'raise RuntimeError("their {name} was imported")\n')
    return folder


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """The console script ``latentlake``, in a directory of its own."""
    script = tmp_path / "bin/latentlake"
    script.parent.mkdir()
    script.write_text(_SCRIPT)
    return script


@pytest.fixture
def run(theirs: Path) -> Run:
    """Run Python in the user's directory; the packages are found as if they were installed, after it."""

    def run(*words: object, path: str = str(ROOT), cwd: Path = theirs) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"} | {"PYTHONPATH": path}
        line = [sys.executable, *map(str, words)]
        return subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, check=False)

    return run
