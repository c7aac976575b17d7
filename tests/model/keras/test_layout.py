"""Models that take their channels first."""

import numpy as np
import pytest

from lake.core.errors import BundleError, UsageError
from lake.core.tensorflow import keras
from model.denoiser import Denoiser
from model.export import export
from model.keras.layout import is_channels_first
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime


def _network(layers, shape, *, kind: str):
    """An autoencoder of images [3, H, W]: as Keras has them by ``data_format``, or by layers that turn them."""
    keras().utils.set_random_seed(3)
    form = "channels_first" if kind == "format" else "channels_last"
    image = x = layers.Input(shape)
    x = layers.Permute((2, 3, 1))(x) if kind == "turned" else x
    x = layers.Conv2D(4, 3, strides=2, padding="same", data_format=form, name="code")(x)
    x = layers.Conv2DTranspose(3, 3, strides=2, padding="same", data_format=form)(x)
    return keras().Model(image, layers.Permute((3, 1, 2))(x) if kind == "turned" else x)


@pytest.mark.parametrize("kind", ["format", "turned"])
@pytest.mark.parametrize("latent", ["code", None])
def test_images_go_in_and_come_out_as_the_model_means_them(layers, save, tmp_path, kind, latent):
    model = _network(layers, (3, 8, 12), kind=kind)
    bundle = export(save(model), latent, str(tmp_path / "b"))
    assert (bundle.spec.input.shape, bundle.spec.input.color) == ((8, 12, 3), "rgb")
    runtime = Runtime.load(bundle)
    pixels = np.random.default_rng(1).integers(0, 256, (5, 8, 12, 3), np.uint8)
    given = np.moveaxis(pixels / np.float32(255), 3, 1)
    want = np.moveaxis(model.predict(given, verbose=0), 1, 3)
    np.testing.assert_allclose(runtime.restore(pixels, None), want, rtol=1e-4, atol=1e-5)
    if latent:
        part = keras().Model(model.input, model.get_layer("code").output).predict(given, verbose=0)
        np.testing.assert_allclose(runtime.encode(pixels), part.reshape(5, -1), rtol=1e-4, atol=1e-5)


def test_a_denoiser_of_any_size(layers, save, tmp_path):
    bundle = export(save(_network(layers, (3, None, None), kind="turned")), None, str(tmp_path / "b"))
    assert bundle.spec.input.any_size
    assert Denoiser(Runtime.load(bundle)).denoise(np.zeros((1, 20, 34, 3), np.uint8)).pixels.shape == (1, 20, 34, 3)


def test_a_layer_within_a_nested_model_is_still_found_by_its_path(layers, save, tmp_path):
    image = layers.Input((1, 8, 8))
    encoder = keras().Sequential([layers.Input((1, 8, 8)), layers.Flatten(), layers.Dense(5, name="code")], name="enc")
    outer = keras().Model(image, layers.Reshape((1, 8, 8))(layers.Dense(64, name="code")(encoder(image))))
    bundle = export(save(outer), "enc/code", str(tmp_path / "b"))
    assert bundle.spec.latent.layer.endswith("/enc/code")
    assert bundle.spec.latent.dimension == 5


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ((3, 32, 32), True),
        ((1, 28, 28), True),
        ((4, 9, None), True),
        ((28, 28, 1), False),
        ((3, 3, 3), False),
        ((None, None, 3), False),
        ((1, 28, 3), False),
        ((8, 8, 5), False),
        ((5, 8, 8), False),
        ((64,), False),
    ],
)
def test_which_shapes_have_their_channels_first(layers, shape, first):
    image = layers.Input(shape)
    model = keras().Model(image, layers.Identity()(image))
    assert is_channels_first(model) == first
    assert not is_channels_first(model, shape)  # as somebody has said


def test_a_shape_that_is_meant_so_is_kept(layers, save, tmp_path):
    image = layers.Input((3, 16, 16))
    path = save(keras().Model(image, layers.Conv2D(16, 1, name="code")(image)))
    bundle = export(path, "code", str(tmp_path / "b"), Preprocessing(input_shape=(3, 16, 16)))
    assert bundle.spec.input.shape == (3, 16, 16)


