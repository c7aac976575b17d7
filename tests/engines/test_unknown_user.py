"""A run as a user whom the system does not know, who has no home, and who may write to the output alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli.command import main
from tests.conftest import Model

ROOT = Path(__file__).parents[2]
USER = 54321
# What root may read that user may read, too: the interpreter of the tests may be in root's home.
CAPABILITY = "-all,+dac_read_search"


def as_user(*words: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    assert shutil.which("setpriv"), "setpriv is missing: apt-get install util-linux"
    user = ("setpriv", f"--reuid={USER}", "--regid=0", "--clear-groups")
    user += (f"--inh-caps={CAPABILITY}", f"--ambient-caps={CAPABILITY}")
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **variables}
    command = [*user, sys.executable, *map(str, words)]
    return subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("home", [{}, {"HOME": "/nowhere"}])
def test_an_unknown_user_without_a_home_writes_the_same_bytes(
    tmp_path: Path, model: Model, home: dict[str, str]
) -> None:
    source, output, temporary = tmp_path / "in", tmp_path / "out", tmp_path / "temporary"
    for directory in (source, output, temporary):
        directory.mkdir()
    for directory in (output, temporary):
        os.chown(directory, USER, 0)
    np.save(source / "a.npy", np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8, 1))
    job = ("encode", "--input", source, "--model", model.bundle, "--output")
    ran = as_user("-m", "latentlake", *job, output / "latents", TMPDIR=str(temporary), **home)
    assert ran.returncode == 0, ran.stderr
    assert as_user("-m", "latentlake", "verify", output / "latents", "--deep", **home).returncode == 0
    assert main([str(word) for word in (*job, tmp_path / "own")]) == 0
    table = "latents/a.parquet"
    assert (output / "latents" / table).read_bytes() == (tmp_path / "own" / table).read_bytes()
    assert not [*temporary.iterdir()]
