"""The command, started in every way in a directory that holds modules of the same names as this project's packages."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import lake
from tests.latentlake.conftest import ROOT, Run
from tests.pipeline.conftest import run_job

VERSION = f"{lake.__version__}\n"
DIGITS = np.random.default_rng(3).integers(0, 256, (40, 28, 28, 1), np.uint8)


@pytest.mark.parametrize("before", [False, True])
def test_the_console_script(run: Run, command: Path, theirs: Path, before: bool) -> None:
    """Also where the user's directory is on ``PYTHONPATH``, before everything else."""
    path = f"{theirs}:{ROOT}" if before else str(ROOT)
    ended = run(command, "--version", path=path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, VERSION, "")


@pytest.mark.parametrize("options", [(), ("-P",)])
def test_python_m_latentlake(run: Run, options: tuple[str, ...]) -> None:
    ended = run(*options, "-m", "latentlake", "--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, VERSION, "")


@pytest.mark.parametrize("options", [(), ("-P",)])
@pytest.mark.parametrize("package", ["pipeline", "model"])
def test_python_m_of_a_package_beside_the_other_names(
    run: Run, theirs: Path, package: str, options: tuple[str, ...]
) -> None:
    for file in theirs.glob(f"{package}*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    ended = run(*options, "-m", package, "--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, VERSION, "")


@pytest.mark.parametrize("package", ["latentlake", "pipeline", "model"])
def test_in_the_source_tree(run: Run, package: str) -> None:
    ended = run("-m", package, "--version", path="", cwd=ROOT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, VERSION, "")


def test_the_exit_status_is_that_of_the_error(run: Run, command: Path) -> None:
    ended = run(command, "check", "zoo:mnist-vea")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: zoo:mnist-vea: the zoo has no bundle of this name; did you mean zoo:mnist-vae?\n"


@pytest.mark.slow
def test_worker_processes_import_the_same_packages(run: Run, command: Path, theirs: Path) -> None:
    """Beam starts them by ``python -m`` in the user's directory."""
    np.save(theirs / "digits.npy", DIGITS)
    job = ("encode", "--input", "digits.npy", "--model", "zoo:mnist-autoencoder", "--output", "there")
    ended = run(command, *job, "--direct_running_mode=multi_processing", "--direct_num_workers=2")
    assert ended.returncode == 0, ended.stderr
    run_job("encode", theirs / "digits.npy", "zoo:mnist-autoencoder", theirs / "here")
    here, there = (pq.read_table(theirs / output / "latents") for output in ("here", "there"))
    assert here["index"].to_pylist() == list(range(40))
    assert here.equals(there)
