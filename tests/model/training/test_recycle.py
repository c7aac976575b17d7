import numpy as np
import pytest

from lake.core.tensorflow import keras, tensorflow
from model.training.networks import build_denoiser, residual_blocks
from model.training.recycle import idle_channels, recycle

_IDLE = [3, 4, 17]


@pytest.fixture
def networks():
    """Two networks of the same weights, of which some channels of the second block give 0 whatever they read."""
    keras().utils.set_random_seed(0)
    model, average = build_denoiser(), build_denoiser()
    _set(residual_blocks(model)[1][0].kernel, (..., _IDLE), 0)
    average.set_weights(model.get_weights())
    return model, average


@pytest.fixture
def seen():
    """Images that are bright, so that the mean of what a channel reads decides on its sign."""
    rng = np.random.default_rng(0)
    levels = np.full((4, 48, 40, 1), 0.1, np.float32)
    return (rng.random((4, 48, 40, 1), np.float32) * 0.4 + 0.6, levels)


def _set(variable, part, value):
    array = variable.numpy().copy()
    array[part] = value
    variable.assign(array)


def _made(model, seen, block):
    return keras().Model(model.inputs, residual_blocks(model)[block][0].output)(list(seen)).numpy()


def test_idle_channels_begin_anew_and_the_output_stays(networks, seen):
    model, average = networks
    before = model(list(seen)).numpy()
    idle = [(_made(model, seen, number) > 0).mean((0, 1, 2)) < 1e-3 for number in range(11)]
    np.testing.assert_array_equal(np.concatenate(idle_channels(model, *seen)), np.concatenate(idle))
    assert set(_IDLE) <= set(np.flatnonzero(idle[1]))
    weights = residual_blocks(model)[1][0].kernel.numpy()
    assert recycle(model, average, *seen, np.random.default_rng(1)) == sum(one.sum() for one in idle)
    for network in networks:  # but for the thousandth of the positions at which an idle channel is active
        np.testing.assert_allclose(network(list(seen)).numpy(), before, atol=2e-4)
    first, second = residual_blocks(model)[1]
    np.testing.assert_array_equal(first.kernel.numpy()[..., ~idle[1]], weights[..., ~idle[1]])
    assert (second.kernel.numpy()[:, :, idle[1]] == 0).all()
    ours, averages = (residual_blocks(network)[1][0].kernel.numpy()[..., _IDLE] for network in networks)
    np.testing.assert_array_equal(averages, ours)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_new_channels_are_active_at_about_half_of_the_positions(networks, seen, precision):
    model = build_denoiser(1, precision)
    model.set_weights(networks[0].get_weights())
    recycle(model, networks[1], *seen, np.random.default_rng(1))
    share = (_made(model, seen, 1)[..., _IDLE] > 0).mean((0, 1, 2))
    assert (abs(share - 0.5) < 0.2).all()


def test_new_channels_learn(networks, seen):
    """What reads them is 0, and has a gradient all the same."""
    tf = tensorflow()
    recycle(*networks, *seen, np.random.default_rng(1))
    model, (_, second) = networks[0], residual_blocks(networks[0])[1]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(list(seen), training=True)))
    gradient = tape.gradient(loss, second.kernel.value).numpy()
    assert (abs(gradient[:, :, _IDLE]).max((0, 1, 3)) > 0).all()


def test_a_network_without_idle_channels_is_left_alone(networks, seen):
    model, average = networks
    recycle(model, average, *seen, np.random.default_rng(1))
    weights = [network.get_weights() for network in networks]
    assert recycle(model, average, *seen, np.random.default_rng(2)) == 0
    for network, before in zip(networks, weights, strict=True):
        for ours, theirs in zip(network.get_weights(), before, strict=True):
            np.testing.assert_array_equal(ours, theirs)
