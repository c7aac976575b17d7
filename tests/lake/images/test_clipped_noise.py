"""Moments of clipped noise, against simulation."""

import numpy as np
import pytest

from lake.images.clipped_noise import clipped_moments, left_by_clipping


@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (0.0, np.inf), (-np.inf, 255.0), (-np.inf, np.inf)])
def test_moments_are_those_of_clipped_numbers(low: float, high: float) -> None:
    means, noise = np.linspace(-80, 330, 7), np.random.default_rng(0).normal(0, 60, (400_000, 1))
    clipped = np.clip(means + noise, low, high)
    mean, variance = clipped_moments(means, np.full(7, 60.0), low, high)
    np.testing.assert_allclose(mean, clipped.mean(axis=0), atol=0.4)
    np.testing.assert_allclose(variance, clipped.var(axis=0), rtol=0.02, atol=3)


def test_the_share_that_is_left_is_told_by_the_mean_after_clipping() -> None:
    noise = np.random.default_rng(1).normal(0, 1, (400_000, 1))
    before = np.linspace(-10.0, 270, 9)
    deviation = np.sqrt(100 + 5 * before.clip(0, 255))
    clipped = np.clip(before + deviation * noise, 0, 255)
    found = left_by_clipping(clipped.mean(axis=0), lambda light: 100 + 5 * light, 0.0, 255.0)
    np.testing.assert_allclose(found, clipped.var(axis=0) / deviation**2, atol=0.03)


def test_noise_that_is_not_clipped_is_left_whole() -> None:
    assert left_by_clipping(np.arange(5.0), np.ones_like, -np.inf, np.inf).tolist() == [1] * 5
    assert left_by_clipping(np.full(3, 100.0), lambda light: np.zeros(len(light)), 0.0, 255.0).tolist() == [1] * 3
