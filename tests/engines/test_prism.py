"""The whole job on Prism, Beam's runner in Go: it passes everything between steps through the portable interface."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from harness.engines.jobs import begun, run
from harness.engines.machines import ENGINES
from harness.processes import ROOT, until
from tests.engines.conftest import TRUTH
from tests.faults.torture import Work, check_whole

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def prism() -> list[str]:
    """Options of a job that runs on it."""
    assert (ENGINES / "prism").exists(), "Prism is not there: run scripts/engines"
    return ["--runner=PrismRunner", f"--prism_location={ENGINES / 'prism'}"]


def test_bytes_and_counts_of_a_local_run(prism: list[str], work: Work, tmp_path: Path) -> None:
    """Its workers are threads of the process that started the job."""
    job = run([*work.command(tmp_path / "out"), *prism, "--environment_type=LOOPBACK"], tmp_path)
    check_whole(work, tmp_path / "out")
    assert job.counters == TRUTH


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    """An environment that has what the project depends on, and not the project."""
    place = tmp_path / "worker"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    absent = subprocess.run(
        [place / "bin/python", "-c", "import pipeline"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "No module named 'pipeline'" in absent.stderr
    return place


def test_setup_file_brings_the_project_to_workers(prism: list[str], work: Work, worker: Path, tmp_path: Path) -> None:
    """Each installs the package that the job has made and staged."""
    environment = {
        "BOOT": str(ENGINES / "boot"),
        "PATH": f"{worker / 'bin'}:/usr/bin:/bin",
        "PYTHONPATH": "",
        "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1",
        "STAGED": str(tmp_path),
    }
    project = tmp_path / "project"  # a copy: building a package leaves files beside it
    for name in ("lake", "model", "pipeline", "latentlake"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "README.md"):
        shutil.copy(ROOT / name, project)
    process = json.dumps({"command": str(ROOT / "harness/engines/boot"), "env": environment})
    options = ["--environment_type=PROCESS", f"--environment_config={process}", f"--setup_file={project / 'setup.py'}"]
    job = run([*work.command(tmp_path / "out"), *prism, *options], tmp_path)
    check_whole(work, tmp_path / "out")
    assert job.counters == TRUTH
    (installed,) = worker.glob("lib/python*/site-packages/pipeline/__init__.py")
    assert installed.read_bytes() == (ROOT / "pipeline/__init__.py").read_bytes()


def test_what_a_worker_raises_ends_the_job_as_it_does_everywhere(prism: list[str], work: Work, tmp_path: Path) -> None:
    """One line that says what to do, and the exit status of a run that has lost its output."""
    output = tmp_path / "out"
    with begun([*work.command(output), *prism, "--environment_type=LOOPBACK"], tmp_path) as job:
        until(lambda: any(output.glob("_receipts/*/*.json")), "a first unit", job.part)
        (output / "_hold").unlink()
        assert job.wait() == 4
    (line,) = [line for line in job.part.said.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {output} is no longer held by run "), line
    assert line.endswith("nobody holds it; run the job again to go on"), line
