"""Jobs whose executor is ONNX Runtime neither import nor need TensorFlow and Keras, at launch and on workers."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image

from tests.conftest import Model, Pixels
from tests.lake.formats.support import write
from tests.lake.formats.tfrecord.examples import example
from tests.model.bundles import without_graphs

_ROOT = Path(__file__).parents[3]
_PROGRAM = """
import json, sys
from pipeline.cli.command import main
for arguments in json.loads(sys.argv[1]):
    assert main(arguments) == 0, arguments
heavy = {"tensorflow", "keras", "h5py", "onnx", "tf2onnx"}
print("imported", sorted(heavy & {name.partition(".")[0] for name, module in sys.modules.items() if module}))
"""
# Python takes a module that is None for one that is not there.
_MISSING = "import sys; sys.modules |= dict.fromkeys(('tensorflow', 'keras', 'h5py', 'onnx', 'tf2onnx'))\n"
_REFUSED = """
import json, sys
from pipeline.cli.command import main
print([main(arguments) for arguments in json.loads(sys.argv[1])])
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("before", ["", _MISSING], ids=["installed", "missing"])
def test_jobs(model: Model, digits: Pixels, digit_files: list[bytes], tmp_path: Path, before: str) -> None:
    """PNGs in TFRecord and JPEGs and 16-bit PNGs in a folder: what is parsed and decoded by TensorFlow elsewhere."""
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/a.tfrecord", [example(image=data, label=i) for i, data in enumerate(digit_files[:100])])
    (tmp_path / "files").mkdir()
    for i, image in enumerate(digits[:6]):
        Image.fromarray(image).save(tmp_path / f"files/j{i}.jpg")
        Image.fromarray(image.astype(np.uint16) * 257).save(tmp_path / f"files/{i}.png")
    jobs = [
        ["encode", "--input", tmp_path / "in", "--output", tmp_path / "latents"],
        ["denoise", "--input", tmp_path / "files", "--output", tmp_path / "clean"],
        ["reconstruct", "--input", tmp_path / "in", "--output", tmp_path / "again"],
    ]
    arguments = [[*map(str, job), "--model", model.bundle] for job in jobs]
    command = [sys.executable, "-c", before + _PROGRAM, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported []"
    found = duckdb.sql(f"SELECT latent FROM '{tmp_path}/latents/latents/*.parquet' ORDER BY index").fetchall()
    np.testing.assert_allclose(np.array([row[0] for row in found]), model.encode(digits[:100]), rtol=1e-5, atol=1e-6)
    assert len(list((tmp_path / "clean/images").iterdir())) == 12


@pytest.mark.timeout(300)
def test_what_needs_tensorflow_says_so_in_a_line(model: Model, digits: Pixels, tmp_path: Path) -> None:
    """Where it is not installed, before anything is read or written."""
    np.save(tmp_path / "x.npy", digits[:4])
    source, output = ["--input", str(tmp_path / "x.npy")], ["--output", str(tmp_path / "out")]
    old = without_graphs(model.bundle, tmp_path / "old")
    commands = [
        ["train", *source, *output],
        ["export", str(Path(model.bundle).with_name("autoencoder.keras")), "--latent", "encoded", *output],
        ["check", model.bundle],
        ["encode", *source, *output, "--model", model.bundle, "--executor", "tensorflow"],
        ["encode", *source, *output, "--model", str(old)],
    ]
    command = [sys.executable, "-c", _MISSING + _REFUSED, json.dumps(commands)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=_ROOT)
    assert done.stdout.splitlines()[-1] == str([2] * len(commands))
    needs = "needs TensorFlow, which is not installed here: pip install 'latentlake[tensorflow]'"
    assert done.stderr.splitlines() == [
        f"error: train {needs}",
        f"error: export {needs}",
        f"error: check {needs}",
        f"error: {model.bundle}: --executor tensorflow {needs}",
        f"error: {old}: a bundle without graphs {needs}",
    ]
    assert not (tmp_path / "out").exists()
