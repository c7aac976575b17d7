"""Noise of few photons: what is added to it, and the error that is told without a clean image."""

import numpy as np
import pytest

from lake.core.tensorflow import tensorflow
from lake.images.anscombe import PoissonGaussian
from model.training.self_supervised.known_camera import KnownCamera, added_deviation, mean_around
from model.training.self_supervised.recorruption import recorrupted
from model.training.self_supervised.ways import KnownLevel, Shown

_READ = 1.5  # electrons
_WHITE = PoissonGaussian(gain=1, read_noise=_READ)
_WAY = KnownCamera(PoissonGaussian(gain=2.2, read_noise=2.2 * _READ, black_level=100))
_LEVEL, _ZERO = 0.2, 3.0
_CLEAN = (0.8 + 4 * (np.indices((400, 400)).sum(axis=0) // 50 % 2))[None, ..., None]  # stripes of electrons


def electrons(clean, seed=0):
    rng = np.random.default_rng(seed)
    return rng.poisson(clean) + rng.normal(0, _READ, clean.shape)


def shown(light):
    told = np.full((1, 1, 1, 1), _LEVEL, np.float32)
    noisy = (_WHITE.stabilised(light) - np.float32(_ZERO)) * np.float32(_LEVEL)
    return Shown(noisy=noisy, light=light.astype(np.float32), level=told, zero=np.full((1, 1, 1, 1), _ZERO, np.float32))


def told_by(given, target):
    """What can be told of the target by the image that is given, pixel by pixel: a deviation of its mean."""
    ordered = target[np.argsort(given)].reshape(40, -1)
    means, noise = ordered.mean(axis=1) - target.mean(), ordered.var(axis=1) / ordered.shape[1]
    return np.sqrt(max(np.mean(means**2 - noise), 0))


@pytest.mark.parametrize("ratio", [0.35, 0.5])
@pytest.mark.parametrize(("light", "white"), [(0.0, 0.6), (0.8, 0.5), (5.0, 0.2)])
def test_the_noise_of_the_target_cannot_be_told_by_that_of_the_input(light, white, ratio):
    clean = np.full(400_000, light)
    noisy, normal = electrons(clean), np.random.default_rng(1).standard_normal(clean.shape)
    deviation = added_deviation(noisy, clean, _READ, ratio)
    assert told_by(*recorrupted(noisy, deviation, normal, ratio)) < 0.04 * np.sqrt(light + _READ**2)
    # As normal noise of deviation 1, which the transform makes of it from some electrons on, it can.
    assert told_by(*recorrupted(_WHITE.stabilised(noisy), 1, normal, ratio)) > 0.9 * white


def half(noisy, _):
    return 0.5 * noisy


def far_off(noisy, _):
    """What a network passes on that takes the noise for normal: where it is far off."""
    return noisy * (abs(noisy + _LEVEL) > 1.5 * _LEVEL)


def light_of(made):
    return _WHITE.unbiased(made / np.float32(_LEVEL) + np.float32(_ZERO), np.maximum)


@pytest.mark.parametrize("network", [half, far_off])
def test_the_error_of_few_photons_is_the_true_one(network):
    some = shown(electrons(_CLEAN))
    squares = (light_of(network(some.noisy, some.level)) - _CLEAN) ** 2
    true = _LEVEL**2 * np.mean(squares / (_CLEAN + _WHITE.root**2))
    told, normal = (way.error(network, some, np.random.default_rng(2)) for way in (_WAY, KnownLevel()))
    assert told == pytest.approx(true, rel=0.03)
    assert normal < 0.8 * true  # of noise that is taken for normal


def test_the_error_of_the_truth_is_none():
    clean = np.full((1, 800, 800, 1), 0.8)
    truth = shown(electrons(clean))
    made = np.full(clean.shape, shown(clean).noisy[0, 0, 0, 0])
    told = _WAY.error(lambda noisy, _: np.tile(made, (len(noisy), 1, 1, 1)), truth, np.random.default_rng(4))
    inverse = (light_of(made[0, 0, 0, 0]) - 0.8) ** 2 / (0.8 + _WHITE.root**2)
    # The noise of the mean around, by which is divided, costs 0.015. Where pixels are cut off before it is 0.036 less.
    assert told / _LEVEL**2 - inverse == pytest.approx(0.015, abs=0.005)


def loss_of(network, some):
    """The loss of a step, and what was drawn for it."""
    tf, drawn = tensorflow(), _WAY.draw(np.random.default_rng(3), some)
    return float(_WAY.loss(network, tf.constant(some.noisy), tf.constant(some.level), *map(tf.constant, drawn))), drawn


def test_the_loss_of_few_photons_is_the_error_of_what_was_recorrupted():
    some = shown(electrons(_CLEAN))
    loss, drawn = loss_of(half, some)
    squares = (light_of(half(drawn[0], some.level)) - _CLEAN) ** 2
    assert loss == pytest.approx(np.mean(squares / (mean_around(_CLEAN) + _WHITE.root**2)), rel=0.03)


def test_what_is_cut_off_is_not_learnt_too_bright():
    some = shown(electrons(np.full((1, 800, 800, 1), 0.8)))
    values = np.linspace(-3, 3, 6001, dtype=np.float32)
    dark, bright = np.interp([0.8, 1.8], _WHITE.unbiased(values, np.maximum), values).astype(np.float32)
    least = np.float32((-2 * _WHITE.root - _ZERO) * _LEVEL + 1e-4)  # of the transform, as the network sees it

    def network(cut):
        return lambda given, _: np.float32(_LEVEL) * (np.where(given < least, cut, dark) - np.float32(_ZERO))

    (right, (given, _, _, variance, *_)), (wrong, _) = (loss_of(network(cut), some) for cut in (dark, bright))
    share = np.mean((given < least) / np.tile(variance, (2, 1, 1, 1)))
    assert np.mean(given < least) > 0.02
    # The loss, a parabola, is the least for so many electrons too many: 2.0 where pixels are cut off before.
    assert (1 - (wrong - right) / share) / 2 == pytest.approx(0, abs=0.2)


def test_an_image_of_one_value_has_no_error():
    flat, none = np.zeros((1, 8, 8, 1), np.float32), np.zeros((1, 1, 1, 1), np.float32)
    some = Shown(noisy=flat, light=flat, level=none, zero=none)
    assert _WAY.error(lambda noisy, _: noisy + 1, some, np.random.default_rng(0)) == 0
