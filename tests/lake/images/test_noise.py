"""Noise that is added is found again: in noise alone, and in photographs."""

import tracemalloc

import numpy as np
import pytest

from lake.core.records import Array
from lake.images.noise import estimate


@pytest.fixture(scope="module")
def photographs() -> list[Array]:
    """scikit-learn's two photographs, float64 ``[427, 640, 3]`` in 0..1."""
    from sklearn.datasets import load_sample_images

    return [image / 255 for image in load_sample_images().images]


def noise(sigma: float, *shape: int) -> Array:
    return np.random.default_rng(1).normal(0, sigma, shape).astype(np.float32)


@pytest.mark.parametrize("sigma", [5, 10, 25, 50])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("colours", [1, 3])
def test_noise_in_photographs(photographs: list[Array], which: int, sigma: int, colours: int) -> None:
    clean = photographs[which] if colours == 3 else photographs[which].mean(-1, keepdims=True)
    noisy = (clean + noise(sigma / 255, *clean.shape)).astype(np.float32)
    assert estimate(noisy) * 255 == pytest.approx(sigma, abs=0.5 + sigma / 60)


@pytest.mark.parametrize(
    ("shape", "within"),
    [((300, 400, 1), 0.01), ((28, 28, 1), 0.15), ((32, 32, 3), 0.1), ((7, 900, 1), 0.1), ((2000, 30, 1), 0.03)],
)
@pytest.mark.parametrize("sigma", [0.02, 0.2])
def test_noise_alone(shape: tuple[int, ...], within: float, sigma: float) -> None:
    assert estimate(0.5 + noise(sigma, *shape)) == pytest.approx(sigma, rel=within)


@pytest.mark.parametrize("shape", [(600, 700, 1), (20, 40_000, 1), (513, 513, 3), (3000, 3000, 1)])
def test_a_large_image_is_sampled_evenly(shape: tuple[int, ...]) -> None:
    field = noise(1, *shape)
    half = np.where(np.arange(max(shape)) < max(shape) // 2, np.float32(0.05), np.float32(0.06))
    scale = half[:, None, None] if shape[0] >= shape[1] else half[None, :, None]
    assert estimate(field * scale) == pytest.approx(np.sqrt((0.05**2 + 0.06**2) / 2), rel=0.02)


def test_types_and_alpha_change_nothing() -> None:
    grey = np.clip(128 + 255 * noise(0.05, 200, 200, 1), 0, 255).astype(np.uint8)
    found = estimate(grey)
    assert estimate(grey.astype(np.uint16) * 257) == pytest.approx(found, rel=1e-9)
    assert estimate(grey.astype(np.float32) / 255) == pytest.approx(found, rel=1e-6)
    alpha = np.random.default_rng(2).integers(0, 256, grey.shape, np.uint8)
    assert estimate(np.concatenate([grey, alpha], -1)) == found
    assert estimate(np.concatenate([grey, grey, grey, alpha], -1)) == pytest.approx(found, rel=1e-12)


def test_colours_count_alike() -> None:
    colours = noise(1, 256, 256, 3) * np.array([0.02, 0.04, 0.06], np.float32)
    assert estimate(colours) == pytest.approx(np.sqrt(np.mean(np.square([0.02, 0.04, 0.06]))), rel=0.02)


@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_flat_image_has_no_noise(value: int) -> None:
    assert estimate(np.full((40, 50, 3), value, np.uint8)) == 0
    board = np.kron(np.eye(4), np.full((40, 40), value)).astype(np.uint8)[..., None]
    assert estimate(board) == 0


def test_a_frame_is_not_counted() -> None:
    framed = np.zeros((200, 300, 1), np.float32)
    framed[40:-40] = 0.5 + noise(0.1, 120, 300, 1)
    assert estimate(framed) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("shape", [(6, 100, 1), (100, 6, 3), (1, 1, 1)])
def test_an_image_that_holds_no_patch_has_no_estimate(shape: tuple[int, ...]) -> None:
    assert estimate(noise(0.1, *shape)) == 0


@pytest.mark.parametrize("shape", [(9000, 9000, 1), (7, 9_000_000, 1)])
def test_memory_does_not_grow_with_the_image(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.uint8)
    image[::2] = 3
    tracemalloc.start()
    try:
        assert estimate(image) == estimate(image)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
