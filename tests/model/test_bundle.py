import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lake.core.errors import BundleError
from lake.core.tensorflow import keras
from model.bundle import GOLDEN_FILE, MODEL_FILE, SPEC_FILE, Bundle
from model.export import export
from model.golden import golden_inputs, pack
from model.input_spec import Input
from model.keras.load import load_model
from model.runtime.runtime import Runtime
from model.spec_json import digest
from tests.model.bundles import describe, description, put_file

_ROOT = Path(__file__).resolve().parents[2]


def test_what_was_written_is_read_back(bundle, saved):
    assert Bundle.open(bundle.uri) == bundle
    assert bundle.read(MODEL_FILE) == saved.read_bytes()
    assert bundle.spec.input == Input(shape=(12, 10, 3), dtype="uint8", value_range=(0.0, 1.0), color="rgb")
    assert (bundle.spec.latent.layer, bundle.spec.latent.dimension) == ("encoded", 8)
    assert bundle.spec.training["versions"]["numpy"] == np.__version__
    graphs = ["decode.onnx", "encode.onnx", "reconstruct.onnx"]
    assert sorted(bundle.files()) == sorted([GOLDEN_FILE, MODEL_FILE, SPEC_FILE, *graphs])
    assert list(bundle.files())[-1] == SPEC_FILE
    assert pickle.loads(pickle.dumps(bundle)) == bundle


def test_the_digest_is_of_the_content(bundle, copy):
    text = json.dumps(description(copy), sort_keys=True, separators=(",", ":"))
    assert bundle.digest == hashlib.sha256(text.encode()).hexdigest()
    (copy / SPEC_FILE).write_text(json.dumps(description(copy), indent=7))
    assert Bundle.open(str(copy)).digest == bundle.digest
    assert digest({**description(copy), "kind": "other"}) != bundle.digest


def test_opening_needs_no_tensorflow(bundle):
    code = "import sys; from model.bundle import Bundle; Bundle.open(sys.argv[1]); print('tensorflow' in sys.modules)"
    command = [sys.executable, "-c", code, bundle.uri]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=_ROOT).stdout == "False\n"


def test_a_bundle_of_the_zoo_is_opened_by_its_name(tmp_path):
    opened = Bundle.open("zoo:mnist-vae")
    assert opened == Bundle.open(str(_ROOT / "model/zoo/mnist-vae"))
    assert opened.copy(str(tmp_path / "there")).digest == opened.digest
    with pytest.raises(BundleError, match=r"^zoo:mnist-vea: .* did you mean zoo:mnist-vae\?$"):
        Bundle.open("zoo:mnist-vea")


def test_copy(bundle, tmp_path):
    copied = bundle.copy(str(tmp_path / "there"))
    assert copied.digest == bundle.digest
    assert bundle.copy(copied.uri) == copied  # again: what is there stays
    (tmp_path / "there" / GOLDEN_FILE).unlink()
    assert bundle.copy(copied.uri).read(GOLDEN_FILE) == bundle.read(GOLDEN_FILE)  # what is damaged does not


@pytest.mark.parametrize("name", [MODEL_FILE, GOLDEN_FILE, SPEC_FILE])
def test_a_missing_file(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: not there; name a directory made by"):
        Bundle.open(str(copy))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", [MODEL_FILE, GOLDEN_FILE, SPEC_FILE])
def test_a_pipe_in_place_of_a_file(copy, name):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(BundleError, match=f"{name}: not a regular file but a pipe or device"):
        Bundle.open(str(copy))


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_a_bundle(tmp_path):
    os.mkfifo(tmp_path / "bundle")
    with pytest.raises(BundleError, match=r"model\.json: not there"):
        Bundle.open(str(tmp_path / "bundle"))


@pytest.mark.parametrize("name", [MODEL_FILE, GOLDEN_FILE])
@pytest.mark.parametrize("position", [0, 1000, -1])
def test_a_flipped_byte(copy, name, position):
    data = bytearray((copy / name).read_bytes())
    data[position] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name}: damaged or replaced: {len(data)} bytes with SHA-256"):
        Bundle.open(str(copy))


