"""Photon noise is made white, denoised and transformed back."""

from typing import Any

import numpy as np
import pytest

from lake.core.records import Array
from lake.images.anscombe import PoissonGaussian
from lake.images.photon_noise import estimate_camera
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.photon_denoiser import denoise_photons, shown_levels
from model.runtime.executor import ModelError
from model.runtime.runtime import Runtime

CAMERA = PoissonGaussian(gain=2.2, read_noise=3.3, black_level=100)
ELECTRONS = 200


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return Denoiser(Runtime.load(Bundle.open("zoo:denoiser-gray")))


def cells(seed: int) -> Array:
    """Round cells on a dark field, electrons ``[96, 96]``."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :96]
    light = np.full(y.shape, 0.05)
    for row, column, radius in rng.uniform((0, 0, 5), (96, 96, 14), (8, 3)):
        light += 0.5 * np.exp(-((((y - row) ** 2 + (x - column) ** 2) / radius**2) ** 2))
    scaled: Array = light / light.max() * ELECTRONS
    return scaled


def shot(electrons: Array, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    read = rng.normal(CAMERA.black_level, CAMERA.read_noise, electrons.shape)
    return np.rint(CAMERA.gain * rng.poisson(electrons) + read).clip(0, 65535).astype(np.uint16)


def error(pixels: Array, electrons: Array) -> float:
    """Root mean square, in electrons."""
    found = (pixels.astype(np.float64) - CAMERA.black_level) / CAMERA.gain
    return float(np.sqrt(np.mean((found - electrons) ** 2)))


def test_cells_become_clean_and_keep_their_light(denoiser: Denoiser) -> None:
    clean = np.stack([cells(seed) for seed in range(2)])
    noisy = shot(clean)[..., None]
    found, levels = denoise_photons(denoiser, noisy, [(CAMERA,)] * 2)
    assert found.pixels.dtype == np.uint16 and levels.shape == (2,)
    for made, given, wanted in zip(found.pixels[..., 0], noisy[..., 0], clean, strict=True):
        assert error(made, wanted) < 0.35 * error(given, wanted)
        dark = wanted < 15
        assert (made[dark].mean() - 100) / 2.2 == pytest.approx(wanted[dark].mean(), abs=0.3)
    mse = np.mean((found.pixels / 65535 - noisy / 65535) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(found.mse, mse, rtol=1e-3)


def test_an_image_gives_the_same_bits_alone(denoiser: Denoiser) -> None:
    noisy = np.stack([shot(cells(seed) * (seed + 1)) for seed in range(3)])[..., None]
    together, _ = denoise_photons(denoiser, noisy, [(CAMERA,)] * 3)
    for at in range(3):
        alone, _ = denoise_photons(denoiser, noisy[at : at + 1], [(CAMERA,)])
        np.testing.assert_array_equal(alone.pixels[0], together.pixels[at])
        assert alone.mse[0] == together.mse[at]


def test_units_do_not_matter(denoiser: Denoiser) -> None:
    """As floating pixels and of a camera in their numbers, the same result but for rounding."""
    noisy = shot(cells(3))[None, ..., None]
    other = PoissonGaussian(gain=2.2 / 65535, read_noise=3.3 / 65535, black_level=100 / 65535)
    wanted, _ = denoise_photons(denoiser, noisy, [(CAMERA,)])
    found, _ = denoise_photons(denoiser, (noisy / 65535).astype(np.float32), [(other,)])
    assert np.abs(found.pixels * 65535 - wanted.pixels).max() < 1


class _Unchanged:
    """A denoiser that says that it changed something, but did not, and remembers what it was told."""

    def denoise(
        self, images: Array, levels: Array, failed: Any = None, *, estimated: bool = False, bands: bool = False
    ) -> Any:
        from model.denoiser import Denoised

        self.shown, self.levels = images.copy(), levels
        return Denoised(pixels=images, mse=np.full(len(images), self.mse, np.float32))

    mse = 1.0


def test_what_the_model_is_shown() -> None:
    """Black to white, noise of the level that it is told, alpha as it is; and the inverse adds a quarter electron."""
    rng = np.random.default_rng(1)
    pixels = np.empty((1, 64, 64, 4), np.uint16)
    gains = (1.0, 3.0, 9.0)
    for channel, gain in enumerate(gains):
        pixels[0, ..., channel] = gain * rng.poisson(50 * (channel + 1), (64, 64))
    pixels[..., 3] = 1234
    model = _Unchanged()
    cameras = tuple(PoissonGaussian(gain=gain, read_noise=0) for gain in gains)
    found, levels = denoise_photons(model, pixels, [cameras])  # type: ignore[arg-type]
    assert model.shown[..., :3].min() == 0 and model.shown[..., :3].max() == pytest.approx(1)
    np.testing.assert_allclose(model.shown[..., :3].std((0, 1, 2)), [levels[0]] * 3, rtol=0.05)
    np.testing.assert_allclose(model.shown[..., 3], 1234 / 65535)
    np.testing.assert_array_equal(found.pixels[..., 3], 1234)
    added = (found.pixels[..., :3].astype(float) - pixels[..., :3]).mean((0, 1, 2))
    np.testing.assert_allclose(added / gains, 0.25, atol=0.25)  # of which rounding takes some


def test_a_dark_image_is_shown_dark() -> None:
    model = _Unchanged()
    flat = np.full((1, 20, 20, 1), 100, np.uint16)
    flat[0, 3, 4] = 101
    found, levels = denoise_photons(model, flat, [(CAMERA,)])  # type: ignore[arg-type]
    assert levels[0] == pytest.approx(0.2) and model.shown.max() <= 1
    assert np.abs(found.pixels.astype(int) - flat).max() <= 1


def test_an_image_that_the_model_leaves_stays_bit_for_bit() -> None:
    """The transform and its inverse alone would add a quarter of an electron."""
    noisy = shot(cells(4))[None, ..., None]
    model = _Unchanged()
    model.mse = 0.0
    found, _ = denoise_photons(model, noisy, [(CAMERA,)])  # type: ignore[arg-type]
    assert np.array_equal(found.pixels, noisy) and found.mse.tolist() == [0]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_one_value_has_no_noise(denoiser: Denoiser, channels: int) -> None:
    flat = np.full((2, 16, 16, channels), 655, np.uint16)
    flat[..., channels - 1] = 60  # below the black level
    cameras = [(CAMERA,) * channels] * 2
    found, levels = denoise_photons(denoiser, flat, cameras)
    assert np.array_equal(found.pixels, flat)
    assert levels.tolist() == shown_levels(flat, cameras).tolist() == [0, 0]


@pytest.mark.parametrize("black_level", [400, 2000])
def test_a_black_level_above_the_image_does_not_lift_what_is_dark(denoiser: Denoiser, black_level: float) -> None:
    """Gain and read noise that were estimated fit any black level."""
    clean = cells(1)
    noisy = shot(clean)[None, ..., None]
    read_noise = (CAMERA.read_noise**2 + CAMERA.gain * (black_level - CAMERA.black_level)) ** 0.5
    camera = PoissonGaussian(gain=CAMERA.gain, read_noise=read_noise, black_level=black_level)
    found, _ = denoise_photons(denoiser, noisy, [(camera,)])
    assert error(found.pixels[0, ..., 0], clean) < 0.4 * error(noisy[0, ..., 0], clean)


@pytest.mark.parametrize("black_level", [300, 9000])
def test_an_image_darker_than_its_camera_makes_it_fails(denoiser: Denoiser, black_level: float) -> None:
    noisy = np.stack([shot(cells(1)), np.full((96, 96), 60, np.uint16)])[..., None]
    cameras = [(PoissonGaussian(gain=2.2, read_noise=3.3, black_level=black_level),)] * 2
    failed: dict[int, str] = {}
    found, _ = denoise_photons(denoiser, noisy, cameras, failed)
    assert np.isnan(found.mse[0]) and found.mse[1] == 0, "one value is left as it is"
    assert list(failed) == [0]
    assert (
        f"darker than a black level of {black_level} and a read noise of 3.3 explain; give --black-level" in failed[0]
    )
    with pytest.raises(ModelError, match="of the pixels are darker"):
        denoise_photons(denoiser, noisy, cameras)


def test_noise_as_strong_as_white_is_not_in_the_numbers_of_the_file(denoiser: Denoiser) -> None:
    floating = (shot(cells(1)) / 65535).astype(np.float32)[None, ..., None]
    failed: dict[int, str] = {}
    found, _ = denoise_photons(denoiser, floating, [(CAMERA,)], failed)
    assert np.isnan(found.mse[0])
    assert "a read noise of 3.3 are too much where white is 1; give both in the numbers of the file" in failed[0]


def spots(brightest: float, background: float, seed: int, count: int = 80) -> tuple[Array, Array]:
    """Spots of 1 to 3 pixels on what a camera cuts off at 0, and a shot of it: uint16, both ``[192, 192]``."""
    rng = np.random.default_rng(seed)
    light = np.full((192, 192), background)
    for row, column in rng.integers(0, 189, (count, 2)):
        side = rng.integers(1, 4)
        light[row : row + side, column : column + side] = brightest
    read = rng.normal(0, 250, light.shape)
    shot = 60 * rng.poisson(light / 60) + read
    clean, noisy = (np.rint(values).clip(0, 65535).astype(np.uint16) for values in (light, shot))
    return clean, noisy


@pytest.mark.parametrize("brightest", [3 * 65535.0, 30_000.0])
@pytest.mark.parametrize("background", [0.0, 100.0, 300.0])
def test_small_spots_are_no_worse_than_before(denoiser: Denoiser, brightest: float, background: float) -> None:
    """Read noise that is cut off looks like that of photons, which would be very strong where spots are."""
    for seed in range(2):
        clean, noisy = spots(brightest, background, seed)
        camera = estimate_camera(noisy[..., None])
        found, _ = denoise_photons(denoiser, noisy[None, ..., None], [camera], estimated=True)
        before, after = (np.mean((values.astype(float) - clean) ** 2) for values in (noisy, found.pixels[0, ..., 0]))
        assert after < before * 10**-0.05  # half a decibel better at least
        saturated = noisy == 65535
        np.testing.assert_array_equal(found.pixels[0, ..., 0][saturated], 65535)


def test_spots_everywhere_leave_nothing_to_estimate(denoiser: Denoiser) -> None:
    """Their own light would be taken for noise, of a gain of which white has ten electrons."""
    _, noisy = spots(3 * 65535.0, 0.0, 0, count=1700)
    camera = estimate_camera(noisy[..., None])
    assert camera[0].gain > 3000
    found, _ = denoise_photons(denoiser, noisy[None, ..., None], [camera], estimated=True)
    np.testing.assert_array_equal(found.pixels[0, ..., 0], noisy)


def test_a_bright_area_is_left_to_the_model(denoiser: Denoiser) -> None:
    """Of which noise saturates a part: it is smoothed, and not kept as it is."""
    light = np.full((96, 96), 63_000.0)
    noisy = np.rint(np.random.default_rng(0).normal(light, 2500)).clip(0, 65535).astype(np.uint16)
    camera = PoissonGaussian(gain=60, read_noise=250)
    found, _ = denoise_photons(denoiser, noisy[None, ..., None], [(camera,)])
    saturated = noisy == 65535
    assert saturated.mean() > 0.1 and found.pixels[0, ..., 0][saturated].max() < 65535
