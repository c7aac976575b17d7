"""PSNR and SSIM against their definitions, computed place by place, and against numbers known in closed form."""

import tracemalloc
from itertools import product
from math import inf, log10

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from lake.core.records import Array
from lake.images.quality import compare, psnr, ssim

RNG = np.random.default_rng(0)


def by_definition(one: Array, other: Array, side: int = 11) -> float:
    """Formula 13 of Wang et al. 2004, with every window laid out."""
    if one.ndim == 3:
        return float(np.mean([by_definition(one[..., c], other[..., c], side) for c in range(one.shape[2])]))
    at = np.arange(side) - side // 2
    weights = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    weights /= weights.sum()
    a, b = (sliding_window_view(image.astype(np.float64), (side, side)) for image in (one, other))

    def mean(windows: Array) -> Array:
        return np.einsum("ijkl,kl->ij", windows, weights)

    covariance, spread = mean(a * b) - mean(a) * mean(b), mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
    similar = (2 * mean(a) * mean(b) + 1e-4) * (2 * covariance + 9e-4)
    return float(np.mean(similar / ((mean(a) ** 2 + mean(b) ** 2 + 1e-4) * (spread + 9e-4))))


def images(*shape: int) -> tuple[Array, Array]:
    """A smooth image and the same with noise, float64 in 0..1."""
    waves = np.sin(np.arange(shape[0])[:, None] / 5) * np.cos(np.arange(shape[1]) / 7) / 2 + 0.5
    one = np.broadcast_to(waves.reshape(*shape[:2], *[1] * (len(shape) - 2)), shape)
    return one, np.clip(one + RNG.normal(0, 0.1, shape), 0, 1)


@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (11, 11), (11, 30), (30, 50, 3), (40, 30, 1), (560, 480)])
def test_ssim_is_its_definition(shape: tuple[int, ...]) -> None:
    one, other = images(*shape)
    assert ssim(one, other) == pytest.approx(by_definition(one, other), abs=1e-12)


@pytest.mark.parametrize(
    ("shape", "side"), [((8, 8), 7), ((10, 40), 9), ((40, 5), 5), ((3, 3), 3), ((2, 9), 1), ((1, 1), 1)]
)
def test_a_small_image_has_a_small_window(shape: tuple[int, int], side: int) -> None:
    one, other = images(*shape)
    assert ssim(one, other) == pytest.approx(by_definition(one, other, side), abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (0.2, 0.3), (0.5, 0.5)])
def test_ssim_of_flat_images_is_the_luminance(a: float, b: float) -> None:
    wanted = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert ssim(np.full((20, 30), a), np.full((20, 30), b)) == pytest.approx(wanted, abs=1e-12)


def test_ssim_of_an_image_and_its_negative_is_known() -> None:
    board = np.indices((40, 40)).sum(0) % 2 / 1.0
    # equal means of about a half: the luminance is 1, the variance about a quarter and the covariance its negative
    assert ssim(board, 1 - board) == pytest.approx((-0.5 + 9e-4) / (0.5 + 9e-4), abs=1e-4)
    assert ssim(board, board) == 1


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("other_kind", [np.uint8, np.uint16, np.float32])
def test_types_are_compared_as_light(kind: type, other_kind: type) -> None:
    scale = {np.uint8: 255, np.uint16: 65535, np.float32: 1}
    one, other = images(32, 40, 3)
    one, other = (np.round(image * 255) / 255 for image in (one, other))
    given, wanted = (one * scale[kind]).round(6).astype(kind), (other * scale[other_kind]).round(6).astype(other_kind)
    ratio, similarity = compare(given, wanted)
    assert ratio == pytest.approx(-10 * log10(np.mean((one - other) ** 2)), abs=1e-4)
    assert similarity == pytest.approx(by_definition(one, other), abs=1e-5)


def test_the_output_is_clipped_and_the_reference_is_not() -> None:
    output, reference = np.array([[1.5, -0.5, 0.25]], np.float32), np.array([[1.0, 0.0, 0.5]], np.float32)
    assert compare(output, reference)[0] == pytest.approx(-10 * log10(0.0625 / 3))
    assert compare(reference, output)[0] == pytest.approx(-10 * log10((0.25 + 0.25 + 0.0625) / 3))


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_not_counted(channels: int) -> None:
    one, other = (np.round(image * 255).astype(np.uint8) for image in images(20, 24, channels))
    assert compare(one, other) == compare(one[..., :-1], other[..., :-1])
    assert compare(one, other[..., :-1]) == compare(one[..., :-1], other)


def test_equal_images_are_infinitely_close() -> None:
    one = (images(20, 24)[0] * 255).astype(np.uint8)
    assert compare(one, one) == (inf, 1.0)
    assert psnr(np.array([0.0, 0.01, 1.0])).tolist() == [inf, 20.0, 0.0]


def test_another_shape_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"an image \(4, 5, 1\) and a reference \(5, 4, 1\)"):
        compare(np.zeros((4, 5, 1)), np.zeros((5, 4, 1)))
    with pytest.raises(ValueError, match=r"images \(4, 5\) and \(5, 4\)"):
        ssim(np.zeros((4, 5)), np.zeros((5, 4)))


@pytest.mark.parametrize("shape", [(1500, 1500), (11, 300_000), (300_000, 11), (1, 3_000_000)])
def test_memory_does_not_grow_with_the_image(shape: tuple[int, int]) -> None:
    one, other = (RNG.integers(0, 256, shape, np.uint8) for _ in range(2))
    tracemalloc.start()
    try:
        compare(one, other)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_orientation_changes_nothing() -> None:
    one, other = images(30, 50, 3)
    for turns, flip in product(range(4), (False, True)):
        turned = [np.rot90(image[::-1] if flip else image, turns) for image in (one, other)]
        assert ssim(*turned) == pytest.approx(ssim(one, other), abs=1e-12)
