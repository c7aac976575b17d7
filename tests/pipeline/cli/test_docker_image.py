"""What of the image can be told without building it: whom it starts, and which packages it holds."""

import re
import subprocess
from pathlib import Path

import pytest

from model.cli.parser import MODEL_COMMANDS
from pipeline.cli.parser import COMMANDS

ROOT = Path(__file__).parents[3]
BOOT = "/opt/apache/beam/boot"


@pytest.fixture
def entrypoint(tmp_path: Path) -> Path:
    """The image's, where Python and Beam's boot program are scripts that say what they were given.

    ``safe`` comes first where Python does not look into the working directory.
    """
    for name in ("python", "boot", "launcher"):
        said = 'printf "%s|" ${PYTHONSAFEPATH:+safe}'
        (tmp_path / name).write_text(f'#!/bin/sh\n{said} {name} "$@"\n')
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
    command = ["safe", "python", "-m", "latentlake"]
    assert started(entrypoint, "encode", "--input", "a b", "") == [*command, "encode", "--input", "a b", ""]
    for name in (*COMMANDS, *MODEL_COMMANDS):
        assert started(entrypoint, name, "--help") == [*command, name, "--help"]
    assert started(entrypoint, "model", "check", "b") == ["safe", "python", "-m", "model", "check", "b"]


def test_nothing_and_questions_are_answered(entrypoint: Path) -> None:
    assert started(entrypoint) == ["safe", "python", "-m", "latentlake", "--help"]
    for question in ("--help", "-h", "--version"):
        assert started(entrypoint, question) == ["safe", "python", "-m", "latentlake", question]


def test_an_engine_gets_beams_boot_program(entrypoint: Path) -> None:
    assert started(entrypoint, "--worker_pool") == ["safe", "boot", "--worker_pool"]
    given = [
        "--id=1-1",
        "--logging_endpoint=localhost:1",
        "--provision_endpoint=localhost:2",
        "--semi_persist_dir=/var/opt",
    ]
    assert started(entrypoint, *given) == ["safe", "boot", *given]


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


def test_the_image_has_every_package() -> None:
    """What the build is sent, and what it copies, are the packages that ``setup.py`` installs."""
    packages = {"lake", "latentlake", "model", "pipeline"}
    assert {path.parent.name for path in ROOT.glob("*/py.typed")} == packages
    copied = re.findall(r"^COPY ([a-z]+) /app/\1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert set(copied) == packages
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sent == {*packages, "Dockerfile", "LICENSE", "deploy/image"}


def test_the_slim_image_has_the_same_packages_but_tensorflow_and_its_own() -> None:
    slim, locked = pins("deploy/image/requirements-slim.txt"), pins("requirements.txt")
    assert {package: locked[package] for package in slim if package in locked}.items() <= slim.items()
    (listed,) = re.findall(r"install_requires=\[(.*?)\]", (ROOT / "setup.py").read_text(), re.DOTALL)
    needed = set(re.findall(r'"([a-z0-9-]+)', listed))
    assert len(needed) > 8 and needed <= slim.keys()
    missing = locked.keys() - slim.keys()
    assert {"tensorflow", "keras", "h5py", "onnx", "tf2onnx"} <= missing and not needed & missing
    assert not [package for package in slim if package.startswith(("tensorflow", "tensorboard", "keras"))]


def test_shrinking_leaves_what_a_worker_loads(tmp_path: Path) -> None:
    """And strips the two packages with debug information alone: others were edited after they were linked."""
    kept = {
        "apache_beam-1.dist-info/RECORD",
        "apache_beam/coders/coder_impl.so",
        "apache_beam/testing/util.py",
        "botocore/data/endpoints.json",
        "botocore/data/s3/2006-03-01/service-2.json.gz",
        "botocore/data/sso-oidc/2019-06-10/service-2.json.gz",
        "numpy/testing/__init__.py",
        "numpy.libs/libopenblas.so",
        "onnxruntime/capi/onnxruntime_pybind11_state.so",
        "pyarrow/_dataset.so",
        "zstandard/backend_c.so",
    }
    removed = {
        "apache_beam/coders/coders_test.py",
        "apache_beam/coders/__pycache__/coders_test.cpython-311.pyc",
        "botocore/data/ec2/2016-11-15/service-2.json.gz",
        "numpy/linalg/tests/test_linalg.py",
        "onnxruntime/capi/libonnxruntime.so.1.32.0",
        "pyarrow/include/arrow/api.h",
        "pyarrow/libarrow_flight.so.2500",
        "pyarrow/tests/test_array.py",
        "tensorflow/include/api.h",
    }
    site, tools, said = tmp_path / "site", tmp_path / "tools", tmp_path / "said"
    for name in kept | removed:
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).touch()
    tools.mkdir()
    (tools / "strip").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>"{said}"\n')
    (tools / "strip").chmod(0o755)
    subprocess.run(["sh", ROOT / "deploy/image/shrink", site], env={"PATH": f"{tools}:/usr/bin:/bin"}, check=True)
    assert {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()} == kept
    stripped = {line for line in said.read_text().splitlines() if not line.startswith("-")}
    assert stripped == {"apache_beam/coders/coder_impl.so", "zstandard/backend_c.so"}
