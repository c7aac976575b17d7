import numpy as np
import pytest

from model.networks import build_autoencoder, build_dense_autoencoder


def test_parameters_of_the_standard_size(layers):
    model = build_autoencoder((28, 28, 1))
    # 3x3 convolutions 1->32->64, dense 3136->128->3136, transposed convolutions 64->64->32->1, each with biases
    convolutions = (9 * 1 + 1) * 32 + (9 * 32 + 1) * 64
    dense = (3136 + 1) * 128 + (128 + 1) * 3136
    transposed = (9 * 64 + 1) * 64 + (9 * 64 + 1) * 32 + (9 * 32 + 1) * 1
    assert model.count_params() == convolutions + dense + transposed == 880_577


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
