"""What the ways minimise and measure, for networks whose true error is known in closed form."""

import numpy as np
import pytest

from lake.core.tensorflow import tensorflow
from model.training.self_supervised.blind_spot import build_blind_denoiser
from model.training.self_supervised.recorruption import level_with
from model.training.self_supervised.ways import BlindSpot, KnownLevel, Shown, TwoShots

_LEVEL, _WEIGHT, _SHAPE = 0.5, 0.7, (1, 400, 400, 1)
_CLEAN = np.indices(_SHAPE[1:3]).sum(axis=0)[None, ..., None] % 2 * 2.0  # 0 and 2, whose mean square is 2


def shrink(noisy, level):
    """A network that is linear, so that its error is that of the image it shrinks and of the noise that passes."""
    assert level is None or level.shape[-1] == 1
    return _WEIGHT * noisy


def images(shots=1):
    noise = np.random.default_rng(3).normal(0, _LEVEL, (*_SHAPE[:3], shots))
    return shown((_CLEAN + noise).astype(np.float32))


def shown(noisy):
    level = np.full((1, 1, 1, 1), _LEVEL, np.float32)
    return Shown(noisy=noisy, light=noisy, level=level, zero=0 * level)


_TRUE = (1 - _WEIGHT) ** 2 * 2 + _WEIGHT**2 * _LEVEL**2


@pytest.mark.parametrize("way", [TwoShots(), KnownLevel()])
def test_the_error_without_a_clean_image_is_the_true_one(way):
    some = images(way.shots)
    assert way.error(shrink, some, np.random.default_rng(5)) == pytest.approx(_TRUE, rel=0.02)
    assert way.error(lambda noisy, _: noisy, some, np.random.default_rng(5)) == pytest.approx(0.25, rel=0.02)


def test_the_loss_of_pairs_is_the_error_and_the_noise_of_the_target():
    tf, way = tensorflow(), TwoShots()
    some = images(2)
    for swapped in (0, 1):
        drawn = tf.fill((1, 1, 1, 1), np.float32(swapped))
        loss = float(way.loss(shrink, tf.constant(some.noisy), tf.constant(some.level), drawn))
        assert loss == pytest.approx(_TRUE / _LEVEL**2 + 1, rel=0.02)


def test_the_loss_of_a_known_level_is_the_error_of_what_was_recorrupted():
    tf, way = tensorflow(), KnownLevel()
    some = images()
    (drawn,) = way.draw(np.random.default_rng(6), some)
    seen = []

    def network(given, told):
        seen.append((given.shape, told.numpy().ravel().tolist()))
        return shrink(given, told)

    loss = float(way.loss(network, tf.constant(some.noisy), tf.constant(some.level), tf.constant(drawn)))
    true = (1 - _WEIGHT) ** 2 * 2 + _WEIGHT**2 * level_with(_LEVEL) ** 2
    assert loss == pytest.approx(true / _LEVEL**2, rel=0.02)
    assert seen == [((2, *_SHAPE[1:]), [pytest.approx(level_with(_LEVEL))] * 2)]


def test_the_error_of_a_blind_spot_has_the_noise_in_it():
    way, noise = BlindSpot(), shown(images().noisy - _CLEAN.astype(np.float32))
    assert way.error(lambda given, _: 0 * given, noise, np.random.default_rng(0)) == pytest.approx(0.25, rel=0.03)
    # What replaces a pixel is another one, with noise of its own.
    assert way.error(lambda given, _: given, noise, np.random.default_rng(0)) == pytest.approx(0.5, rel=0.03)


def test_the_loss_of_a_blind_spot_does_not_depend_on_the_network_at_other_pixels():
    tf, way = tensorflow(), BlindSpot()
    noisy = images().noisy[:, :64, :64]
    given, mask = way.draw(np.random.default_rng(0), shown(noisy))
    arguments = tf.constant(noisy), None, tf.constant(given), tf.constant(mask)
    loss = float(way.loss(lambda given, _: given, *arguments))
    assert loss == float(way.loss(lambda given, _: given + 9 * (1 - tf.constant(mask)), *arguments))
    hidden = mask[..., 0] > 0
    assert loss == pytest.approx(np.mean((given - noisy)[hidden] ** 2), rel=1e-5)


def test_a_hidden_pixel_leaves_no_trace_in_what_the_network_tells():
    model, way = build_blind_denoiser(2), BlindSpot()
    noisy = np.random.default_rng(0).standard_normal((1, 32, 32, 2)).astype(np.float32)
    given, mask = way.draw(np.random.default_rng(0), shown(noisy))
    other, _ = way.draw(np.random.default_rng(0), shown(noisy + np.float32(50) * mask))
    assert np.array_equal(model(given).numpy(), model(other).numpy())
    # Without the mask it would: the pixel is in reach of its own output.
    assert not np.array_equal(model(noisy).numpy(), model(noisy + 50 * mask).numpy())


def test_the_blind_network_blurs_before_it_halves():
    model = build_blind_denoiser(1)
    for depth in (1, 2, 3):
        (weights,) = model.get_layer(f"down_{depth}_blur").get_weights()
        assert weights.sum(axis=(0, 1)) == pytest.approx(1)
        assert weights[1, 1] == pytest.approx(0.25)
    assert len(model.trainable_variables) == len(model.weights) - 3
    assert model(np.zeros((1, 24, 40, 1), np.float32)).shape == (1, 24, 40, 1)
