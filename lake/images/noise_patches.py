"""What patches of an image say about its noise: brightness, structure, and energy at the highest frequencies.

A patch has 7 x 7 pixels, and its discrete cosine transform (DCT-II, orthonormal) 49 coefficients. In photographs the
three of the highest frequencies hold almost nothing but noise, and 43 others say whether the patch is smooth. White
Gaussian noise is independent in all of them: to choose patches by the 43 does not bias what the three say, however
strict the choice is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from lake.core.records import Array

SIDE = 7  # of a patch, in pixels
STEP = 2  # from patch to patch, which says nearly as much as 1 for a quarter of the work
_HIGHEST = ((6, 6), (6, 5), (5, 6))  # frequencies down and across whose energy is measured
_RAMPS = ((0, 1), (1, 0))  # of shades, which smooth patches have
STRUCTURE = SIDE**2 - 1 - len(_HIGHEST) - len(_RAMPS)  # coefficients that say whether a patch is smooth
_PIXELS = 1 << 18  # pixels that are used of a larger image
_BLOCK = 64  # they are taken in blocks of this side, spread evenly over the image
_PILE = 1e-3  # share of the pixels that a clipped value has at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """All patches of one channel that are not flat; arrays are float64 ``[n]``, and patches overlap.

    Attributes:
      mean: of the pixels.
      structure: sum of squares of the 43 middle coefficients.
      energy: mean square of the three highest ones: of a smooth patch an unbiased estimate of the noise's variance.
      low, high: values at which pixels are clipped; infinite where they are not.
      drawing: the channel is flat but for lines and edges, so that its patches say nothing about noise.
    """

    mean: Array
    structure: Array
    energy: Array
    low: float
    high: float
    drawing: bool


_NONE = Patches(mean=np.empty(0), structure=np.empty(0), energy=np.empty(0), low=-np.inf, high=np.inf, drawing=False)


def patches_of(blocks: Array) -> Patches:
    """Measure the patches of one channel.

    Args:
      blocks: float64 ``[n, H, W]``; there are no patches where H or W is less than 7.
    """
    if min(blocks.shape[1:]) < SIDE:
        return _NONE
    middle = float(blocks.mean())
    mean, structure, energy = _energies(blocks - middle)
    low, high = _clipped(blocks)
    varied = _any(blocks[:, :, 1:] != blocks[:, :, :-1], SIDE, SIDE - 1)
    varied |= _any(blocks[:, 1:] != blocks[:, :-1], SIDE - 1, SIDE)
    return Patches(
        mean=mean[varied] + middle,
        structure=structure[varied],
        energy=energy[varied],
        low=low,
        high=high,
        drawing=bool(np.mean(varied) < 1 / 2) and _is_drawing(blocks, varied, low, high),
    )


def _is_drawing(blocks: Array, varied: Array, low: float, high: float) -> bool:
    """Whether an image that is mostly flat has no noise elsewhere, unlike a photograph with an overexposed sky."""
    clipped = (blocks == low) | (blocks == high)
    flat = int(np.count_nonzero(~varied & ~clipped[:, : 1 - SIDE : STEP, : 1 - SIDE : STEP]))
    unclipped = int(np.count_nonzero(varied & ~_any(clipped, SIDE, SIDE)))
    return flat >= unclipped or unclipped * 2 < int(np.count_nonzero(varied))


def _clipped(blocks: Array) -> tuple[float, float]:
    """The values at which pixels are clipped; infinite where they are not."""
    low, high = float(blocks.min()), float(blocks.max())
    return low if _piled(blocks, low) else -np.inf, high if _piled(-blocks, -high) else np.inf


def _piled(values: Array, least: float) -> bool:
    """Whether more pixels have the least value than the next one, and not just a few."""
    count = np.count_nonzero(values == least)
    if count < _PILE * values.size or count == values.size:
        return False
    following = np.min(values, where=values > least, initial=np.inf)
    return bool(count > np.count_nonzero(values == following))


def blocks_of(pixels: Array) -> Iterator[Array]:
    """The whole image, or blocks of it with some 260,000 pixels in all, spread evenly.

    Args:
      pixels: ``[H, W, K]``.
    """
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


def _energies(blocks: Array) -> tuple[Array, Array, Array]:
    """Mean, structure and energy of every patch."""
    down = {row: _weighted(blocks, cosine(row), 1) for row in (0, 1, SIDE - 2, SIDE - 1)}
    highest, ramps = (
        sum((_weighted(down[row], cosine(column), 2) ** 2 for row, column in chosen), np.zeros(()))
        for chosen in (_HIGHEST, _RAMPS)
    )
    constant = _weighted(down[0], cosine(0), 2)
    squares = _weighted(_weighted(blocks**2, np.ones(SIDE), 1), np.ones(SIDE), 2)
    rest = squares - constant**2 - ramps - highest
    return constant / SIDE, np.maximum(rest, 0), highest / len(_HIGHEST)


@cache
def independent_share() -> float:
    """How many independent numbers each of many overlapping patches is worth, of the three that it measures.

    The mean of the energies of white Gaussian noise has as much variance as that of so many independent squares: by the
    correlations of the three filters' outputs between all patches.

    >>> round(independent_share(), 2)
    0.49
    """
    spectra = [np.fft.fft2(np.outer(cosine(row), cosine(column)), (64, 64)) for row, column in _HIGHEST]
    correlations = [np.fft.ifft2(one * other.conj()).real[::STEP, ::STEP] for one in spectra for other in spectra]
    return float(len(_HIGHEST) ** 2 / np.sum(np.square(correlations)))


@cache
def cosine(frequency: int) -> Array:
    """One row of the orthonormal discrete cosine transform (DCT-II) of 7 values."""
    places = np.pi * (2 * np.arange(SIDE) + 1) * frequency / (2 * SIDE)
    row: Array = np.cos(places) * np.sqrt((2 if frequency else 1) / SIDE)
    return row


def _any(values: Array, high: int, wide: int) -> Array:
    """Whether any of so many neighbours down and across is true, for every patch."""
    for axis, side in ((1, high), (2, wide)):
        parts = [_part(values, at, side, axis) for at in range(side)]
        values = np.logical_or.reduce(parts)
    return values


def _weighted(values: Array, weights: Array, axis: int) -> Array:
    """Weighted sums of neighbours along an axis, for every patch."""
    total: Array = np.zeros((), np.float64)
    for at, weight in enumerate(weights):
        total = total + _part(values, at, len(weights), axis) * weight
    return total


def _part(values: Array, at: int, side: int, axis: int) -> Array:
    """Along an axis, what is at one place in each patch of ``side`` values."""
    stop = values.shape[axis] - side + at + 1
    part: Array = values[:, at:stop:STEP] if axis == 1 else values[:, :, at:stop:STEP]
    return part
