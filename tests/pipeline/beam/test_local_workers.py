"""The environment that worker processes of a local runner are started with."""

import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.beam.local_workers import own_packages, worker_environment

ROOT = Path(__file__).parents[3]


def test_the_packages_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_environment({}) == {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(ROOT)}
    assert worker_environment({"PYTHONPATH": "/theirs"})["PYTHONPATH"] == f"{ROOT}{os.pathsep}/theirs"


def test_installed_packages_are_not_put_before_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "getsitepackages", lambda: ["/elsewhere", str(ROOT)])
    assert worker_environment({}) == worker_environment({"PYTHONPATH": ""}) == {"PYTHONSAFEPATH": "1"}
    assert worker_environment({"PYTHONPATH": "/theirs"})["PYTHONPATH"] == f"{ROOT}{os.pathsep}/theirs"


@pytest.mark.parametrize("before", [None, "", "/theirs"])
def test_a_process_started_meanwhile_imports_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str | None
) -> None:
    if before is None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
    else:
        monkeypatch.setenv("PYTHONPATH", before)
    was = dict(os.environ)
    (tmp_path / "model.py").write_text("")
    with pytest.raises(ZeroDivisionError), own_packages():
        code = [sys.executable, "-c", "import model; print(model.__file__)"]
        found = subprocess.run(code, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        raise ZeroDivisionError
    assert found == f"{ROOT}/model/__init__.py\n"
    assert dict(os.environ) == was