def test_a_file_that_changes_after_opening(copy):
    bundle = Bundle.open(str(copy))
    (copy / MODEL_FILE).write_bytes((copy / MODEL_FILE).read_bytes() + b"x")
    with pytest.raises(BundleError, match=r"more than the [0-9]+ it may have"):
        bundle.read(MODEL_FILE)
    (copy / MODEL_FILE).write_bytes(b"x")
    with pytest.raises(BundleError, match="damaged or replaced: 1 bytes"):
        bundle.copy(str(copy.parent / "elsewhere"))


def test_another_weight_of_a_denoiser(denoiser_bundle, tmp_path):
    copy = Path(shutil.copytree(denoiser_bundle.uri, tmp_path / "copy"))
    model = load_model((copy / MODEL_FILE).read_bytes(), "copy")
    kernel, *rest = model.layers[-2].get_weights()
    kernel[1, 1] *= 1.5
    model.layers[-2].set_weights([kernel, *rest])
    model.save(tmp_path / "other.keras")
    put_file(copy, MODEL_FILE, (tmp_path / "other.keras").read_bytes())
    with pytest.raises(BundleError, match="is not the one that was bundled: its output for the golden inputs differs"):
        Runtime.load(Bundle.open(str(copy)), "tensorflow")


def test_an_input_that_is_not_there(denoiser_bundle, tmp_path):
    copy = Path(shutil.copytree(denoiser_bundle.uri, tmp_path / "copy"))
    document = description(copy)
    document["input"]["noise"]["input"] = "elsewhere"
    describe(copy, document)
    with pytest.raises(BundleError, match="the model has no input 'elsewhere', only image, noise_level"):
        Runtime.load(Bundle.open(str(copy)), "tensorflow")


@pytest.mark.parametrize("activation", ["elu", "gelu", "softplus", "leaky_relu", "relu6", "linear"])
@pytest.mark.slow
def test_another_activation_with_the_same_weights(copy, activation, tmp_path):
    model = load_model((copy / MODEL_FILE).read_bytes(), "copy")
    model.get_layer("encoded").activation = keras().activations.get(activation)
    kernel, bias = model.get_layer("encoded").get_weights()
    original = load_model((copy / MODEL_FILE).read_bytes(), "copy")
    if activation == "relu6":  # needs values above 6 to differ: scale, and export the scaled one first
        for each in (model, original):
            each.get_layer("encoded").set_weights([kernel * 40, bias])
        original.save(tmp_path / "scaled.keras")
        shutil.rmtree(copy)
        export(tmp_path / "scaled.keras", "encoded", str(copy))
    model.save(tmp_path / "other.keras")
    put_file(copy, MODEL_FILE, (tmp_path / "other.keras").read_bytes())
    with pytest.raises(
        BundleError, match="is not the one that was bundled: its latent for the golden inputs differs by"
    ):
        Runtime.load(Bundle.open(str(copy)), "tensorflow")


def test_a_layer_that_is_not_there(copy):
    document = description(copy)
    document["latent"]["layer"] = "nowhere"
    describe(copy, document)
    with pytest.raises(BundleError, match="no layer 'nowhere', only encoder_input, down_1"):
        Runtime.load(Bundle.open(str(copy)), "tensorflow")


def test_shapes_that_are_not_the_models(copy):
    document = description(copy)
    document["input"]["shape"] = [16, 12, 3]
    golden = {
        "input": golden_inputs(Input(shape=(16, 12, 3), dtype="uint8", value_range=(0, 1), color=None), 0),
        "latent": np.zeros((4, 8), np.float32),
        "output": np.zeros((4, 16, 12, 3), np.float32),
    }
    describe(copy, document)
    put_file(copy, GOLDEN_FILE, pack(golden))
    with pytest.raises(BundleError, match=r"the model does not have the shapes that model\.json says"):
        Runtime.load(Bundle.open(str(copy)), "tensorflow")
