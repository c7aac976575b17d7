"""Perceptual hashes, against Pillow's scaling and SciPy's transform, as the package imagehash puts them together."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dct

from lake.images.perceptual_hash import perceptual_hashes
from tests.conftest import Pixels


def expected(image: Image.Image) -> int:
    pixels = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), np.float64)
    low = dct(dct(pixels, axis=0), axis=1)[:8, :8]
    bits = (low > np.median(low)).ravel()
    return int("".join("01"[bit] for bit in bits.tolist()), 2)


def bits_apart(one: int, other: int) -> int:
    return ((one ^ other) & ((1 << 64) - 1)).bit_count()


def photograph(height: int, width: int, seed: int) -> Pixels:
    """Smooth shapes in colour, uint8 ``[height, width, 3]``."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("height", "width"), [(481, 321), (64, 200), (32, 32), (20, 50), (28, 28)])
def test_as_imagehash(height: int, width: int) -> None:
    images = np.stack([photograph(height, width, seed) for seed in range(12)])
    hashes = perceptual_hashes(images).tolist()
    apart = [bits_apart(found, expected(Image.fromarray(image))) for found, image in zip(hashes, images, strict=True)]
    assert max(apart) <= 2
    assert np.mean(apart) < 1


def test_digits_of_eight_pixels(digits: Pixels) -> None:
    """Here Pillow cuts off what its filter makes of black and white beyond 8 bits."""
    hashes = perceptual_hashes(digits[:300, ..., None]).tolist()
    apart = [bits_apart(found, expected(Image.fromarray(one))) for found, one in zip(hashes, digits, strict=False)]
    assert np.mean(apart) < 4


def test_the_smallest_images() -> None:
    assert len(perceptual_hashes(np.ones((2, 1, 1, 1), np.uint8))) == 2
    assert len(perceptual_hashes(np.ones((0, 5, 9, 3), np.uint8))) == 0


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_any_pixels(channels: int, dtype: type[np.generic]) -> None:
    """Scaling all numbers, alpha and further bands change nothing."""
    image = photograph(60, 60, 3)
    grey = np.asarray(Image.fromarray(image).convert("L"))
    pixels = np.concatenate([image, image[..., :1] // 2, image], axis=2) if channels > 2 else np.stack([grey, grey], 2)
    scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[dtype]
    (found,) = perceptual_hashes((pixels[None, ..., :channels] * np.float64(scale)).astype(dtype)).tolist()
    assert bits_apart(found, expected(Image.fromarray(image))) <= 2


def test_it_survives_scaling_and_compression() -> None:
    image = Image.fromarray(photograph(400, 300, 1))
    data = io.BytesIO()
    image.resize((150, 200)).save(data, "jpeg", quality=60)
    small = np.asarray(Image.open(data))
    (one,), (other,) = (perceptual_hashes(pixels[None]).tolist() for pixels in (np.asarray(image), small))
    assert bits_apart(one, other) <= 4
    (another,) = perceptual_hashes(photograph(400, 300, 2)[None]).tolist()
    assert bits_apart(one, another) > 16
