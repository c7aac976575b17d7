"""Old files against the Keras 3 model that they were written from: the same numbers come out."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from lake.core.errors import BundleError
from lake.core.tensorflow import keras
from model.code import read_code
from model.export import export
from model.keras.own_classes import running
from model.keras.saved import read_saved
from model.runtime.runtime import Runtime
from tests.model.keras.legacy.old_files import archive, hdf5


def _shaken(model):
    """The model with weights that are all different, also where they begin as zeros and ones."""
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.1, 0.9, one.shape).astype(one.dtype) for one in model.get_weights()])
    return model


def _convolutional(layers):
    """Like PyImageSearch's: an encoder and a decoder within, BatchNormalization and LeakyReLU in both."""
    image = x = layers.Input((8, 8, 3), name="input_1")
    for filters in (4, 6):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", name=f"conv_{filters}")(x)
        x = layers.BatchNormalization()(layers.LeakyReLU(negative_slope=0.2)(x))
    encoder = keras().Model(image, layers.Dense(5, name="code")(layers.Flatten()(x)), name="encoder")
    code = x = layers.Input((5,), name="input_2")
    x = layers.Reshape((2, 2, 6))(layers.Dense(24)(x))
    for filters in (6, 3):
        x = layers.BatchNormalization()(layers.Conv2DTranspose(filters, 3, strides=2, padding="same")(x))
    decoder = keras().Model(code, layers.Activation("sigmoid")(x), name="decoder")
    given = layers.Input((8, 8, 3), name="image")
    return keras().Model(given, decoder(encoder(given)), name="autoencoder")


def _sequential(layers):
    """Two sequential models in one."""
    models = keras().Sequential
    encoder = models([layers.Input((4, 4, 1)), layers.Flatten(), layers.Dense(6, "selu"), layers.Dense(3)], name="e")
    decoder = models([layers.Input((3,)), layers.Dense(16, "sigmoid"), layers.Reshape((4, 4, 1))], name="d")
    return models([layers.Input((4, 4, 1)), encoder, decoder], name="both")


def _functional_of_sequential(layers):
    """A sequential model within a functional one, called twice."""
    block = keras().Sequential([layers.Input((4, 4, 2)), layers.Conv2D(2, 3, padding="same")], name="block")
    image = layers.Input((4, 4, 2))
    return keras().Model(image, block(layers.ReLU()(block(image))), name="outer")


def _recurrent(layers):
    image = layers.Input((4, 4, 1))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(layers.Reshape((4, 4))(image))
    x = layers.LSTM(4)(layers.GRU(5, return_sequences=True)(x))
    x = layers.TimeDistributed(layers.Dense(4))(layers.RepeatVector(4)(x))
    return keras().Model(image, layers.Reshape((4, 4, 1))(x))


def _stateful(layers):
    """States of one recurrent layer are the first ones of the next, as in sequence-to-sequence models."""
    image = layers.Input((4, 4, 1))
    rows = layers.Reshape((4, 4))(image)
    x, h, c = layers.LSTM(3, return_state=True)(rows)
    x = layers.LSTM(3, return_sequences=True)(layers.RepeatVector(4)(x), initial_state=[h, c])
    x, last = layers.GRU(3, return_sequences=True, return_state=True)(x, initial_state=[c])
    x = layers.SimpleRNN(3, return_sequences=True)(x, initial_state=[last])
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x, initial_state=[h, c, last, h])
    return keras().Model(image, layers.Reshape((4, 6, 1))(x))


def _attentive(layers):
    image = layers.Input((4, 4, 1))
    x = layers.Dense(4)(layers.Reshape((4, 4))(image))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 2)(x, value=x)])
    return keras().Model(image, layers.LayerNormalization()(x))


