"""How noisy an image is, told from the image alone.

After Liu, Tanaka and Okutomi, "Single-image noise level estimation for blind denoising", IEEE TIP 2013: only patches
whose gradients are no stronger than noise alone would make them are looked at, which are chosen anew as the estimate
settles. The variance is theirs, but along the highest frequencies of the cosine transform instead of along the
direction that varies least: a photograph has next to nothing there, and a fixed direction has no bias, however few
the patches are. On photographs with added noise of 5 to 50 of 255 the estimate is 0.1 too high on average.
"""

from collections.abc import Iterator

import numpy as np

from pipeline.records import Array

_SIDE = 7  # of a patch
_GRADIENT = 383.8  # what a patch's sum of squared differences exceeds once in a million, of noise of variance 1
_FEWEST = _SIDE**2  # patches that an estimate needs
_ROUNDS = 10  # two or three are enough nearly always
_PIXELS = 1 << 18  # that are looked at, in blocks ...
_BLOCK = 64  # ... of this side, spread evenly over a larger image
_WHITE = {"u1": 255.0, "u2": 65535.0}


def estimate(pixels: Array) -> float:
    """Standard deviation of additive white Gaussian noise, where white is 1.

    Of colours it is the root mean square; alpha is not counted. An image without noise or with a side under 7 gives 0.
    The time it takes is bounded, and the same pixels always give the same number.

    Args:
      pixels: ``[H, W, K]`` of uint8, uint16 or finite float32.
    """
    colours = pixels.shape[2] - (pixels.shape[2] in (2, 4))
    if min(pixels.shape[:2]) < _SIDE:
        return 0.0
    white = _WHITE.get(pixels.dtype.str[1:], 1.0)
    blocks = [block.astype(np.float64) / white for block in _blocks(pixels[..., :colours])]
    variances = [_variance(np.stack([block[..., c] for block in blocks])) for c in range(colours)]
    return float(np.sqrt(np.mean(variances)))


def _blocks(pixels: Array) -> Iterator[Array]:
    """The whole image, or blocks of it that have ``_PIXELS`` together."""
    height, width = pixels.shape[:2]
    if height * width <= _PIXELS:
        yield pixels
        return
    high, wide = min(_BLOCK, height), min(_BLOCK, width)
    count = _PIXELS // (high * wide)
    rows = int(np.clip(round((count * height / width) ** 0.5), 1, min(count, height // high)))
    columns = min(count // rows, width // wide)
    for top in np.linspace(0, height - high, rows).astype(int):
        for left in np.linspace(0, width - wide, columns).astype(int):
            yield pixels[top : top + high, left : left + wide]


def _variance(blocks: Array) -> float:
    """Variance of the noise in blocks float64 ``[n, H, W]`` of one channel."""
    gradients, energies = _gradients(blocks).ravel(), _energies(blocks).ravel()
    varied = gradients > 0
    if np.count_nonzero(varied) * 2 <= len(varied):  # mostly flat: drawn, not photographed; else the flat is a frame
        return 0.0
    gradients, energies = gradients[varied], energies[varied]
    variance = float(energies.mean())
    for _ in range(_ROUNDS):
        chosen = energies[gradients < _GRADIENT * variance]
        if len(chosen) < _FEWEST or (mean := float(chosen.mean())) == variance:
            break
        variance = mean
    return variance


def _gradients(blocks: Array) -> Array:
    """Sum of the squared differences of neighbours within each patch, ``[n, H - 6, W - 6]``."""
    across, down = np.diff(blocks, axis=2) ** 2, np.diff(blocks, axis=1) ** 2
    total: Array = _sums(across, _SIDE, _SIDE - 1) + _sums(down, _SIDE - 1, _SIDE)
    return total


def _sums(values: Array, high: int, wide: int) -> Array:
    rows = _weighted(values, np.ones(high), 1)
    return _weighted(rows, np.ones(wide), 2)


def _energies(blocks: Array) -> Array:
    """Mean square of the three highest coefficients of each patch's cosine transform, ``[n, H - 6, W - 6]``."""
    last, highest = _cosine(_SIDE - 2), _cosine(_SIDE - 1)
    down_last, down_highest = _weighted(blocks, last, 1), _weighted(blocks, highest, 1)
    energies = _weighted(down_highest, highest, 2) ** 2
    energies += _weighted(down_highest, last, 2) ** 2
    energies += _weighted(down_last, highest, 2) ** 2
    mean: Array = energies / 3
    return mean


def _cosine(frequency: int) -> Array:
    """One row of the orthonormal cosine transform (DCT-II)."""
    places = np.pi * (2 * np.arange(_SIDE) + 1) * frequency / (2 * _SIDE)
    row: Array = np.cos(places) * np.sqrt(2 / _SIDE)
    return row


def _weighted(values: Array, weights: Array, axis: int) -> Array:
    """Weighted sums of neighbours along an axis, wherever all of them are there."""
    length = values.shape[axis] - len(weights) + 1
    total: Array = np.zeros((), np.float64)
    for at, weight in enumerate(weights):
        part = values[:, at : at + length] if axis == 1 else values[:, :, at : at + length]
        total = total + part * weight
    return total
