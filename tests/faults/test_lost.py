"""An output that has lost what belongs to no unit: what it was made with, or the copy of its model."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli.command import main
from pipeline.output.verify import verify
from tests.conftest import Model, make_model
from tests.faults.outputs import files


@pytest.fixture
def command(model: Model, shards: Path, tmp_path: Path) -> list[str]:
    """A job that has been done."""
    shutil.copytree(model.bundle, tmp_path / "bundle")
    words = ["encode", "--input", str(shards), "--model", str(tmp_path / "bundle"), "--output", str(tmp_path / "out")]
    assert main(words) == 0
    return words


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def keras_of(output: Path) -> Path:
    return next(output.glob("_model/*/model.keras"))


LOSSES: dict[str, Callable[[Path], None]] = {
    "_job.json": lambda output: (output / "_job.json").unlink(),
    "the model": lambda output: shutil.rmtree(output / "_model"),
    "the model's description": lambda output: next(output.glob("_model/*/model.json")).unlink(),
}


@pytest.mark.parametrize("lost", LOSSES)
def test_the_same_command_brings_it_back(command: list[str], tmp_path: Path, lost: str) -> None:
    output = tmp_path / "out"
    before, kept = files(output), (output / "_job.json").read_bytes()
    LOSSES[lost](output)
    assert verify(str(output), deep=True).problems != ()
    assert main(command) == 0
    assert verify(str(output), deep=True).problems == ()
    assert (files(output), (output / "_job.json").read_bytes()) == (before, kept)


def test_a_damaged_copy_is_repaired_from_the_bundle(command: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out"
    before = files(output)
    flip(keras_of(output))
    assert main(["verify", str(output)]) == 3
    assert main(["verify", str(output), "--repair"]) == 0
    assert files(output) == before


def test_where_the_bundle_is_gone_too_the_repair_says_so(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(keras_of(tmp_path / "out"))
    shutil.rmtree(tmp_path / "bundle")
    assert main(["verify", str(tmp_path / "out"), "--repair"]) == 2
    assert f"{tmp_path}/bundle/model.json: not there" in capsys.readouterr().err


def test_an_output_that_forgot_its_options_takes_no_others(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out/_job.json").unlink()
    before = files(tmp_path / "out")
    command[4] = make_model(tmp_path / "other", seed=5).bundle
    assert main(command) == 2
    assert "has lost its _job.json, and unit " in capsys.readouterr().err
    assert files(tmp_path / "out") == before
    assert main([*command, "--overwrite"]) == 0
    assert verify(str(tmp_path / "out"), deep=True).problems == ()