def _branched(layers):
    """Branches of equal shapes: weights that change places would fit."""
    image = layers.Input((4, 4, 2))
    left, right = (layers.Conv2D(2, 3, padding="same", name=name)(image) for name in ("zebra", "ape"))
    x = layers.Concatenate()([layers.Subtract()([left, right]), layers.Conv2D(2, 3, padding="same", name="m")(right)])
    inner = keras().Model(image, layers.BatchNormalization(name="b")(x), name="inner")
    inner.get_layer("ape").trainable = False
    given = layers.Input((4, 4, 2))
    return keras().Model(given, layers.SeparableConv2D(2, 3)(inner(given)))


MAKERS = [_convolutional, _sequential, _functional_of_sequential, _recurrent, _stateful, _attentive, _branched]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("write", [hdf5, archive])
def test_the_same_numbers(layers, make, write):
    model = _shaken(make(layers))
    given = np.random.default_rng(1).random((3, *model.inputs[0].shape[1:]), np.float32)
    got = read_saved(write(model), "old").model(given, training=False).numpy()
    want = model(given, training=False).numpy()
    assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()


def test_the_order_is_that_of_the_file(layers):
    """Keras 2 ordered layers otherwise, so that the file's order, not that of the rebuilt model, is that of weights."""
    model = _shaken(_branched(layers))
    inner = model.get_layer("inner")

    def reorder(config):
        (entry,) = (one for one in config["config"]["layers"] if one["class_name"] == "Functional")
        entry["config"]["layers"].reverse()

    def rename(file):
        group = file["model_weights/inner"]
        trained = [w for name in ("b", "m", "zebra") for w in inner.get_layer(name).trainable_weights]
        others = [w for name in ("b", "ape") for w in inner.get_layer(name).non_trainable_weights]
        for name in list(group):
            del group[name]
        for position, weight in enumerate([*trained, *others]):
            group.create_dataset(f"w{position}", data=weight.numpy())
        group.attrs["weight_names"] = [f"w{position}" for position in range(len([*trained, *others]))]

    given = np.random.default_rng(1).random((3, 4, 4, 2), np.float32)
    got = read_saved(hdf5(model, reorder, rename), "old").model(given, training=False).numpy()
    assert np.allclose(got, model(given, training=False).numpy(), rtol=0, atol=1e-6)


def test_names_with_slashes(layers):
    """As in MobileNetV3, which Keras 3 allows no more."""
    image = layers.Input((4, 4, 2), name="input")
    model = _shaken(keras().Model(image, layers.Conv2D(2, 3, name="expanded_conv_project")(image)))

    def edit(config):
        text = json.dumps(config).replace("expanded_conv_project", "expanded_conv/project")
        config.update(json.loads(text))

    def move(file):
        weights = file["model_weights"]
        weights.move("expanded_conv_project", "expanded_conv/project")

    read = read_saved(hdf5(model, edit, move), "old").model
    assert [layer.name for layer in read.layers] == ["input", "expanded_conv_project"]
    assert all(map(np.array_equal, read.get_weights(), model.get_weights()))


def _hard(x):
    """``hard_sigmoid`` of Keras 2."""
    return np.clip(0.2 * x + 0.5, 0, 1)


@pytest.mark.parametrize("write", [hdf5, archive])
def test_hard_sigmoid_is_that_of_keras_2(layers, tmp_path, write):
    """In a layer of its own and within another, against NumPy; also from the bundle, on both executors."""
    image = layers.Input((4, 4, 1))
    flat = layers.Dense(5, activation="hard_sigmoid")(layers.Flatten()(image))
    model = keras().Model(image, layers.Activation("hard_sigmoid", name="code")(layers.Dense(3)(flat)))
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(-2, 2, one.shape) for one in model.get_weights()])
    w, b, v, c = model.get_weights()
    pixels = random.integers(0, 256, (6, 4, 4, 1), np.uint8)
    want = _hard(_hard(pixels.reshape(6, -1) / np.float32(255) @ w + b) @ v + c)
    (tmp_path / "old.h5").write_bytes(write(model))
    bundle = export(tmp_path / "old.h5", "code", str(tmp_path / "bundle"))
    for name in ("onnx", "tensorflow"):
        assert np.abs(Runtime.load(bundle, name).encode(pixels) - want).max() < 1e-6
    assert np.abs(model(pixels / np.float32(255)).numpy() - want).max() > 1e-2


