"""Latents of images of any size, compared with Keras itself on images that NumPy has padded."""

import numpy as np
import pytest

from lake.core.errors import BundleError, UsageError
from lake.core.tensorflow import keras
from model import spatial
from model.check import check_bundle
from model.export import export
from model.golden import unpack
from model.preprocessing import Preprocessing
from model.runtime import executors_of
from model.runtime.runtime import Runtime
from model.spatial import SpatialAutoencoder
from tests.conftest import long_forms
from tests.model import nets

pytestmark = pytest.mark.slow  # models from end to end


@pytest.fixture(scope="module")
def network(layers):
    keras().utils.set_random_seed(3)
    return nets.open_autoencoder(variance=True)


@pytest.fixture(scope="module")
def vae(network, tmp_path_factory):
    """A bundle of it, with values from -1 to 1."""
    place = tmp_path_factory.mktemp("open")
    network.save(place / "vae.keras")
    given = Preprocessing(value_range=(-1.0, 1.0), output_range=(0.0, 1.0))
    return export(place / "vae.keras", "latent", str(place / "b"), given, variance="log_variance")


@pytest.fixture(scope="module", params=["onnx", "tensorflow"])
def model(vae, request) -> SpatialAutoencoder:
    return SpatialAutoencoder(Runtime.load(vae, request.param))


def pixels(n: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (n, height, width, 3), np.uint8)


def as_keras_takes(images: np.ndarray, multiple: int = 8) -> np.ndarray:
    """Padded by NumPy, in -1..1."""
    for axis in (1, 2):
        missing, side = -images.shape[axis] % multiple, images.shape[axis]
        width = [(0, missing if i == axis else 0) for i in range(4)]
        images = np.pad(images, width, "reflect" if missing < side else "edge")
    return images.astype(np.float32) / 127.5 - 1


def of_layer(network, name: str, values: np.ndarray) -> np.ndarray:
    return keras().Model(network.input, network.get_layer(name).output).predict(values, verbose=0)


def test_what_the_bundle_says(vae):
    assert vae.spec.kind == "vae" and vae.spec.functions == ("encode", "reconstruct", "decode", "denoise")
    assert vae.spec.latent.shape == (8, 8, 4) and vae.spec.input.shape == (64, 64, 3)
    assert (vae.spec.input.any_size, vae.spec.input.multiple, vae.spec.stride, vae.spec.local) == (True, 8, 8, True)
    assert list(executors_of(vae)) == ["onnx", "tensorflow"]
    golden = unpack(vae.read("golden.npz"), vae.spec, "golden")
    assert {name: array.shape for name, array in golden.items()} == {
        "input": (4, 64, 64, 3),
        "latent": (4, 8, 8, 4),
        "variance": (4, 8, 8, 4),
        "output": (4, 64, 64, 3),
    }
    text = check_bundle(vae.uri).describe()
    assert "any size rgb" in text and "4 numbers for each 8 x 8 pixels from layer 'latent'" in text