def test_a_class_of_one_s_own_is_refused_with_what_to_do(layers, save, tmp_path):
    class Denoise(keras().Model):
        def __init__(self, **more):
            super().__init__(**more)
            self.encoder = keras().Sequential([layers.Conv2D(4, 3, strides=2, padding="same", name="code")])
            self.decoder = keras().Sequential([layers.Conv2DTranspose(1, 3, strides=2, padding="same")])

        def call(self, x):
            return self.decoder(self.encoder(x))

    model = Denoise()
    pixels = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 1), np.uint8)
    want = np.asarray(model(pixels / np.float32(255)))
    with pytest.raises(
        BundleError, match=r"'Denoise', whose code is not in the file.*model\.decoder\(model\.encoder\(x"
    ):
        export(save(model), "code", str(tmp_path / "b"))
    x = keras().Input((8, 8, 1))
    path = save(keras().Model(x, model.decoder(model.encoder(x))), "functional.keras")  # as the error says
    runtime = Runtime.load(export(path, "code", str(tmp_path / "b")))
    np.testing.assert_allclose(runtime.reconstruct(pixels).output, want, rtol=1e-4, atol=1e-5)


def _dense(layers, given, output=None):
    """Like the autoencoders of many tutorials, of images of 6 x 4 numbers or lines of as many."""
    keras().utils.set_random_seed(4)
    line = x = layers.Input(given)
    x = layers.Flatten()(x) if len(given) > 1 else x
    x = layers.Dense(24, activation="sigmoid")(layers.Dense(5, activation="relu", name="code")(x))
    return keras().Model(line, layers.Reshape(output)(x) if output else x)


@pytest.mark.parametrize(
    ("given", "output", "stated"),
    [
        ((24,), None, (6, 4, 1)),
        ((24,), (6, 4, 1), (6, 4, 1)),
        ((24,), (6, 4), (6, 4, 1)),
        ((24,), None, (2, 4, 3)),
        ((6, 4), (6, 4), None),
        ((6, 4), (6, 4), (6, 4, 1)),
        ((6, 4), (6, 4, 1), None),
        ((6, 4), None, (6, 4, 1)),
        ((6, 4, 1), None, (6, 4, 1)),
        ((6, 4, 1), (6, 4), None),
    ],
)
def test_images_in_one_line_and_without_a_channel(layers, save, tmp_path, given, output, stated):
    model = _dense(layers, given, output)
    bundle = export(save(model), "code", str(tmp_path / "b"), Preprocessing(input_shape=stated), judge=lambda _: None)
    shape = stated or (6, 4, 1)
    assert (bundle.spec.input.shape, bundle.spec.kind) == (shape, "autoencoder")
    assert bundle.spec.functions == ("encode", "reconstruct", "decode", "denoise")
    runtime, pixels = Runtime.load(bundle), np.random.default_rng(1).integers(0, 256, (5, *shape), np.uint8)
    values = (pixels / np.float32(255)).reshape(5, *given)
    part = keras().Model(model.input, model.get_layer("code").output).predict(values, verbose=0)
    found, want = runtime.reconstruct(pixels), model.predict(values, verbose=0).reshape(5, *shape)
    np.testing.assert_allclose(found.latents, part, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.output, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(runtime.decode(found.latents), want, rtol=1e-4, atol=1e-5)


def test_a_grey_denoiser_of_any_size_without_a_channel(layers, save, tmp_path):
    image = layers.Input((None, None))
    x = layers.Conv2D(1, 3, padding="same")(keras().ops.expand_dims(image, -1))
    model = keras().Model(image, keras().ops.squeeze(x, -1))
    runtime = Runtime.load(export(save(model), None, str(tmp_path / "b"), judge=lambda _: None))
    pixels = np.random.default_rng(1).integers(0, 256, (2, 9, 14, 1), np.uint8)
    want = model.predict(pixels[..., 0] / np.float32(255), verbose=0)
    np.testing.assert_allclose(runtime.restore(pixels, None)[..., 0], want, rtol=1e-4, atol=1e-5)


def test_a_line_and_a_normalisation(layers, save, tmp_path):
    given = Preprocessing(input_shape=(6, 4, 1), mean=(0.5,), std=(0.25,), output_range=(0.0, 1.0))
    model = _dense(layers, (24,))
    runtime = Runtime.load(export(save(model), "code", str(tmp_path / "b"), given))
    pixels = np.random.default_rng(1).integers(0, 256, (5, 6, 4, 1), np.uint8)
    want = model.predict(((pixels / np.float32(255) - 0.5) / 0.25).reshape(5, 24), verbose=0)
    np.testing.assert_allclose(runtime.restore(pixels, None).reshape(5, 24), want, rtol=1e-4, atol=1e-5)


def test_another_number_of_numbers_is_refused(layers, save, tmp_path):
    with pytest.raises(UsageError, match="--input-shape 6 4 3 does not fit the model's input 24"):
        export(save(_dense(layers, (24,))), "code", str(tmp_path / "b"), Preprocessing(input_shape=(6, 4, 3)))
