"""Jobs with bundles that hold code: where graphs do without it nobody runs it, and elsewhere only who allows it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow.dataset as ds
import pytest

from lake.core.errors import BundleError
from model.bundle import Bundle
from pipeline import EncodeImages
from pipeline.beam.launch import launch
from pipeline.job.prepare import prepare
from pipeline.job.repair import retry_options
from pipeline.options.job_options import JobOptions
from pipeline.options.kept_options import options_to_json
from tests.model.bundles import describe, description

CODE = """
import os
import keras

with open(os.environ["CODE_RAN"], "a") as file:
    file.write("ran ")

class Scale(keras.layers.Layer):
    def call(self, x):
        return keras.ops.sin(x) * 3
"""
ALONE = """
import sys
import numpy as np
from model.bundle import Bundle
from model.runtime.runtime import Runtime
Runtime.load(Bundle.open(sys.argv[1])).encode(np.zeros((4, 8, 8, 1), np.uint8))
print([name for name in sys.modules if name.startswith(("tensorflow", "keras", "latentlake_code"))])
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle, images, what Keras gives for them, and ``ran`` once the code is run."""
    from lake.core.tensorflow import keras
    from model.export import export

    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODE_RAN", str(folder / "at-export"))
        (folder / "my_layers.py").write_text(CODE)
        names: dict[str, type] = {}
        exec(CODE, names)
        layers = keras().layers
        image = layers.Input((8, 8, 1))
        model = keras().Model(image, names["Scale"](name="code")(layers.Dense(5)(layers.Flatten()(image))))
        model.save(folder / "m.keras")
        export(folder / "m.keras", "code", str(folder / "bundle"), code=folder / "my_layers.py")
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), np.uint8)
    np.save(folder / "x.npy", images)
    np.save(folder / "want", model.predict(images / np.float32(255), verbose=0))
    return folder


@pytest.fixture(autouse=True)
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the code writes when it is run."""
    monkeypatch.setenv("CODE_RAN", str(tmp_path / "ran"))
    return tmp_path / "ran"


def options(place: Path, output: Path, **more: object) -> JobOptions:
    given = {"model": str(place / "bundle"), "input": [str(place / "x.npy")], "output": str(output), **more}
    return JobOptions(verb="encode", **given)


def check_latents(place: Path, output: Path) -> None:
    found = np.stack(ds.dataset(output / "latents").to_table()["latent"].to_pylist())
    np.testing.assert_allclose(found, np.load(place / "want.npy"), rtol=1e-5, atol=1e-6)


def test_a_job_on_onnx_does_without_the_code(place: Path, tmp_path: Path, ran: Path) -> None:
    launch(options(place, tmp_path / "out"), [])
    check_latents(place, tmp_path / "out")
    command = [sys.executable, "-c", ALONE, str(place / "bundle")]
    alone = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ})
    assert alone.stdout.strip() == "[]"
    assert not ran.exists()


def test_a_job_on_tensorflow_is_refused(place: Path, tmp_path: Path, ran: Path) -> None:
    with pytest.raises(BundleError, match=r"code of its own, code.py, which TensorFlow would run: .* --allow-code"):
        prepare(options(place, tmp_path / "out", executor="tensorflow"))
    assert not ran.exists() and not (tmp_path / "out").exists()


def test_a_bundle_without_graphs_needs_it(place: Path, tmp_path: Path, ran: Path) -> None:
    bundle = Path(shutil.copytree(place / "bundle", tmp_path / "bundle"))
    document = description(bundle)
    document["files"] = {name: entry for name, entry in document["files"].items() if not name.endswith(".onnx")}
    describe(bundle, document)
    with pytest.raises(BundleError, match="--allow-code"):
        prepare(options(place, tmp_path / "out", model=str(bundle)))
    with pytest.raises(BundleError, match="--allow-code"), beam.Pipeline() as pipeline:
        pipeline | beam.Create([]) | EncodeImages(str(bundle))
    assert not ran.exists()


def test_nothing_of_an_output_allows_it(place: Path, tmp_path: Path) -> None:
    job = options(place, tmp_path / "out", allow_code=True)
    assert "allow_code" not in options_to_json(job)
    launch(job, [])
    assert "allow_code" not in (tmp_path / "out/_job.json").read_text()
    assert not retry_options(str(tmp_path / "out"), {}).allow_code
    assert retry_options(str(tmp_path / "out"), {"allow_code": True}).allow_code


@pytest.mark.slow
def test_a_job_on_tensorflow_that_is_allowed(place: Path, tmp_path: Path, ran: Path) -> None:
    command = [sys.executable, "-m", "latentlake", "encode", "--input", place / "x.npy", "--model", place / "bundle"]
    more = ["--executor", "tensorflow", "--allow-code", "--output", tmp_path / "out"]
    subprocess.run([*command, *more], check=True, capture_output=True, env={**os.environ})
    check_latents(place, tmp_path / "out")
    assert ran.read_text().startswith("ran ")
    digest = Bundle.open(str(place / "bundle")).digest
    assert (tmp_path / "out/_model" / digest / "code.py").read_text() == CODE
