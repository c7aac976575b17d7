"""What of the image can be told without building it: whom it starts, and which packages it holds."""

import re
import subprocess
from pathlib import Path

import pytest

from pipeline.parser import COMMANDS

ROOT = Path(__file__).parents[2]
BOOT = "/opt/apache/beam/boot"


@pytest.fixture
def entrypoint(tmp_path: Path) -> Path:
    """The image's, where Python and Beam's boot program are scripts that say what they were given."""
    for name in ("python", "boot", "launcher"):
        (tmp_path / name).write_text(f'#!/bin/sh\nprintf "%s|" {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    text = (ROOT / "deploy/image/entrypoint").read_text()
    assert text.count(BOOT) == 1
    script = tmp_path / "entrypoint"
    script.write_text(text.replace(BOOT, str(tmp_path / "boot")))
    return script


def started(entrypoint: Path, *arguments: str) -> list[str]:
    command = ["sh", entrypoint, *arguments]
    path = f"{entrypoint.parent}:/usr/bin:/bin"
    said = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=True).stdout
    return said.split("|")[:-1]


def test_every_command_is_one(entrypoint: Path) -> None:
    assert started(entrypoint, "encode", "--input", "a b", "") == [
        "python",
        "-m",
        "pipeline",
        "encode",
        "--input",
        "a b",
        "",
    ]
    for command in COMMANDS:
        assert started(entrypoint, command, "--help") == ["python", "-m", "pipeline", command, "--help"]
    assert started(entrypoint, "model", "check", "b") == ["python", "-m", "model", "check", "b"]


def test_nothing_and_questions_are_answered(entrypoint: Path) -> None:
    assert started(entrypoint) == ["python", "-m", "pipeline", "--help"]
    for question in ("--help", "-h", "--version"):
        assert started(entrypoint, question) == ["python", "-m", "pipeline", question]


def test_an_engine_gets_beams_boot_program(entrypoint: Path) -> None:
    assert started(entrypoint, "--worker_pool") == ["boot", "--worker_pool"]
    given = [
        "--id=1-1",
        "--logging_endpoint=localhost:1",
        "--provision_endpoint=localhost:2",
        "--semi_persist_dir=/var/opt",
    ]
    assert started(entrypoint, *given) == ["boot", *given]


def test_anything_else_is_a_program(entrypoint: Path) -> None:
    assert started(entrypoint, "launcher", "--mode=encode") == ["launcher", "--mode=encode"]


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ ;]+)", (ROOT / name).read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-gpu.txt"])
def test_the_image_has_the_locked_packages(name: str) -> None:
    """And TensorFlow without GPUs under the name that its smaller build has."""
    image = pins(f"deploy/image/{name}")
    image["tensorflow"] = image.pop("tensorflow-cpu", image.get("tensorflow", ""))
    locked = pins("requirements.txt")
    assert len(locked) > 50
    assert {package: image.get(package) for package in locked} == locked
    assert {"boto3", "google-cloud-dataflow-client"} < set(image)


def test_the_image_has_the_boot_program_of_its_beam() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert (
        f"FROM apache/beam_python3.11_sdk:{pins('deploy/image/requirements.txt')['apache-beam']} AS beam" in dockerfile
    )