@pytest.mark.parametrize("write", [hdf5, archive])
def test_gates_of_keras_2(layers, write):
    """Before Keras 2.3 an LSTM's gates were ``hard_sigmoid`` unless one said otherwise; against NumPy."""
    model = keras().Sequential([layers.Input((4, 3)), layers.LSTM(5, recurrent_activation="hard_sigmoid")])
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(-2, 2, one.shape) for one in model.get_weights()])
    kernel, recurrent, bias = model.get_weights()
    given = random.random((6, 4, 3), np.float32)
    h = c = np.zeros((6, 5))
    for step in range(4):
        i, f, new, o = np.split(given[:, step] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = _hard(f) * c + _hard(i) * np.tanh(new)
        h = _hard(o) * np.tanh(c)
    got = read_saved(write(model), "old").model(given, training=False).numpy()
    assert np.abs(got - h).max() < 1e-6
    assert np.abs(model(given).numpy() - h).max() > 1e-2


def test_lists_of_names_in_parts(layers):
    model = _shaken(_convolutional(layers))

    def split(file):
        attributes = file["model_weights/encoder"].attrs
        names = attributes.pop("weight_names")
        attributes["weight_names0"], attributes["weight_names1"] = np.array(names[:3], "S"), np.array(names[3:], "S")

    read = read_saved(hdf5(model, change=split), "old").model
    assert all(map(np.array_equal, read.get_weights(), model.get_weights()))


def test_what_keras_3_saves_as_hdf5(layers, tmp_path):
    image = layers.Input((4, 4, 2))
    x = layers.Conv2D(2, 3, padding="same", name="c")(image / 2.0)
    inner = keras().Model(image, layers.Add()([x, x[..., ::-1]]), name="inner")
    given = layers.Input((4, 4, 2))
    x = layers.Activation("hard_sigmoid")(inner(given))  # which in Keras 2 was another function
    model = _shaken(keras().Model(given, layers.BatchNormalization()(x)))
    model.save(tmp_path / "three.h5")
    values = np.random.default_rng(1).random((3, 4, 4, 2), np.float32)
    read = read_saved((tmp_path / "three.h5").read_bytes(), "three.h5")
    assert np.array_equal(read.model(values, training=False), model(values, training=False))


@pytest.mark.parametrize("write", [hdf5, archive])
def test_a_bundle_of_it(layers, tmp_path, write):
    """It holds a file of Keras 3, whose latents are those of the model; ``training`` says what it came from."""
    model = _shaken(_convolutional(layers))
    path = tmp_path / "old.h5"
    path.write_bytes(write(model))
    bundle = export(path, "encoder", str(tmp_path / "bundle"), judge=lambda looks: None)
    loaded = keras().models.load_model(Path(bundle.uri, "model.keras"))
    values = np.random.default_rng(1).random((3, 8, 8, 3), np.float32)
    got, want = (one.get_layer("encoder")(values, training=False).numpy() for one in (loaded, model))
    assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()
    source = bundle.spec.training["converted"]["model"]
    assert (source["format"], source["keras"]) == (("hdf5", "2.8.0") if write is hdf5 else ("keras", "2.13.1"))


@pytest.mark.parametrize("write", [hdf5, archive])
def test_a_layer_of_its_own_by_its_code(layers, tmp_path, write):
    """As keras.io's VAE with Sampling; without the code it is refused."""
    image = layers.Input((4, 4, 1), name="image")
    doubled = layers.Rescaling(2.0, name="doubled")(layers.Flatten(name="flat")(image))
    model = _shaken(keras().Model(image, layers.Dense(3, name="code")(doubled)))
    (tmp_path / "doubled.py").write_text(
        "import keras\n\n\nclass Doubled(keras.layers.Layer):\n    def call(self, x):\n        return x * 2.0\n"
    )

    def edit(config):
        (entry,) = (one for one in config["config"]["layers"] if one["name"] == "doubled")
        entry.update(class_name="Doubled", config={"name": "doubled", "trainable": True, "dtype": "float32"})

    data = write(model, edit)
    with pytest.raises(BundleError, match=r"'doubled' within .* is a Doubled of no module"):
        read_saved(data, "old.h5")
    values = np.random.default_rng(1).random((3, 4, 4, 1), np.float32)
    with running(read_code(tmp_path / "doubled.py")):
        got = read_saved(data, "old.h5").model(values).numpy()
    assert np.allclose(got, model(values).numpy(), rtol=1e-6)


@pytest.mark.parametrize("structure", ["list", "tuple", "dict"])
def test_one_output_in_a_structure(layers, tmp_path, structure):
    image = layers.Input((4, 4, 1))
    code = layers.Dense(3, name="code")(layers.Flatten()(image))
    output = {"list": [code], "tuple": (code,), "dict": {"out": code}}[structure]
    model = keras().Model(image, output)
    model.save(tmp_path / "m.keras")
    bundle = export(tmp_path / "m.keras", "code", str(tmp_path / "bundle"))
    assert bundle.spec.latent.shape == (3,)
    assert bundle.spec.training.keys() == {"versions"}
    loaded = keras().models.load_model(Path(bundle.uri, "model.keras"))
    values = np.random.default_rng(1).random((3, 4, 4, 1), np.float32)
    (want,) = keras().tree.flatten(model(values))
    assert np.array_equal(loaded(values), want)


def _turned(name):
    def change(file):
        (dataset,) = (item for item in file["model_weights/encoder/encoder"][name].values() if item.ndim == 4)
        path, values = dataset.name, dataset[()]
        del file[path]
        file.create_dataset(path, data=values.swapaxes(0, 3))

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_turned("conv_4"), "is 3 x 3 x 3 x 4, and its array '.*' is 4 x 3 x 3 x 3"),
        (lambda f: f["model_weights"].move("decoder", "other"), "layer 'decoder' has 14 weights, and the file 0"),
        (lambda f: f["model_weights/encoder"].attrs.__delitem__("weight_names"), "'encoder' has 14 weights, and the f"),
        (lambda f: f.__delitem__("model_weights"), "weights"),
    ],
)
def test_weights_that_do_not_fit(layers, change, reason):
    keras().backend.clear_session()
    model = _convolutional(layers)
    with pytest.raises(BundleError, match=reason):
        read_saved(hdf5(model, change=change), "old.h5")


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (lambda f: f.attrs.__delitem__("model_config"), "this is an HDF5 file that holds no Keras model"),
        (lambda f: f.attrs.__setitem__("model_config", "{"), "its configuration is not valid JSON"),
        (lambda f: f.attrs.__setitem__("model_config", "[]"), "the class 'list'"),
        (lambda f: f.attrs.__setitem__("model_config", "{}"), "the class None"),
        (
            lambda f: f.attrs.__setitem__("model_config", '{"class_name": "Functional", "config": 1}'),
            "has not the form",
        ),
        (
            lambda f: f.attrs.__setitem__("model_config", '{"class_name": "Theirs", "config": {}}'),
            "of the class 'Theirs'",
        ),
        (lambda f: f.attrs.__setitem__("model_config", [1, 2]), "'model_config' is no text"),
    ],
)
def test_files_without_a_configuration(layers, what, reason):
    with pytest.raises(BundleError, match=reason):
        read_saved(hdf5(_branched(layers), change=what), "old.h5")


def test_weights_alone(layers, tmp_path):
    """Each of the two kinds that Keras 3 writes, and that of Keras 2."""
    model = _branched(layers)
    model.save_weights(tmp_path / "three.weights.h5")
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv2d"]
    for name in ("three.weights.h5", "two.h5"):
        with pytest.raises(BundleError, match=f"{name}: this is an HDF5 file with weights alone .*; it has no archit"):
            export(tmp_path / name, "b", str(tmp_path / "bundle"))
