"""Hot pixels: the estimates of an image with some are those of the image without them, and others stay bit for bit."""

import numpy as np
import pytest

from lake.core.records import Array
from lake.images.hot_pixels import end_of_range, without_hot
from lake.images.noise import estimate
from lake.images.photon_noise import estimate_camera


def micrograph(seed: int, bits: int) -> Array:
    """Cells on a dark field, uint16 ``[256, 256, 1]``, from 2 electrons to 40; 2.2 numbers an electron in 12 bits."""
    rng, scale = np.random.default_rng(seed), 2.0 ** (bits - 12)
    y, x = np.mgrid[:256, :256]
    electrons = np.full(y.shape, 2.0)
    for row, column, radius in rng.uniform((0, 0, 5), (256, 256, 25), (12, 3)):
        electrons += 20 * np.exp(-((((y - row) ** 2 + (x - column) ** 2) / radius**2) ** 2))
    shot = scale * (2.2 * rng.poisson(electrons) + rng.normal(100, 5, y.shape))
    pixels: Array = np.rint(shot).clip(0, 2**bits - 1).astype(np.uint16)[..., None]
    return pixels


def with_hot(pixels: Array, share: float, bits: int) -> Array:
    hot = np.random.default_rng(9).random(pixels.shape) < share
    return np.where(hot, np.uint16(2**bits - 1), pixels)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("share", [1e-4, 1e-3])
def test_a_few_hot_pixels_change_neither_level_nor_camera(bits: int, share: float) -> None:
    for seed in range(3):
        clean = micrograph(seed, bits)
        hot = with_hot(clean, share, bits)
        assert estimate(hot).level == pytest.approx(estimate(clean).level, rel=0.005)
        (found,), (wanted,) = estimate_camera(hot, 100), estimate_camera(clean, 100)
        assert found.gain == pytest.approx(wanted.gain, rel=0.01)
        assert found.read_noise == pytest.approx(wanted.read_noise, rel=0.01)


def test_what_noise_or_light_explains_is_no_hot_pixel() -> None:
    rng = np.random.default_rng(0)
    clipped = np.rint(rng.normal(2000, 1200, (1, 128, 128))).clip(0, 4095)
    overexposed = np.full((1, 64, 64), 500.0) + rng.normal(0, 5, (1, 64, 64))
    overexposed[:, 20:40, 20:40] = 4095
    unclipped = rng.normal(100, 5, (1, 64, 64)).round()
    for blocks in (clipped, overexposed, unclipped, np.zeros((1, 64, 64))):
        np.testing.assert_array_equal(without_hot(blocks), blocks)
    assert end_of_range(unclipped) is None


def test_hot_pixels_get_the_median_of_those_around_also_at_edges() -> None:
    blocks = np.random.default_rng(0).normal(100, 5, (2, 40, 30)).round()
    places = (np.array([0, 0, 1, 1, 1]), np.array([0, 20, 39, 7, 8]), np.array([0, 15, 29, 9, 9]))
    hot = blocks.copy()
    hot[places] = 4095
    healed = without_hot(hot)
    assert (np.abs(healed[places] - 100) < 5).all()
    others = np.ones(blocks.shape, bool)
    others[places] = False
    np.testing.assert_array_equal(healed[others], blocks[others])
