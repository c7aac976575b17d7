import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from model.bundle import MODEL_FILE
from model.keras.load import load_model
from model.zoo import zoo_uri

ROOT = Path(__file__).parents[3]
# Where the layer was first defined, so saved models name it.
SAVED = {"module": "model.layers", "class_name": "Sampling", "registered_name": "latentlake>Sampling"}


@pytest.fixture(scope="module")
def sampling(layers):
    from model.keras.layers import Sampling

    return Sampling(name="z")


def test_inference_gives_the_mean(sampling):
    mean, log_variance = np.random.default_rng(0).normal(size=(2, 50, 7)).astype(np.float32)
    assert np.array_equal(sampling([mean, log_variance]).numpy(), mean)
    assert np.array_equal(sampling([mean, log_variance], training=False).numpy(), mean)


def test_training_draws_from_the_normal_distribution(sampling):
    count, mean, deviation = 40_000, np.array([-3.0, 0.0, 10.0]), np.array([0.1, 1.0, 4.0])
    given = [np.tile(row, (count, 1)).astype(np.float32) for row in (mean, 2 * np.log(deviation))]
    one, other = (sampling(given, training=True).numpy().astype(np.float64) for _ in range(2))
    assert not np.array_equal(one, other)
    error = 5 / np.sqrt(count)  # five standard errors
    assert (np.abs(one.mean(axis=0) - mean) < error * deviation).all()
    assert (np.abs(one.std(axis=0) / deviation - 1) < error).all()
    standard = (one - mean) / deviation
    assert np.abs((standard**3).mean(axis=0)).max() < error * np.sqrt(15)
    assert np.abs((standard**4).mean(axis=0) - 3).max() < error * np.sqrt(96)
    assert abs(np.corrcoef(standard.T)[0, 1]) < error


def test_it_is_saved_and_loaded(layers, sampling, save):
    from lake.core.tensorflow import keras

    vector = layers.Input((4,), name="vector")
    mean, log_variance = layers.Dense(3, name="mean")(vector), layers.Dense(3, name="log_variance")(vector)
    model = keras().Model(vector, layers.Dense(4, name="out")(sampling([mean, log_variance])))
    loaded = load_model(save(model).read_bytes(), "theirs")
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    assert np.array_equal(loaded(x).numpy(), model(x).numpy())
    assert loaded.get_layer("z").get_config() == sampling.get_config()
    assert set(sampling.get_config()) == {"name", "trainable", "dtype"}


@pytest.fixture
def variational(layers, sampling, save) -> Path:
    """A small model with the layer, saved."""
    from lake.core.tensorflow import keras

    vector = layers.Input((4,), name="vector")
    mean, log_variance = layers.Dense(3, name="mean")(vector), layers.Dense(3, name="log_variance")(vector)
    return save(keras().Model(vector, layers.Dense(4, name="out")(sampling([mean, log_variance]))))


@pytest.mark.parametrize("saved", ["now", "before"])
def test_files_name_the_module_that_they_always_named(variational, saved):
    """The bundle of the zoo was saved when the class was still defined in that module."""
    path = variational if saved == "now" else Path(zoo_uri("zoo:mnist-vae")) / MODEL_FILE
    with zipfile.ZipFile(path) as file:
        described = json.loads(file.read("config.json"))["config"]["layers"]
    (layer,) = [layer for layer in described if layer["class_name"] == "Sampling"]
    assert {name: layer[name] for name in SAVED} == SAVED


@pytest.mark.slow
def test_keras_alone_loads_them(variational, tmp_path):
    """After an import of the module that they name, in a process that has imported nothing else of this project."""
    code = (
        "import sys, numpy as np, model.layers, keras\n"
        "for path, x, y in zip(*[iter(sys.argv[1:])] * 3): np.save(y, keras.saving.load_model(path)(np.load(x)))"
    )
    words, expected = [], []
    for number, path in enumerate((variational, Path(zoo_uri("zoo:mnist-vae")) / MODEL_FILE)):
        ours = load_model(path.read_bytes(), "theirs")
        x, y = tmp_path / f"x{number}.npy", tmp_path / f"y{number}.npy"
        np.save(x, np.random.default_rng(0).random((3, *ours.input_shape[1:])).astype(np.float32))
        expected.append((y, ours(np.load(x)).numpy()))
        words += [str(path), str(x), str(y)]
    subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, check=True, capture_output=True)
    for file, outputs in expected:
        assert np.array_equal(np.load(file), outputs)
