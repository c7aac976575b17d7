"""Nightly runs without a scheduler of their own: the script for cron with the real job, and systemd on its units."""

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli.command import main
from pipeline.output.fencing import lease
from tests.conftest import Model

ROOT = Path(__file__).parents[2]
NIGHTLY = ROOT / "deploy/nightly"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What is at /opt/latentlake."""
    (tmp_path / "opt/bin").mkdir(parents=True)
    (tmp_path / "opt/bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "opt/bin/python").chmod(0o755)
    (tmp_path / "opt/app").symlink_to(ROOT)
    return tmp_path / "opt"


def run(home: Path, *arguments: object) -> tuple[int, str, str]:
    command = [NIGHTLY / "run", *arguments]
    env = {**os.environ, "LATENTLAKE": str(home)}
    result = subprocess.run([str(word) for word in command], env=env, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout, result.stderr


def test_cron_hears_of_what_needs_somebody_and_of_nothing_else(home: Path, tmp_path: Path, model: Model) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        np.save(tmp_path / f"in/{number}.npy", np.zeros((20, 8, 8, 1), np.uint8))
    job = ("encode", "--input", tmp_path / "in", "--model", model.bundle, "--output", tmp_path / "out")
    assert run(home, *job) == (0, "", "")
    assert (tmp_path / "out/_SUCCESS").exists()
    os.truncate(tmp_path / "in/1.npy", 700)
    status, out, err = run(home, *job)
    assert (status, out) == (3, "")
    assert "1.npy" in err
    assert err.splitlines()[-2].startswith("error: ")
    assert err.splitlines()[-1] == "exit status 3"
    lease.acquire(str(tmp_path / "out"), "another", ends_with_process=True)
    assert run(home, *job) == (0, "", "")
    status, out, err = run(home, "encode", "--inptu", "x")
    assert (status, out) == (2, "")
    assert "did you mean --input" in err


def test_systemd_finds_nothing_wrong_with_the_units(home: Path, tmp_path: Path) -> None:
    assert shutil.which("systemd-analyze"), "systemd-analyze is missing: apt-get install systemd"
    units = tmp_path / "units"
    units.mkdir()
    for unit in NIGHTLY.glob("latentlake*"):
        text = unit.read_text().replace("/opt/latentlake", str(home)).replace("User=latentlake", "User=root")
        (units / unit.name).write_text(text)
        (units / unit.name.replace("@", "@encode")).write_text(text)
    instances = sorted(units.glob("*@encode*"))
    assert [unit.suffix for unit in instances] == [".service", ".service", ".timer"]
    result = subprocess.run(
        ["systemd-analyze", "verify", *map(str, instances)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_the_unit_takes_exit_statuses_as_they_are_meant() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(NIGHTLY / "latentlake@.service")
    service = unit["Service"]
    assert service["SuccessExitStatus"] == "4"
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2 3")


def test_the_commands_of_the_crontab_are_the_command_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split() for line in (NIGHTLY / "crontab").read_text().splitlines() if line[:1].isdigit()]
    assert [line[6] for line in lines] == ["/opt/latentlake/app/deploy/nightly/run"] * 2
    for line in lines:
        assert main(line[7:]) in (1, 2)  # there is no /lake
        assert "unknown option" not in capsys.readouterr().err