@pytest.mark.parametrize(("height", "width"), [(64, 64), (45, 70), (8, 120), (1, 3)])
def test_the_latents_and_images_of_keras(network, model, height, width):
    images = pixels(3, height, width)
    given = as_keras_takes(images)
    mean, variance = model.encode_variance(images)
    np.testing.assert_allclose(mean, of_layer(network, "latent", given), atol=2e-6)
    np.testing.assert_allclose(variance, np.exp(of_layer(network, "log_variance", given)), rtol=1e-5)
    assert model.latent_shape(height, width) == mean.shape[1:] == (-(-height // 8), -(-width // 8), 4)
    made, want = model.reconstruct(images), network.predict(given, verbose=0)
    np.testing.assert_allclose(made.output, want[:, :height, :width], atol=2e-6)
    assert np.array_equal(made.latents, mean) and np.array_equal(model.encode(images), mean)
    errors = np.mean(np.square(want[:, :height, :width] - images / 255.0), axis=(1, 2, 3))
    np.testing.assert_allclose(made.mse, errors, rtol=1e-5)
    np.testing.assert_allclose(model.decode(mean), want, atol=2e-6)


@pytest.mark.parametrize(("n", "height", "width"), [(5, 45, 70), (40, 64, 64), *long_forms((3, 640, 512))])
def test_an_image_has_the_bits_that_it_has_in_any_batch(model, n, height, width):
    images = pixels(n, height, width)
    whole, variance = model.reconstruct(images), model.encode_variance(images)[1]
    decoded = model.decode(whole.latents)
    assert np.array_equal(decoded[:, :height, :width], whole.output)
    for some in (slice(0, 1), slice(n - 1, n), slice(1, 3)):
        part = model.reconstruct(images[some])
        assert np.array_equal(part.latents, whole.latents[some]) and np.array_equal(part.output, whole.output[some])
        assert np.array_equal(part.mse, whole.mse[some])
        assert np.array_equal(model.encode_variance(images[some])[1], variance[some])
        assert np.array_equal(model.decode(whole.latents[some]), decoded[some])
    sixteen = model.encode(images.astype(np.uint16) * np.uint16(257))
    assert np.array_equal(sixteen, whole.latents)


def test_tiles_are_what_the_whole_image_gives(model, monkeypatch):
    images = pixels(2, 300, 410)
    whole, decoded = model.reconstruct(images), model.decode(model.encode(images))
    monkeypatch.setattr(spatial, "LARGEST_WHOLE", 1 << 14)
    monkeypatch.setattr(spatial, "TILE", 64)
    made = model.reconstruct(images)
    assert made.latents.shape == whole.latents.shape == (2, 38, 52, 4)
    assert np.abs(made.latents - whole.latents).max() < 1e-3 * np.abs(whole.latents).max()
    assert np.abs(made.output - whole.output).max() < 0.25 / 255
    assert np.abs(model.decode(made.latents) - decoded).max() < 0.25 / 255
    assert np.array_equal(model.decode(made.latents)[:, :300, :410], made.output)
    alone = model.reconstruct(images[1:])
    assert np.array_equal(alone.latents[0], made.latents[1]) and np.array_equal(alone.output[0], made.output[1])


def test_tiles_without_their_margin_are_not(model, monkeypatch):
    """What makes the test above: the margin."""
    images = pixels(1, 300, 410)
    whole = model.encode(images)
    monkeypatch.setattr(spatial, "LARGEST_WHOLE", 1 << 14)
    monkeypatch.setattr(spatial, "TILE", 64)
    cut = spatial.stretches
    monkeypatch.setattr(
        spatial, "stretches", lambda side, inner, _, multiple, fade: cut(side, inner, 0, multiple, fade)
    )
    assert np.abs(model.encode(images) - whole).max() > 1e-2 * np.abs(whole).max()


def test_an_output_that_takes_more_than_the_latent(save, tmp_path):
    keras().utils.set_random_seed(4)
    bundle = export(save(nets.open_autoencoder(skip=True)), "latent", str(tmp_path / "b"))
    assert bundle.spec.functions == ("encode", "reconstruct", "denoise")
    model = SpatialAutoencoder(Runtime.load(bundle))
    images = pixels(2, 30, 50)
    assert np.array_equal(model.reconstruct(images).latents, model.encode(images))
    with pytest.raises(BundleError, match="cannot decode"):
        model.decode(model.encode(images))


def test_a_layer_that_is_traced_for_every_size(save, tmp_path, caplog):
    keras().utils.set_random_seed(4)
    network = nets.open_autoencoder(upsampling="bilinear")
    bundle = export(save(network), "latent", str(tmp_path / "b"))
    assert "a layer is built for each size of images, as UpSampling2D is that interpolates" in caplog.text
    assert "runs on TensorFlow only" in caplog.text and bundle.spec.input.multiple == 32
    model = SpatialAutoencoder(Runtime.load(bundle))
    images = pixels(3, 40, 70)
    want = network.predict((as_keras_takes(images, 32) + 1) / 2, verbose=0)
    made = model.reconstruct(images)
    assert made.latents.shape == (3, 8, 12, 4)
    np.testing.assert_allclose(made.output, want[:, :40, :70], atol=2e-6)
    assert np.array_equal(model.decode(made.latents)[:, :40, :70], made.output)


def test_a_model_that_sees_all_of_an_image(layers, save, tmp_path):
    image = layers.Input((None, None, 3))
    x = layers.Conv2D(4, 8, strides=8, name="patches")(image)
    x = layers.Subtract(name="latent")([x, layers.GlobalAveragePooling2D(keepdims=True)(x)])
    bundle = export(save(keras().Model(image, x)), "latent", str(tmp_path / "b"))
    assert (bundle.spec.kind, bundle.spec.local, bundle.spec.input.reach) == ("encoder", False, 256)
    model = SpatialAutoencoder(Runtime.load(bundle))
    assert model.takes(1024, 1024) and not model.takes(1025, 1024)
    with pytest.raises(ValueError, match="sees all of an image, at most 1048576"):
        model.encode(pixels(1, 1025, 1024))


def test_rows_for_which_the_model_fails(vae, monkeypatch):
    """A runtime that fails for one image: the others are what they are without it, tiled or not."""
    runtime = Runtime.load(vae, "onnx")
    model, images = SpatialAutoencoder(runtime), pixels(3, 128, 136)
    want, encode = model.encode(images), runtime.encode

    def encode_some(rows, failed):
        latents = encode(rows)
        for row in range(len(rows)):
            if np.array_equal(rows[row], images[1, : rows.shape[1], : rows.shape[2]]):  # or its first tile
                failed[row] = "poison"
                latents[row] = np.nan
        return latents

    monkeypatch.setattr(runtime, "encode", encode_some)
    for whole in (1 << 20, 1 << 12):
        monkeypatch.setattr(spatial, "LARGEST_WHOLE", whole)
        monkeypatch.setattr(spatial, "TILE", 64)
        failed: dict[int, str] = {}
        made = model.encode(images, failed)
        assert failed == {1: "poison"} and np.isnan(made[1]).all()
        np.testing.assert_allclose(made[[0, 2]], want[[0, 2]], atol=1e-3)


def pooled(layers):
    image = layers.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D(name="latent")(layers.Conv2D(4, 3)(image))
    return keras().Model(image, x)


def thirds(layers):
    image = layers.Input((None, None, 3))
    return keras().Model(image, layers.Conv2D(4, 3, strides=3, padding="same", name="latent")(image))


@pytest.mark.parametrize("make", [pooled, thirds])
def test_a_latent_that_is_no_grid_needs_a_shape(layers, save, tmp_path, make):
    path = save(make(layers))
    with pytest.raises(UsageError, match=r"--latent latent: .* no grid .* give --input-shape H W C"):
        export(path, "latent", str(tmp_path / "b"))
    assert export(path, "latent", str(tmp_path / "b"), Preprocessing(input_shape=(9, 9, 3))).spec.kind == "encoder"


def test_eight_bits_need_one_size(save, tmp_path):
    with pytest.raises(UsageError, match="--precision int8 with --latent needs images of one size"):
        export(save(nets.open_autoencoder()), "latent", str(tmp_path / "b"), precision="int8", calibrate=str(tmp_path))
