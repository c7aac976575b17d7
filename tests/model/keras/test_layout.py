"""Models that take their channels first."""

import numpy as np
import pytest

from lake.core.errors import BundleError
from lake.core.tensorflow import keras
from model.denoiser import Denoiser
from model.export import export
from model.keras.layout import is_channels_first
from model.runtime.runtime import Runtime
from model.spec import Preprocessing


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
