"""Models with layers of somebody's own: their code is run where it is allowed, and nowhere else."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from lake.core.errors import BundleError, UsageError
from lake.core.tensorflow import keras
from model.bundle import Bundle
from model.check import check_bundle
from model.cli.main import main
from model.code import CODE_FILE, Code
from model.export import export
from model.keras.load import load_model
from model.keras.own_classes import running
from model.parts import Parts
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from tests.model.bundles import describe, description, put_file

CODE = '''
import keras
import tensorflow as tf
from keras import layers

class Sampling(layers.Layer):
    """As in keras.io's example of a variational autoencoder: not registered, and random in inference too."""

    def call(self, inputs):
        mean, log_variance = inputs
        return mean + keras.ops.exp(0.5 * log_variance) * keras.random.normal(keras.ops.shape(mean))

@keras.saving.register_keras_serializable(package="mine")
class Scale(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="scale")

    def call(self, x):
        return x * self.scale + keras.ops.sin(x)

@keras.saving.register_keras_serializable()
def wave(x):
    return keras.ops.sin(3 * x)

class Autoencoder(keras.Model):
    """As in TensorFlow's tutorial."""

    def __init__(self, size=5, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.encoder = keras.Sequential([layers.Flatten(), layers.Dense(size, activation="relu", name="code")])
        self.decoder = keras.Sequential([layers.Dense(64, activation="sigmoid"), layers.Reshape((8, 8, 1))])

    def call(self, x):
        return self.decoder(self.encoder(x))

    def get_config(self):
        return {**super().get_config(), "size": self.size}

class Clipping(Autoencoder):
    def call(self, x):
        return tf.clip_by_value(super().call(tf.identity(x)), 0.2, 0.8)
'''


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("code") / "my_layers.py"
    path.write_text(CODE)
    return path


@pytest.fixture
def theirs(code):
    """The module of the file as its user imports it, forgotten afterwards."""
    from keras.src.saving import object_registration

    importlib.import_module("model.layers")  # which stays registered
    registries = object_registration.GLOBAL_CUSTOM_OBJECTS, object_registration.GLOBAL_CUSTOM_NAMES
    before = [dict(registry) for registry in registries]
    spec = importlib.util.spec_from_file_location("my_layers", code)
    module = importlib.util.module_from_spec(spec)
    sys.modules["my_layers"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["my_layers"]
    for registry, kept in zip(registries, before, strict=True):
        registry.clear()
        registry.update(kept)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)


@pytest.fixture
def scaled(layers, theirs, save):
    """A model that needs its code, and its latents and outputs of ``pixels``."""
    keras().utils.set_random_seed(3)
    image = layers.Input((8, 8, 1))
    hidden = layers.Dense(6, activation=theirs.wave)(layers.Flatten()(image))
    latent = theirs.Scale(name="latent")(hidden)
    model = keras().Model(image, layers.Reshape((8, 8, 1))(layers.Dense(64, activation="sigmoid")(latent)))
    return save(model), keras().Model(image, latent)


def test_a_bundle_keeps_code_that_its_model_needs(scaled, code, pixels, tmp_path, caplog):
    path, encoder = scaled
    want = encoder.predict(pixels / np.float32(255), verbose=0)
    bundle = export(path, "latent", str(tmp_path / "b"), code=code)
    assert bundle.read(CODE_FILE) == code.read_bytes()
    assert (bundle.spec.code.name, bundle.spec.code.classes[1]) == ("my_layers.py", "Scale")
    assert f"my_layers.py: {code.stat().st_size:,} bytes, SHA-256 " in caplog.text
    assert "classes: Sampling, Scale, Autoencoder, Clipping" in caplog.text
    np.testing.assert_allclose(Runtime.load(bundle, "onnx").encode(pixels), want, rtol=1e-5, atol=1e-6)
    with pytest.raises(BundleError, match=r"code of its own, code.py, .* add --allow-code if you trust it"):
        Runtime.load(bundle, "tensorflow")
    allowed = Bundle.open(bundle.uri, allow_code=True)
    np.testing.assert_allclose(Runtime.load(allowed, "tensorflow").encode(pixels), want, rtol=1e-5, atol=1e-6)
    quiet, whole = check_bundle(bundle.uri), check_bundle(bundle.uri, allow_code=True)
    assert [one.name for one in quiet.executors] == ["onnx"] and "not run here" in quiet.describe()
    assert [one.name for one in whole.executors] == ["onnx", "tensorflow"] and "run here, for" in whole.describe()


def test_code_is_covered_by_the_digest(scaled, code, tmp_path):
    export(scaled[0], "latent", str(tmp_path / "b"), code=code)
    (tmp_path / "b" / CODE_FILE).write_text(CODE.replace("sin", "cos"))
    with pytest.raises(BundleError, match=r"code.py: damaged or replaced"):
        Bundle.open(str(tmp_path / "b"))


def test_code_that_the_description_does_not_name(bundle, copy):
    put_file(copy, CODE_FILE, b"class A: ...")
    with pytest.raises(BundleError, match="code is None, which no bundle has"):
        Bundle.open(str(copy))
    document = description(copy)
    del document["files"][CODE_FILE]
    describe(copy, {**document, "code": {"name": "a.py", "classes": ["A"]}})
    with pytest.raises(BundleError, match="code is"):
        Bundle.open(str(copy))


def test_a_random_layer_that_is_not_needed_takes_its_code_along(layers, theirs, code, save, pixels, tmp_path):
    image = layers.Input((8, 8, 1))
    x = layers.Flatten()(image)
    mean, logarithm = layers.Dense(3, name="z_mean")(x), layers.Dense(3, name="z_log_var")(x)
    encoder = keras().Model(image, [mean, logarithm, theirs.Sampling()([mean, logarithm])])
    latent = layers.Input((3,))
    decoder = keras().Model(latent, layers.Reshape((8, 8, 1))(layers.Dense(64, activation="sigmoid")(latent)))
    parts = Parts(encoder=save(encoder, "e.keras"), decoder=save(decoder, "d.keras"))
    with pytest.raises(
        BundleError, match=r"is a Sampling of my_layers, .* give the file of Python that defines it, --co"
    ):
        export(parts, "z_mean", str(tmp_path / "b"), variance="z_log_var")
    bundle = export(parts, "z_mean", str(tmp_path / "b"), variance="z_log_var", code=code)
    assert bundle.spec.kind == "vae" and bundle.spec.code is None and CODE_FILE not in bundle.files()
    want = decoder.predict(encoder.predict(pixels / np.float32(255), verbose=0)[0], verbose=0)
    np.testing.assert_allclose(Runtime.load(bundle).reconstruct(pixels).output, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "needs"), [("Autoencoder", False), ("Clipping", True)])
def test_a_model_that_is_a_class(theirs, code, save, pixels, tmp_path, name, needs):
    keras().utils.set_random_seed(4)
    model = getattr(theirs, name)(size=4)
    want = model.predict(pixels / np.float32(255), verbose=0)
    path = save(model)
    with pytest.raises(BundleError, match=f"of the class '{name}', whose code is not in the file"):
        export(path, "code", str(tmp_path / "b"))
    bundle = export(path, "code", str(tmp_path / "b"), Preprocessing(input_shape=(8, 8, 1)), code=code)
    assert (bundle.spec.kind, bundle.spec.latent.shape) == ("autoencoder", (4,))
    assert (bundle.spec.code is not None) is needs
    allowed = Bundle.open(bundle.uri, allow_code=True)
    for executor in ("onnx", "tensorflow"):
        found = Runtime.load(allowed, executor).reconstruct(pixels).output
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


def test_nothing_of_the_code_stays(scaled, code, layers, save):
    with running(Code(name="my_layers.py", data=code.read_bytes())):
        assert load_model(scaled[0].read_bytes(), "here")
    del sys.modules["my_layers"]
    sys.modules["my_layers"] = None  # whoever imports it fails
    with pytest.raises(BundleError, match=r"is a (Scale|function) of"):
        load_model(scaled[0].read_bytes(), "here")


def test_the_audit_stays_for_all_else(layers, theirs, code, save, tmp_path):
    image = layers.Input((4,))
    model = keras().Model(image, layers.Lambda(lambda x: x * 2)(theirs.Scale()(image)))
    with pytest.raises(BundleError, match="it holds Python code"):
        export(save(model), "scale", str(tmp_path / "b"), code=code)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no class"),
        ("class A(:\n", "line 1: not Python"),
        ("class A: ...\n1 / 0", "its code fails: ZeroDivisionError: division by zero; see that it runs by itself"),
        ("import no_such_thing\nclass A: ...", "No module named 'no_such_thing'; install it, or put all"),
        ("class A: ...\nraise RuntimeError('\x1b[31m')", r"RuntimeError: \\x1b\[31m"),
        (None, "cannot be read"),
    ],
)
def test_code_that_cannot_be_run(saved, tmp_path, text, message):
    path = tmp_path / "code.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=message):
        export(saved, "encoded", str(tmp_path / "b"), code=path)


def test_code_that_is_not_needed_is_left_out(saved, code, tmp_path, capsys):
    words = [str(saved), "--latent", "encoded", "--code", str(code), "--any-output", "--output", str(tmp_path / "b")]
    assert main(["export", *words]) == 0
    assert not (tmp_path / "b" / CODE_FILE).exists() and "code of its own" not in capsys.readouterr().out
