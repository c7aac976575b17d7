"""What 8 bits cost, where that is known."""

import numpy as np
import pytest

from model.int8.measure import cost
from tests.model.int8.specs import DENOISER, ENCODER


def test_the_cosine_of_latents():
    images = [np.full((1, 8, 6, 3), value, np.uint8) for value in (1, 2)]

    def turned(one):
        angle = 0.1 if one.pixels[0, 0, 0, 0] == 1 else 0.2
        return 3 * np.array([[np.cos(angle), np.sin(angle)]], np.float32)

    found = cost(lambda _: np.array([[1, 0]], np.float32), turned, images, ENCODER)
    assert found["images"] == 2 and found["least_cosine"] == pytest.approx(np.cos(0.2), abs=1e-6)
    assert found["cosine"] == pytest.approx((np.cos(0.1) + np.cos(0.2)) / 2, abs=1e-6)


def test_the_loss_of_a_denoiser():
    """One is off by 0.02 of white, the other by 0.04: 6.02 dB; both are beyond black in places, where it is cut off."""
    images = [np.full((1, 16, 16, 1), value, np.uint8) for value in (102, 153)]
    truths = iter(np.repeat([0.4, 0.6] * 3, 2))

    def off(by):
        return lambda _: np.full((1, 16, 16, 1), next(truths) + by, np.float32)

    found = cost(off(0.02), off(0.04), images, DENOISER)
    assert found["loss_db"] == pytest.approx({"15": 6.0206, "25": 6.0206, "50": 6.0206}, abs=2e-3)
    assert found["psnr_to_float32_db"] == pytest.approx(33.98, abs=0.01)
    black = [np.zeros((1, 16, 16, 1), np.uint8)]
    beyond = cost(lambda _: np.full((1, 16, 16, 1), -0.5), lambda _: np.full((1, 16, 16, 1), 0.1), black, DENOISER)
    assert beyond["psnr_to_float32_db"] == pytest.approx(20, abs=0.01)


def test_the_noise_is_of_the_level_that_is_told():
    seen = {}

    def look(one):
        seen[round(255 * float(one.level[0]))] = one.pixels.astype(float).std()
        return np.zeros(one.pixels.shape, np.float32)

    cost(look, look, [np.full((1, 64, 64, 1), 128, np.uint8)], DENOISER)
    assert seen == pytest.approx({15: 15, 25: 25, 50: 50}, rel=0.05)
