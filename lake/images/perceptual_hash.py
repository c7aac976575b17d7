"""Perceptual hashes: 64 bits that hardly change when an image is scaled, or compressed again.

DCT hashes as ``imagehash.phash`` makes them: the image in grey (ITU-R 601-2), scaled to 32 x 32 by Lanczos' filter with
Pillow's coefficients, the 8 x 8 lowest frequencies of its cosine transform, and for each whether it is above the median
of all. Scaling and transform are one product of matrices here, without rounding to 8 bits between, so one or the other
of the bits that are close to the median may differ from that package's.
"""

from functools import lru_cache

import numpy as np

from lake.core.records import Array
from lake.images.color import LUMA

_SIDE, _KEPT = 32, 8
_MIDDLE = _KEPT * _KEPT // 2
_BLOCK_HEIGHT, _BLOCK_WIDTH = 64, 512  # 8 * 64 * 512 is where OpenBLAS begins to share
_PIXELS = 1 << 16  # of some images, in the processor's cache
_LANCZOS = 3.0  # support of the filter, in pixels of the smaller image
_LUMA = np.array(LUMA, np.float32) / np.float32(65536)


def perceptual_hashes(pixels: Array) -> Array:
    """The hashes of some images.

    Args:
      pixels: ``[m, H, W, C]`` of any dtype: grey, grey and alpha, RGB, RGB and alpha, or bands, of which the first
        three count as RGB. Alpha is left out.

    Returns:
      int64 ``[m]``; bits are in the order of rows, the first one is the sign.

    >>> image = np.random.default_rng(0).random((1, 40, 50, 1), np.float32)
    >>> bool(perceptual_hashes(image / 2) == perceptual_hashes(image))
    True
    """
    low = _lowest_frequencies(pixels)
    ordered = np.sort(low, axis=1)  # ten times as fast as the median
    bits = low > (ordered[:, _MIDDLE - 1] + ordered[:, _MIDDLE])[:, None] / 2
    packed = np.packbits(bits, axis=1)
    hashes: Array = packed.view(">i8").astype(np.int64).reshape(-1)
    return hashes


def _lowest_frequencies(pixels: Array) -> Array:
    """The 64 lowest frequencies of the grey of some images, float32 ``[m, 64]``.

    Some images at a time, block by block, stay in the processor's cache. Each block of an image is a product of its
    own, which other images do not change, and is too small for the threads of the library, which would wait for those
    of other batches.
    """
    count, height, width, channels = pixels.shape
    known = pixels[..., :3] if channels >= 3 else pixels[..., :1]
    rows = known.reshape(count, height, width * known.shape[3])
    down, across = _frequencies(height), _across(width, channels >= 3)
    low = np.zeros((count, _KEPT, _KEPT), np.float32)
    some = max(_PIXELS // (height * rows.shape[2]), 1)
    for first in range(0, count, some):
        for left in range(0, rows.shape[2], _BLOCK_WIDTH):
            wide = slice(left, left + _BLOCK_WIDTH)
            for top in range(0, height, _BLOCK_HEIGHT):
                high = slice(top, top + _BLOCK_HEIGHT)
                block = rows[first : first + some, high, wide].astype(np.float32, copy=False)
                low[first : first + some] += down[:, high] @ block @ across[wide]
    return low.reshape(count, _KEPT * _KEPT)


@lru_cache(maxsize=64)
def _across(width: int, colour: bool) -> Array:
    """Frequencies of the rows of an image, ``[width * channels, 8]``; of colours, those of their grey."""
    weights = _LUMA if colour else np.ones(1, np.float32)
    return np.ascontiguousarray((_frequencies(width)[..., None] * weights).reshape(_KEPT, -1).T)


@lru_cache(maxsize=64)
def _frequencies(size: int) -> Array:
    """The matrix ``[8, size]`` that scales pixels to 32 and gives their lowest frequencies."""
    angles = np.pi / (2 * _SIDE) * np.outer(np.arange(_KEPT), 2 * np.arange(_SIDE) + 1)
    return np.asarray(np.cos(angles) @ _lanczos(size), np.float32)


def _lanczos(size: int) -> Array:
    """Pillow's coefficients for scaling ``size`` pixels to 32, ``[32, size]``."""
    scale = size / _SIDE
    stretch = max(scale, 1.0)
    support = _LANCZOS * stretch
    coefficients = np.zeros((_SIDE, size))
    for pixel in range(_SIDE):
        centre = (pixel + 0.5) * scale
        low, high = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), size)
        at = (np.arange(low, high) - centre + 0.5) / stretch
        weights = np.where(np.abs(at) < _LANCZOS, np.sinc(at) * np.sinc(at / _LANCZOS), 0)
        coefficients[pixel, low:high] = weights / weights.sum()
    return coefficients
