"""Noise that is added is found again: in noise alone, and in photographs."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from lake.core.records import Array
from lake.images.noise import NoiseEstimate, estimate, level_for_colors


@pytest.fixture(scope="module")
def photographs() -> list[Array]:
    """scikit-learn's two photographs, float64 ``[427, 640, 3]`` in 0..1."""
    from sklearn.datasets import load_sample_images

    return [image / 255 for image in load_sample_images().images]


def noise(sigma: float, *shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(0, sigma, shape).astype(np.float32)


def level(pixels: Array) -> float:
    return estimate(pixels).level


@pytest.mark.parametrize("sigma", [5, 10, 25, 50])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("colours", [1, 3])
def test_noise_in_photographs(photographs: list[Array], which: int, sigma: int, colours: int) -> None:
    clean = photographs[which] if colours == 3 else photographs[which].mean(-1, keepdims=True)
    found = estimate((clean + noise(sigma / 255, *clean.shape)).astype(np.float32))
    assert found.level * 255 == pytest.approx(sigma, abs=0.2 + sigma / 60)
    assert len(found.levels) == colours
    assert abs(found.level * 255 - sigma) < 3 * found.error * 255


@pytest.mark.parametrize("sigma", [5, 25, 50, 75])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("white", [255, 4095])
def test_clipped_noise(photographs: list[Array], which: int, sigma: int, white: int) -> None:
    """Pixels at black and white have less noise, which is reckoned with."""
    clean = photographs[which].mean(-1, keepdims=True)
    clipped = (clean + noise(sigma / 255, *clean.shape)).clip(0, 1) * white
    pixels = clipped.round().astype(np.uint8 if white == 255 else np.uint16)
    scale = 1 if white == 255 else 65535 / white
    assert level(pixels) * 255 * scale == pytest.approx(sigma, abs=0.2 + sigma / 25)


@pytest.mark.parametrize("sigma", [10, 25, 50])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_noise_before_codecs_halved_the_colours(
    photographs: list[Array], which: int, sigma: int, subsampling: str
) -> None:
    file = io.BytesIO()
    noisy = np.rint((photographs[which] * 255 + noise(sigma, *photographs[which].shape)).clip(0, 255)).astype(np.uint8)
    Image.fromarray(noisy).save(file, "jpeg", quality=97, subsampling=subsampling)
    pixels = np.asarray(Image.open(file))
    found = level_for_colors(pixels, estimate(pixels)) * 255
    # Of noise that was clipped before, less is left.
    assert found == pytest.approx(sigma, rel=0.1 + sigma / 400)
    assert (found == level(pixels) * 255) == (subsampling == "4:4:4")


def test_equal_channels_are_those_of_a_grey_image(photographs: list[Array]) -> None:
    grey = photographs[0].mean(-1, keepdims=True)
    pixels = np.repeat((grey + noise(0.1, *grey.shape)).astype(np.float32), 3, -1)
    assert level_for_colors(pixels, estimate(pixels)) == level(pixels)


def test_an_overexposed_sky_does_not_count(photographs: list[Array]) -> None:
    clean = photographs[0].mean(-1, keepdims=True)
    noisy = clean + noise(10 / 255, *clean.shape)
    for rows in (200, 300):  # of 427: less than half, and more
        noisy[:rows] = 1
        pixels = np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)
        assert level(pixels) * 255 == pytest.approx(10, abs=0.5)
        assert level(pixels) * 255 == pytest.approx(level(pixels[rows:]) * 255, abs=0.15)


def test_noise_that_grows_with_brightness_counts_everywhere(photographs: list[Array]) -> None:
    clean = photographs[0].mean(-1, keepdims=True)
    photons = np.random.default_rng(3).poisson(clean * 100) / 100
    assert level(photons.astype(np.float32)) == pytest.approx(np.sqrt(clean.mean() / 100), rel=0.02)


@pytest.mark.parametrize("step", [1, 16])
def test_12_bits_in_16(step: int) -> None:
    stored = np.rint(2000 + 40 * noise(1, 200, 200, 1, seed=3)).astype(np.uint16) * step
    assert level(stored) * 65535 == pytest.approx(40 * step, rel=0.02)


