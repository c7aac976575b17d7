"""SavedModels against what Keras predicts, and those that are not loaded."""

from pathlib import Path

import numpy as np
import pytest

from lake.core.errors import BundleError, UsageError
from lake.core.tensorflow import keras, tensorflow
from model.cli.main import main
from model.export import export
from model.onnx_import.saved_model import audit_saved_model
from model.runtime.runtime import Runtime
from tests.conftest import long_forms


@pytest.fixture(scope="module")
def model(layers):
    keras().utils.set_random_seed(3)
    image = layers.Input((16, 12, 3), name="image")
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
    z = layers.Dense(5)(layers.Flatten()(x))
    y = layers.Reshape((16, 12, 3))(layers.Dense(576, activation="sigmoid")(z))
    return keras().Model(image, {"y": y, "z": z})


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> Path:
    """As ``model.export`` writes it."""
    path = tmp_path_factory.mktemp("saved") / "exported"
    model.export(str(path), verbose=False)
    return path


@pytest.mark.parametrize("by_tensorflow", [False, *long_forms(True)])
def test_a_saved_model_gives_what_keras_predicts(model, saved, tmp_path, by_tensorflow):
    if by_tensorflow:
        tensorflow().saved_model.save(model, str(saved := tmp_path / "saved"))
    bundle = export(saved, "z", str(tmp_path / "b"), allow_graph=True)
    assert not bundle.spec.has_keras_model
    assert bundle.spec.functions == ("encode", "reconstruct", "decode", "denoise")
    images = np.random.default_rng(0).integers(0, 256, (7, 16, 12, 3), np.uint8)
    want = model.predict(images / np.float32(255), verbose=0)
    made = Runtime.load(bundle).reconstruct(images)
    np.testing.assert_allclose(made.latents, want["z"], atol=1e-6)
    np.testing.assert_allclose(made.output, want["y"], atol=1e-6)


def test_an_output_that_has_the_name_of_the_input(layers, tmp_path):
    image = layers.Input((8, 8, 1), name="image")
    code = layers.Dense(4)(layers.Flatten()(image))
    network = keras().Model(image, {"image": layers.Reshape((8, 8, 1))(layers.Dense(64)(code)), "code": code})
    network.export(str(tmp_path / "saved"), verbose=False)
    bundle = export(tmp_path / "saved", "code", str(tmp_path / "b"), allow_graph=True)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    want = network.predict(images / np.float32(255), verbose=0)
    made = Runtime.load(bundle).reconstruct(images)
    np.testing.assert_allclose(made.latents, want["code"], atol=1e-6)
    np.testing.assert_allclose(made.output, want["image"], atol=1e-6)


def test_it_is_loaded_only_where_that_is_allowed(saved, tmp_path, capsys):
    output = str(tmp_path / "b")
    assert main(["export", str(saved), "--latent", "z", "--output", output]) == 2
    printed = capsys.readouterr().err
    assert "this is a TensorFlow SavedModel, a program; if you trust it: latentlake export" in printed
    assert "--allow-graph" in printed
    with pytest.raises(UsageError, match=r"no signature 'x'; --serving-signature names one of: .*serving_default"):
        export(saved, "z", output, allow_graph=True, serving_signature="x")
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match="--allow-graph is for SavedModels, and this is an ONNX file"):
        export(tmp_path / "a.onnx", "z", output, allow_graph=True)
    assert not (tmp_path / "b").exists()


def _program(name: str, where: str) -> bytes:
    """A SavedModel that has an operation, in its graph or in a function of it."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    graph = model.meta_graphs.add().graph_def
    nodes = graph.node if where == "graph" else graph.library.function.add().node_def
    nodes.add(name="a", op="Identity")
    nodes.add(name="b", op=name)
    return model.SerializeToString()


@pytest.mark.parametrize("where", ["graph", "function"])
@pytest.mark.parametrize("name", ["PyFunc", "EagerPyFunc", "ReadFile", "WriteFile", "HashTableV2", "XlaCallModule"])
def test_programs_are_refused_before_they_are_loaded(tmp_path, name, where):
    (tmp_path / "saved_model.pb").write_bytes(_program(name, where))
    with pytest.raises(BundleError, match=f"not loaded: it has the operation {name}, which is not on the list"):
        export(tmp_path, "z", str(tmp_path / "b"), allow_graph=True)
    audit_saved_model(_program("Relu", where), "it")


def test_a_damaged_one_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"it/saved_model\.pb: damaged"):
        audit_saved_model(b"\xff" * 9, "it")
