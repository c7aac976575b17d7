import numpy as np
import pytest

from lake.core.errors import BundleError, UsageError
from lake.core.tensorflow import keras
from model.export import export
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from model.training.networks import build_dense_autoencoder, build_vae

pytestmark = pytest.mark.slow  # jobs, or models, from end to end


@pytest.fixture(scope="module")
def vae(layers, tmp_path_factory):
    """A bundle of an untrained VAE of 8 x 8 images with latents of 5, and the network."""
    keras().utils.set_random_seed(3)
    model = build_vae((8, 8, 1), 5)
    directory = tmp_path_factory.mktemp("vae")
    model.save(directory / "vae.keras")
    return export(directory / "vae.keras", "z_mean", str(directory / "b"), variance="z_log_var"), model


def _pixels(n, *shape):
    return np.random.default_rng(1).integers(0, 256, (n, *shape), np.uint8)


def test_decode_gives_the_bits_of_reconstruct(runtime, images):
    result = runtime.reconstruct(images)
    assert np.array_equal(runtime.decode(result.latents), result.output)
    assert np.array_equal(runtime.decode(result.latents[3:10]), result.output[3:10])


def test_decode_is_what_keras_makes_of_latents(runtime, network):
    latents = np.random.default_rng(2).normal(0, 3, (9, 8)).astype(np.float32)
    x = latents
    names = [layer.name for layer in network.layers]
    for layer in network.layers[names.index("encoded") + 1 :]:
        x = layer(x)
    np.testing.assert_allclose(runtime.decode(latents), np.asarray(x), rtol=1e-5, atol=1e-6)


def test_a_latent_of_several_dimensions_within_a_nested_model(layers, save, tmp_path):
    encoder = keras().Sequential(
        [layers.Input((8, 8, 3)), layers.Conv2D(2, 3, strides=2, padding="same", dtype="mixed_bfloat16", name="code")],
        name="encoder",
    )
    image = layers.Input((8, 8, 3))
    up = layers.Conv2DTranspose(3, 3, strides=2, padding="same", dtype="float32", name="up")
    model = keras().Model(image, up(encoder(image)))
    for latent in ["encoder", "encoder/code"]:
        bundle = export(save(model), latent, str(tmp_path / latent), Preprocessing(value_range=(-1.0, 1.0)))
        assert bundle.spec.functions == ("encode", "reconstruct", "decode", "denoise")
        runtime = Runtime.load(bundle)
        result = runtime.reconstruct(_pixels(9, 8, 8, 3))
        assert np.array_equal(runtime.decode(result.latents), result.output)
        latents = np.arange(32, dtype=np.float32)[None] / 8
        want = up(latents.reshape(1, 4, 4, 2)).numpy()
        np.testing.assert_allclose(runtime.decode(latents), want, rtol=1e-2, atol=1e-2)


def test_latents_of_a_wrong_shape(runtime):
    with pytest.raises(ValueError, match=r"rows of shape \(3, 7\); the model takes up to 1024 of \(8,\)"):
        runtime.decode(np.zeros((3, 7), np.float32))
    with pytest.raises(ValueError, match="float64"):
        runtime.decode(np.zeros((3, 8)))


def test_a_skip_around_the_latent(layers, save, tmp_path):
    image = layers.Input((8, 8, 1))
    code = layers.Dense(6, name="code")(layers.Flatten()(image))
    decoded = layers.Reshape((8, 8, 1))(layers.Dense(64)(code))
    bundle = export(save(keras().Model(image, layers.Add()([decoded, image]))), "code", str(tmp_path / "b"))
    assert bundle.spec.functions == ("encode", "reconstruct", "denoise")
    with pytest.raises(BundleError, match=r"the model cannot decode: .*; use one whose output depends on its latent"):
        Runtime.load(bundle).decode(np.zeros((1, 6), np.float32))


def test_vectors_are_not_decoded_to_images(layers, save, tmp_path):
    bundle = export(save(build_dense_autoencoder(6, 3)), "encoded", str(tmp_path / "b"))
    assert bundle.spec.functions == ("encode", "reconstruct")


def test_a_vae_gives_means_and_variances(vae):
    bundle, model = vae
    assert (bundle.spec.kind, bundle.spec.variance) == ("vae", "z_log_var")
    assert bundle.spec.functions == ("encode", "reconstruct", "decode", "denoise", "generate")
    runtime, pixels = Runtime.load(bundle), _pixels(20, 8, 8, 1)
    layer = keras().Model(model.input, [model.get_layer(name).output for name in ("z_mean", "z_log_var")])
    want = layer.predict(pixels / np.float32(255), verbose=0)
    mean, variance = runtime.encode_variance(pixels)
    np.testing.assert_allclose(mean, want[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance, np.exp(want[1]), rtol=1e-4)
    assert np.array_equal(mean, runtime.encode(pixels))
    assert set(runtime.differences) == {"latent", "output", "variance"}


def test_a_vae_decodes_through_its_sampling_layer(vae):
    bundle, model = vae
    runtime, pixels = Runtime.load(bundle), _pixels(20, 8, 8, 1)
    result = runtime.reconstruct(pixels)
    want = model.predict(pixels / np.float32(255), verbose=0)  # z is the mean
    np.testing.assert_allclose(result.output, want, rtol=1e-4, atol=1e-5)
    assert np.array_equal(runtime.decode(result.latents), result.output)
    assert not np.array_equal(runtime.decode(result.latents + 1), result.output)


def test_a_model_without_variance(runtime, images):
    with pytest.raises(BundleError, match="has no variance of its latents: a bundle of kind 'autoencoder'"):
        runtime.encode_variance(images)


def test_a_variance_must_fit(vae, saved, network, save, tmp_path):
    _, model = vae
    with pytest.raises(UsageError, match="--log-variance compressed: its output is 256, and the latent is 5"):
        export(save(model), "z_mean", str(tmp_path / "b"), variance="compressed")
    encoder = keras().Model(model.input, model.get_layer("z_mean").output)
    with pytest.raises(UsageError, match="a variational autoencoder is whole"):
        export(save(encoder), "z_mean", str(tmp_path / "b"), variance="z_mean")
    with pytest.raises(UsageError, match="a variational autoencoder is whole"):
        export(saved, "encoded", str(tmp_path / "b"), kind="vae")