@pytest.mark.parametrize(
    ("shape", "within"),
    [((300, 400, 1), 0.01), ((28, 28, 1), 0.15), ((32, 32, 3), 0.1), ((7, 900, 1), 0.1), ((2000, 30, 1), 0.03)],
)
@pytest.mark.parametrize("sigma", [0.02, 0.2])
def test_noise_alone(shape: tuple[int, ...], within: float, sigma: float) -> None:
    assert level(0.5 + noise(sigma, *shape)) == pytest.approx(sigma, rel=within)


@pytest.mark.parametrize("side", [32, 64])
def test_the_error_is_the_spread_of_estimates(side: int) -> None:
    found = [estimate(noise(0.1, side, side, 1, seed=seed)) for seed in range(60)]
    assert np.mean([one.error for one in found]) == pytest.approx(np.std([one.level for one in found]), rel=0.4)
    assert np.mean([abs(one.level - 0.1) < 2 * one.error for one in found]) > 0.85


def test_the_error_of_a_level_of_colours() -> None:
    """By the propagation of errors of a root mean square."""
    found = NoiseEstimate(levels=(0.02, 0.04), errors=(0.001, 0.003))
    draws = np.random.default_rng(0).normal(found.levels, found.errors, (100_000, 2))
    assert found.error == pytest.approx(np.sqrt((draws**2).mean(1)).std(), rel=0.02)


@pytest.mark.parametrize("shape", [(600, 700, 1), (20, 40_000, 1), (513, 513, 3), (3000, 3000, 1)])
def test_a_large_image_is_sampled_evenly(shape: tuple[int, ...]) -> None:
    field = noise(1, *shape)
    half = np.where(np.arange(max(shape)) < max(shape) // 2, np.float32(0.05), np.float32(0.055))
    scale = half[:, None, None] if shape[0] >= shape[1] else half[None, :, None]
    assert level(field * scale) == pytest.approx(np.sqrt((0.05**2 + 0.055**2) / 2), rel=0.02)


def test_types_and_alpha_change_nothing() -> None:
    grey = np.clip(128 + 255 * noise(0.05, 200, 200, 1), 0, 255).astype(np.uint8)
    found = level(grey)
    assert level(grey.astype(np.uint16) * 257) == pytest.approx(found, rel=1e-9)
    assert level(grey.astype(np.float32) / 255) == pytest.approx(found, rel=1e-6)
    alpha = np.random.default_rng(2).integers(0, 256, grey.shape, np.uint8)
    assert level(np.concatenate([grey, alpha], -1)) == found
    assert level(np.concatenate([grey, grey, grey, alpha], -1)) == pytest.approx(found, rel=1e-12)


def test_each_channel_has_its_level() -> None:
    sigmas = np.array([0.02, 0.04, 0.06], np.float32)
    found = estimate(noise(1, 256, 256, 3) * sigmas)
    np.testing.assert_allclose(found.levels, sigmas, rtol=0.02)
    assert found.level == pytest.approx(np.sqrt(np.mean(np.square(sigmas))), rel=0.02)


@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_flat_image_has_no_noise(value: int) -> None:
    flat = estimate(np.full((40, 50, 3), value, np.uint8))
    assert flat.level == flat.error == 0
    board = np.kron(np.eye(4), np.full((40, 40), value)).astype(np.uint8)[..., None]
    assert level(board) == 0


def test_a_frame_is_not_counted() -> None:
    framed = np.zeros((200, 300, 1), np.float32)
    framed[40:-40] = 0.5 + noise(0.1, 120, 300, 1)
    assert level(framed) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("shape", [(6, 100, 1), (100, 6, 3), (1, 1, 1)])
def test_an_image_that_holds_no_patch_has_no_estimate(shape: tuple[int, ...]) -> None:
    found = estimate(noise(0.1, *shape))
    assert found.level == 0 and found.error == np.inf


@pytest.mark.parametrize("shape", [(9000, 9000, 1), (7, 9_000_000, 1)])
def test_memory_does_not_grow_with_the_image(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.uint8)
    image[::2] = 3
    tracemalloc.start()
    try:
        assert estimate(image) == estimate(image)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
