"""Closed forms of recorruption: independent noise, and the error of a linear denoiser."""

import numpy as np
import pytest

from model.training.self_supervised.recorruption import PROBE, RATIO, level_with, recorrupted, recorruption_error

_MANY = 400_000
_LEVEL = 0.3


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(0)
    return rng.normal(0, _LEVEL, _MANY), rng.standard_normal(_MANY)


@pytest.mark.parametrize("ratio", [RATIO, PROBE, 2.0])
def test_input_and_target_have_independent_noise_of_known_variance(noise, ratio):
    own, normal = noise
    given, target = recorrupted(own, _LEVEL, normal, ratio)  # of a clean image of zeros
    assert given.std() == pytest.approx(level_with(_LEVEL, ratio), rel=0.01)
    assert target.std() == pytest.approx(_LEVEL * np.sqrt(1 + 1 / ratio**2), rel=0.01)
    correlation = np.corrcoef(given, target)[0, 1]
    assert abs(correlation) < 4 / np.sqrt(_MANY)
    wrong = recorrupted(own, 2 * _LEVEL, normal, ratio)  # a level that is not that of the noise
    assert abs(np.corrcoef(*wrong)[0, 1]) > 0.05


def test_the_error_is_that_of_both_targets_without_their_noise(noise):
    own, normal = (values[:1000] for values in noise)
    clean = np.sin(np.arange(1000) / 50)
    noisy = clean + own
    plus, minus = (np.tanh(recorrupted(noisy, _LEVEL, sign * normal)[0]) for sign in (1, -1))
    distances = [(made - recorrupted(noisy, _LEVEL, sign * normal)[1]) ** 2 for made, sign in ((plus, 1), (minus, -1))]
    expected = np.mean(distances, axis=0) - (_LEVEL * normal / RATIO) ** 2 - _LEVEL**2
    assert recorruption_error(plus, minus, noisy, _LEVEL, normal) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("ratio", [RATIO, PROBE])
@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_the_error_of_a_linear_denoiser_is_its_closed_form(noise, ratio, weight):
    own, normal = noise
    clean = np.tile([0.0, 1.0], _MANY // 2)
    noisy = clean + own
    plus, minus = (weight * recorrupted(noisy, _LEVEL, sign * normal, ratio)[0] for sign in (1, -1))
    told = recorruption_error(plus, minus, noisy, _LEVEL, normal, ratio).mean()
    expected = (1 - weight) ** 2 * 0.5 + weight**2 * level_with(_LEVEL, ratio) ** 2
    assert told == pytest.approx(expected, abs=0.004)
