import numpy as np
import pytest

from lake.core.tensorflow import keras
from model.training.flops import operations
from model.training.networks import build_autoencoder, build_denoiser, build_dense_autoencoder, build_vae


def test_the_autoencoder_is_the_one_that_its_definition_gives(layers):
    """Built a second time, layer by layer with plain Keras: the same output of the same weights."""
    defined = keras().Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(128, activation="relu", name="encoded"),
            layers.Dense(7 * 7 * 64, activation="relu"),
            layers.Reshape((7, 7, 64)),
            layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(1, 3, padding="same", activation="sigmoid", name="decoded"),
        ]
    )
    model = build_autoencoder((28, 28, 1))
    assert model.count_params() == defined.count_params() == 880_577
    assert [type(layer) for layer in model.layers[1:]] == [type(layer) for layer in defined.layers]
    assert [w.shape for w in model.weights] == [w.shape for w in defined.weights]
    defined.set_weights(model.get_weights())
    images = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)
    np.testing.assert_array_equal(model(images).numpy(), defined(images).numpy())
    encoder = keras().Model(model.input, model.get_layer("encoded").output)
    expected = keras().Sequential(defined.layers[:4])(images)
    np.testing.assert_array_equal(encoder(images).numpy(), expected.numpy())


def test_operations_of_the_standard_size(layers):
    # each weight is used at every site: of the output, or of a transposed convolution's input
    encoder = 9 * 32 * 14**2 + 9 * 32 * 64 * 7**2 + 3136 * 128
    decoder = 128 * 3136 + 9 * 64 * 64 * 7**2 + 9 * 64 * 32 * 14**2 + 9 * 32 * 28**2
    assert operations(build_autoencoder((28, 28, 1)), (28, 28, 1)) == 2 * (encoder + decoder) == 14_814_464


def test_names(network):
    assert (network.name, network.input.name) == ("autoencoder", "encoder_input")
    assert network.get_layer("encoded").output.shape == (None, 8)
    assert network.output is network.get_layer("decoded").output


@pytest.mark.parametrize("shape", [(28, 28, 1), (29, 31, 3), (1, 1, 1), (2, 3, 4), (33, 5, 2), (64, 48, 3)])
def test_output_has_the_shape_of_the_input(layers, shape):
    model = build_autoencoder(shape, 5)
    output = model(np.ones((2, *shape), np.float32)).numpy()
    assert output.shape == (2, *shape)
    assert ((output > 0) & (output < 1)).all()


@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 9, 3), (1, 1, 1)])
def test_a_vae_decodes_the_mean_of_the_latent(layers, shape):
    model = build_vae(shape, 5)
    names = [model.get_layer(name).output for name in ("z_mean", "z", "logits")]
    mean, z, logits = (part.numpy() for part in keras().Model(model.input, names)(np.ones((2, *shape), np.float32)))
    assert np.array_equal(mean, z)
    assert mean.shape == (2, 5)
    output = model(np.ones((2, *shape), np.float32)).numpy()
    assert output.shape == (2, *shape)
    np.testing.assert_allclose(output, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert (model.name, model.input.name) == ("vae", "encoder_input")
    assert model.get_layer("z_log_var").output.shape == (None, 5)


@pytest.fixture(scope="module")
def denoiser(layers):
    keras().utils.set_random_seed(3)
    return build_denoiser()


@pytest.fixture(scope="module")
def noisy():
    rng = np.random.default_rng(0)
    return [rng.random((2, 24, 40, 1), np.float32), rng.uniform(0, 0.2, (2, 24, 40, 1)).astype(np.float32)]


def test_weights_and_operations_of_the_denoiser(denoiser):
    convolutions = 2 * 9  # of a block, for each pair of channels
    blocks = {60: 2 + 3, 80: 2 + 2, 124: 2}
    resizing = {2 * 60: 1, 60 * 80: 2, 80 * 124: 2, 60: 1}
    weights = sum(n * convolutions * w * w for w, n in blocks.items()) + sum(4 * n * w for w, n in resizing.items())
    assert denoiser.count_params() == weights == 1_456_816
    sites = {60: 1 / 4, 80: 1 / 16, 124: 1 / 64}  # of one pixel
    uses = sum(n * convolutions * w * w * sites[w] for w, n in blocks.items())
    # down from the full, half and quarter resolution and up again: 4 weights for 4 pixels
    uses += 2 * 60 + 2 * 60 * 80 / 4 + 2 * 80 * 124 / 16 + 60
    assert operations(denoiser, (64, 64, 1), (64, 64, 1)) / 64**2 == 2 * uses == 244_538
    assert [tensor.name for tensor in denoiser.inputs] == ["image", "noise_level"]


def test_what_a_denoiser_does_scales_with_the_image_and_the_level(denoiser, noisy):
    output = denoiser(noisy).numpy()
    assert output.shape == (2, 24, 40, 1)
    assert not np.allclose(output, noisy[0], atol=1e-4)
    scaled = denoiser([4 * part for part in noisy]).numpy()
    np.testing.assert_allclose(scaled, 4 * output, rtol=1e-5, atol=1e-5)


def test_a_denoiser_in_bfloat16_has_the_weights_of_one_in_float32(denoiser, noisy):
    keras().utils.set_random_seed(3)
    half = build_denoiser(precision="bfloat16")
    assert all(np.array_equal(a, b) for a, b in zip(half.get_weights(), denoiser.get_weights(), strict=True))
    assert half.get_layer("down_1").compute_dtype == "bfloat16"
    change, wanted = half(noisy).numpy() - noisy[0], denoiser(noisy).numpy() - noisy[0]
    assert change.dtype == np.float32
    assert np.abs(change - wanted).max() < 0.03 * np.abs(wanted).max()


def test_a_denoiser_of_colours(layers, noisy):
    image = noisy[0].repeat(3, axis=-1)
    colored = build_denoiser(3)
    assert colored([image, noisy[1]]).shape == (2, 24, 40, 3)
    assert colored.count_params() == 2_000_544
    assert operations(colored, (64, 64, 3), (64, 64, 1)) / 64**2 <= 350_000


def test_every_pixel_of_an_odd_size_depends_on_the_latent(layers):
    # Cropped away from an oversized output, never padded with something constant.
    model = build_autoencoder((7, 9, 1), 5)
    noise = np.random.default_rng(0).random((64, 7, 9, 1), np.float32)
    assert (model(noise).numpy().std(axis=0) > 0).all()


def test_dense_standardizes_and_restores(layers):
    mean, variance = np.array([100.0, -5.0, 0.0]), np.array([400.0, 0.25, 1.0])
    model = build_dense_autoencoder(3, 2, mean, variance)
    x = np.array([[120.0, -4.5, 1.0], [100.0, -5.0, 0.0]], np.float32)
    hidden = (x - mean) / np.sqrt(variance)
    weights = model.trainable_weights
    for kernel, bias, relu in zip(weights[::2], weights[1::2], [True, False, True, False], strict=True):
        hidden = hidden @ kernel.numpy() + bias.numpy()
        hidden = np.maximum(hidden, 0) if relu else hidden
    np.testing.assert_allclose(model(x).numpy(), hidden * np.sqrt(variance) + mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_must_be_positive(layers, size):
    with pytest.raises(ValueError, match="latent_dim"):
        build_dense_autoencoder(4, size)
    with pytest.raises(ValueError, match="input_shape"):
        build_autoencoder((28, size, 1))
