"""Estimate the gain and the read noise of a camera from one image.

Noise of photons has a variance that grows with brightness by the gain, and read noise one that does not: what is
estimated is a line (Foi, Trimeche, Katkovnik and Egiazarian, "Practical Poissonian-Gaussian noise modeling and fitting
for single-image raw-data", IEEE TIP 2008). The paper segments the image into level sets. Here patches are grouped by
brightness, and in each group by how smooth they are. Every group says something, also where nothing in the image is
smooth, as in microscopy; a group with structure says it with less weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from lake.core.records import Array
from lake.images.anscombe import PoissonGaussian
from lake.images.noise import channels_of
from lake.images.noise_patches import STRUCTURE, Patches, independent_share, patches_of

_MOST_IMAGES = 64  # that one camera is estimated from
_BRIGHTNESSES = 32  # most groups by brightness
_SMOOTHNESS = (0.0, 0.05, 0.2, 0.5, 0.9)  # where groups by smoothness begin, as shares of one brightness
_FEWEST = 16 * len(_SMOOTHNESS)  # patches of one brightness
_LEAK = 0.2  # of the structure of a coefficient, as much may be at the highest frequencies
_MARGINS = (2.0, 1.0, 0.0)  # deviations between the brightness and white, the first that leaves enough groups
_SIGNIFICANT = 3.0  # a gain of less standard errors is none
_DARK = 0.02  # of the mean variance: no brightness has less
_ROUNDS, _CONVERGED = 60, 1e-4  # most iterations, and the relative change of the variance that ends them
_SAY = 0.05  # of what the group with the most says of the slope, as much says something
_LEAST = 1e-3  # read noise of an image without noise; of floating pixels a share of the brightest


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatedCamera(PoissonGaussian):
    """A camera that one image tells.

    Attributes:
      known: the brightest pixels of whose noise the image says something, infinite where the line holds for all. Read
        noise that is cut off at black grows with brightness there, as if it were of photons. So what that says of
        brighter pixels is not to be trusted.
    """

    known: float = np.inf


class _Line(NamedTuple):
    """Variance of the noise over brightness."""

    gain: float  # 0 where the image says nothing of one
    intercept: float  # variance at 0, positive where the gain is 0
    known: float = np.inf  # as of ``EstimatedCamera``


class _Groups(NamedTuple):
    """Patches of one brightness and smoothness each, float64 ``[g]``."""

    mean: Array
    structure: Array  # mean square of a middle coefficient
    energy: Array  # mean square of a highest one
    independent: Array  # numbers that the energy is a mean of


def estimate_camera(
    pixels: Array, black_level: float = 0.0, *, bands: bool = False, spots: bool = True
) -> tuple[EstimatedCamera, ...]:
    """Estimate the noise of each colour channel, by the variance of its noise at each brightness.

    Black level and read noise cannot be told apart by one image: where the variance would be negative at the black
    level, that is taken to be higher, but not above the darkest pixel. An image whose noise does not grow with its
    brightness has gain 0. Saturated pixels do not count.

    Args:
      pixels: ``[H, W, K]`` in the camera's numbers; alpha is left out.
      black_level: mean of the pixels without light.
      bands: the last channel is data, also of two or four.
      spots: hot pixels are no noise.

    >>> light = np.linspace(0, 400, 200)[None, :].repeat(200, 0)
    >>> noisy = 2.0 * np.random.default_rng(0).poisson(light / 2) + np.random.default_rng(1).normal(100, 5, light.shape)
    >>> (camera,) = estimate_camera(noisy[..., None], black_level=100)
    >>> round(camera.gain, 1), round(camera.read_noise), camera.black_level
    (2.0, 5, 100)
    """
    brightest = float(np.abs(pixels).max()) if pixels.dtype.kind == "f" else 1.0
    return tuple(
        _camera(_line(patches_of(blocks)), black_level, _LEAST * (brightest or 1.0), float(pixels[..., channel].min()))
        for channel, blocks in enumerate(channels_of(pixels, bands=bands, spots=spots))
    )


def estimate_common_camera(images: Sequence[Array], black_level: float = 0.0) -> PoissonGaussian:
    """Estimate the noise of one camera from images that it took: their patches together say more than those of one.

    Of more than 64 images so many are used, spread evenly.

    Args:
      images: ``[H, W, K]`` of one type each, in the camera's numbers; K may be several shots, and none is alpha.
      black_level: as of ``estimate_camera``, and raised likewise, to the darkest pixel of all at most.

    >>> light = np.linspace(0, 400, 128)[None, :].repeat(128, 0)
    >>> shots = [2.0 * np.random.default_rng(seed).poisson(light / 2)[..., None] for seed in range(4)]
    >>> round(estimate_common_camera(shots).gain, 1)
    2.0
    """
    chosen = [
        images[at] for at in np.unique(np.linspace(0, len(images) - 1, _MOST_IMAGES).round().astype(int)).tolist()
    ]
    parts = [patches_of(blocks) for image in chosen for blocks in channels_of(image, bands=True)]
    parts = [part for part in parts if not part.drawing]
    if not parts:
        return PoissonGaussian(gain=0.0, read_noise=_LEAST, black_level=black_level)
    mean, structure, energy = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("mean", "structure", "energy")
    )
    high = min(part.high for part in parts)
    patches = replace(parts[0], mean=mean, structure=structure, energy=energy, high=high)
    brightest = max(float(np.abs(image).max()) for image in chosen) if chosen[0].dtype.kind == "f" else 1.0
    darkest = min(float(image.min()) for image in chosen)
    found = _camera(_line(patches), black_level, _LEAST * (brightest or 1.0), darkest)
    return PoissonGaussian(gain=found.gain, read_noise=found.read_noise, black_level=found.black_level)


def _camera(line: _Line, black_level: float, least: float, darkest: float) -> EstimatedCamera:
    gain, intercept, known = line
    if gain <= 0:
        return EstimatedCamera(gain=0.0, read_noise=max(intercept**0.5, least), black_level=black_level)
    variance = intercept + gain * black_level
    if variance >= 0:
        return EstimatedCamera(gain=gain, read_noise=variance**0.5, black_level=black_level, known=known)
    # Pixels below the black level would all be shown as black.
    raised = max(black_level, min(-intercept / gain, darkest))
    return EstimatedCamera(gain=gain, read_noise=0.0, black_level=raised, known=known)


def _line(patches: Patches) -> _Line:
    if not len(patches.mean) or patches.drawing:
        return _Line(0.0, 0.0)
    groups = _grouped(patches)
    variance: Array = np.full(len(groups.mean), groups.energy.mean())
    gain, intercept = 0.0, float(variance[0])
    for _ in range(_ROUNDS):
        if not variance.all():  # no noise at all
            break
        gain, intercept = _fitted(groups, _weights(groups, variance, patches.high))
        before, variance = variance, gain * groups.mean + intercept
        variance = np.maximum(variance, _DARK * abs(float(variance.mean())))
        if np.abs(variance - before).max() <= _CONVERGED * variance.max():
            break
    if gain <= 0:
        return _Line(0.0, float(variance.mean()))
    cut_off = np.isfinite(patches.low)
    return _Line(gain, intercept, _brightest(groups, _weights(groups, variance, patches.high)) if cut_off else np.inf)


def _brightest(groups: _Groups, weights: Array) -> float:
    """The mean of the brightest group that has a say in the slope."""
    away = weights * (groups.mean - (weights * groups.mean).sum() / weights.sum()) ** 2
    return float(groups.mean[away >= _SAY * away.max()].max())


def _grouped(patches: Patches) -> _Groups:
    count = len(patches.mean)
    order = np.argsort(patches.mean, kind="stable")
    bounds = np.linspace(0, count, int(np.clip(count // _FEWEST, 1, _BRIGHTNESSES)) + 1).astype(int)
    starts = []
    for first, last in pairwise(bounds.tolist()):
        part = order[first:last]
        order[first:last] = part[np.argsort(patches.structure[part], kind="stable")]
        starts += [first + int(share * (last - first)) for share in _SMOOTHNESS]
    starts = np.unique(starts).tolist()  # very few patches leave some groups empty
    sizes = np.diff([*starts, count])
    mean, structure, energy = (
        np.add.reduceat(values[order], starts) / sizes for values in (patches.mean, patches.structure, patches.energy)
    )
    return _Groups(mean, structure / STRUCTURE, energy, sizes * independent_share())


def _weights(groups: _Groups, variance: Array, white: float) -> Array:
    """The inverse of the squared error of each group's energy; 0 near white, where noise is clipped.

    Dark pixels count, also where many have one value: it is that of no electron.
    """
    texture = np.maximum(groups.structure - variance, 0)
    weights = 1 / (2 * variance**2 / groups.independent + (_LEAK * texture) ** 2)
    for margin in _MARGINS:
        clear = groups.mean + margin * np.sqrt(variance) <= white
        if np.count_nonzero(clear) >= len(_SMOOTHNESS):
            break
    kept: Array = np.where(clear, weights, 0)
    return kept


def _fitted(groups: _Groups, weights: Array) -> tuple[float, float]:
    """Slope and intercept by weighted least squares; no slope if it is not significant."""
    total = weights.sum()
    middle = (weights * groups.mean).sum() / total
    x, energy = groups.mean - middle, (weights * groups.energy).sum() / total
    spread = (weights * x * x).sum()
    if spread <= 1e-9 * total * float(np.square(groups.mean).max()):  # all of one brightness
        return 0.0, float(energy)
    slope = (weights * x * groups.energy).sum() / spread
    if abs(slope) <= _SIGNIFICANT / spread**0.5:
        return 0.0, float(energy)
    return float(slope), float(energy - slope * middle)
