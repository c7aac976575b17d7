"""Gain and read noise of simulated cameras are found again."""

import numpy as np
import pytest

from lake.core.records import Array
from lake.images.photon_noise import estimate_camera, estimate_common_camera


@pytest.fixture(scope="module")
def flower() -> Array:
    return light(1)


def light(which: int) -> Array:
    """One of scikit-learn's photographs as light in 0..1: of a temple, with texture all over it, or of a flower."""
    from sklearn.datasets import load_sample_images

    found: Array = load_sample_images().images[which].mean(-1, keepdims=True) / 255
    return found


def shot(light: Array, electrons: float, gain: float, read_noise: float, black_level: float, top: int = 65535) -> Array:
    """What a camera makes of light whose brightest pixel has so many electrons."""
    rng = np.random.default_rng(5)
    pixels = gain * rng.poisson(light * electrons) + rng.normal(black_level, read_noise, light.shape)
    return np.rint(pixels).clip(0, top).astype(np.uint16)


@pytest.mark.parametrize(("which", "electrons"), [(0, 50), (0, 1000), (1, 50), (1, 1000), (1, 10_000)])
@pytest.mark.parametrize(("gain", "read_noise"), [(2.2, 3), (0.5, 4), (5, 20)])
def test_cameras(which: int, electrons: float, gain: float, read_noise: float) -> None:
    (found,) = estimate_camera(shot(light(which), electrons, gain, read_noise, 100), 100)
    assert found.gain == pytest.approx(gain, rel=0.1)
    # What matters is the deviation at each brightness.
    at = np.linspace(0.2, 0.9, 8) * electrons
    wanted = gain**2 * at + read_noise**2
    given = found.gain * (gain * at + 100 - found.black_level) + found.read_noise**2
    np.testing.assert_allclose(np.sqrt(given), np.sqrt(wanted), rtol=0.08)


def test_few_electrons_without_read_noise() -> None:
    """As many pixels are 0 as have no electron: they are not clipped."""
    (found,) = estimate_camera(shot(light(1), 3, 1, 0, 0))
    assert found.gain == pytest.approx(1, rel=0.1) and found.black_level < 0.2


def test_saturated_pixels_do_not_count(flower: Array) -> None:
    pixels = shot(flower * 1.5, 1000, 2.2, 5, 100, top=2200)
    assert np.mean(pixels == 2200) > 0.02
    (found,) = estimate_camera(pixels, 100)
    assert found.gain == pytest.approx(2.2, rel=0.1)


def test_channels_have_their_own(flower: Array) -> None:
    pixels = np.concatenate([shot(flower, 500, gain, 5, 100) for gain in (1, 3, 9)], axis=-1)
    assert [camera.gain for camera in estimate_camera(pixels, 100)] == pytest.approx([1, 3, 9], rel=0.1)


def test_white_noise_has_no_gain(flower: Array) -> None:
    noisy = 1000 + 500 * flower + np.random.default_rng(0).normal(0, 40, flower.shape)
    (found,) = estimate_camera(noisy.round().astype(np.uint16))
    assert found.gain == 0 and found.read_noise == pytest.approx(40, rel=0.03)


def test_a_black_level_that_is_too_low_is_raised() -> None:
    light = np.tile(np.linspace(0, 1, 300), (300, 1))[..., None]
    (found,) = estimate_camera(shot(light, 200, 2, 0.5, 100))
    assert found.read_noise == 0 and found.black_level == pytest.approx(100, abs=3)


def test_a_black_level_is_not_raised_above_a_pixel() -> None:
    """All pixels below it would become one black."""
    light = np.tile(np.linspace(0, 1, 300), (300, 1))[..., None].repeat(2, -1)
    pixels = np.concatenate([shot(light, 200, 2, 0.5, 100), np.full((300, 300, 1), 7, np.uint16)], axis=-1)
    pixels[10:12, 290:293, 1] = 30
    first, second, _ = estimate_camera(pixels, 20)
    assert first.black_level > 90 and second.black_level == 30
    assert estimate_camera(pixels, 40)[1].black_level == 40  # what is said is not lowered


def test_one_camera_of_several_images(flower: Array) -> None:
    """Their patches together say more than those of one: of small dim images each is uncertain, and all are not."""
    parts = [flower[row : row + 64, column : column + 64] for row in range(0, 400, 80) for column in range(0, 600, 80)]
    shots = [shot(part, 50, 2.2, 5, 100) for part in parts]
    found = estimate_common_camera([*shots, np.full((64, 64, 1), 107, np.uint16)], 100)
    assert found.gain == pytest.approx(2.2, rel=0.05) and found.read_noise == pytest.approx(5, rel=0.15)
    alone = [estimate_camera(one, 100)[0].gain for one in shots]
    assert np.std(alone) > 0.15 * 2.2
    floating = estimate_common_camera([one / 65535 for one in shots], 100 / 65535)
    assert floating.gain == pytest.approx(found.gain / 65535, rel=1e-3)


@pytest.mark.parametrize("pixels", [np.zeros((20, 20, 1), np.uint16), np.zeros((3, 3, 1), np.float32)])
def test_what_says_nothing_is_no_error(pixels: Array) -> None:
    (found,) = estimate_camera(pixels)
    assert found.gain == 0 and found.read_noise > 0
    assert estimate_common_camera([pixels, pixels]).gain == 0


def test_the_second_of_two_shots_counts_and_is_no_alpha() -> None:
    dark, lit = (shot(light(1) * share, 300, 2.2, 3, 100)[..., 0] for share in (0.0, 1.0))
    pair = np.stack([dark, lit], axis=-1)
    assert estimate_common_camera([pair], 100).gain == pytest.approx(
        estimate_camera(lit[..., None], 100)[0].gain, rel=0.1
    )
