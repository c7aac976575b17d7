"""The variance of an image's noise as a line over its brightness, fitted to the image alone.

After Foi, Trimeche, Katkovnik and Egiazarian, "Practical Poissonian-Gaussian noise modeling and fitting for
single-image raw-data", IEEE TIP 2008: noise of photons grows with brightness, that of electronics does not. The paper
segments the image; here smooth patches are chosen as for white noise (``lake.images.noise``), by what the line says of
their brightness, and the line is fitted anew until neither changes. Near values at which pixels are clipped there is
less noise than before; as much as the line says that clipping took is added (``lake.images.clipped_noise``).
"""

from dataclasses import dataclass
from functools import partial
from statistics import NormalDist

import numpy as np

from lake.core.records import Array
from lake.images.clipped_noise import left_by_clipping
from lake.images.noise_patches import STRUCTURE, Patches, independent_share

MOST, STRICT = 0.9, 0.5  # shares of the patches of pure noise that are smooth enough
_MARGINS = (2.0, 1.0, 0.5, 0.0)  # deviations between a patch's mean and a clipped value, the first that leaves enough
_ENOUGH = 0.5  # of the smooth patches
_FEWEST = 16  # patches that an estimate needs
_SIGNIFICANT = 3.0  # a slope of less standard errors is none
_LEAST = 0.02  # of the mean variance: no brightness has less
_ROUNDS = 30  # most iterations; a few are usually enough
_CONVERGED = 1e-3  # relative change of the variance


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceLine:
    """Variance of the noise, ``slope * brightness + intercept``, in units of the pixels.

    Attributes:
      slope: 0 where the image says nothing of one.
      intercept: variance at brightness 0; negative where there is none at some offset above 0.
      mean: of the variance, over all patches that are not flat.
      error: standard error of the noise level, the root of ``mean``; infinite where no patch says anything.
    """

    slope: float
    intercept: float
    mean: float
    error: float


NOTHING = VarianceLine(slope=0.0, intercept=0.0, mean=0.0, error=np.inf)
NOISELESS = VarianceLine(slope=0.0, intercept=0.0, mean=0.0, error=0.0)


def fit(patches: Patches, share: float = MOST, start: VarianceLine | None = None) -> VarianceLine:
    """Fit the line to the patches of one channel.

    Args:
      patches: of the channel.
      share: of the patches of pure noise that would be smooth enough.
      start: a line that is near; None for that of all patches.

    Returns:
      ``NOTHING`` where there are no patches, ``NOISELESS`` for drawings.

    >>> from lake.images.noise_patches import patches_of
    >>> light = np.linspace(100, 900, 200)[None, None, :].repeat(200, 1)
    >>> noisy = 2.0 * np.random.default_rng(0).poisson(light / 2)  # each electron counts 2
    >>> round(fit(patches_of(noisy)).slope, 1)
    2.0
    """
    # An image that is mostly flat is a drawing without noise. In others, flat patches are a frame and do not count.
    if patches.drawing:
        return NOISELESS
    if not len(patches.mean):
        return NOTHING
    energy = float(patches.energy.mean())
    first = VarianceLine(slope=0.0, intercept=energy, mean=energy, error=energy**0.5)
    return _fitted(patches, smoothness(share), start or first)


def _fitted(patches: Patches, smooth: float, line: VarianceLine) -> VarianceLine:
    room = np.minimum(patches.mean - patches.low, patches.high - patches.mean)
    variance = _at(line, patches.mean)
    for _ in range(_ROUNDS):
        left = left_by_clipping(patches.mean, partial(_at, line), patches.low, patches.high)
        chosen = _chosen(patches.structure < smooth * variance * left, room, variance)
        # Too few patches say nothing.
        if len(chosen) < _FEWEST:
            break
        energy = patches.energy[chosen] / left[chosen]
        slope, intercept = _line(patches.mean[chosen], energy, variance[chosen])
        line = VarianceLine(slope=slope, intercept=intercept, mean=float(energy.mean()), error=0.0)
        before, variance = variance, _at(line, patches.mean)
        mean = float(variance.mean())
        independent = max(1.0, len(chosen) * independent_share())
        line = VarianceLine(slope=slope, intercept=intercept, mean=mean, error=(mean / (2 * independent)) ** 0.5)
        if np.abs(variance - before).max() <= _CONVERGED * variance.max():
            break
    return line


def _at(line: VarianceLine, brightness: Array) -> Array:
    """The line's variance at each brightness, not less than a small part of its mean."""
    if not line.slope:
        return np.full(len(brightness), line.intercept)
    variance: Array = np.maximum(line.slope * brightness + line.intercept, _LEAST * line.mean)
    return variance


def _chosen(smooth: Array, room: Array, variance: Array) -> Array:
    """Which of the smooth patches are as far from clipped values as leaves enough of them, int64 ``[n]``.

    Args:
      smooth: which patches are, bool.
      room: distance of their means from clipped values.
      variance: of the noise in each patch.
    """
    candidates = np.flatnonzero(smooth)
    distances = room[candidates] / np.sqrt(variance[candidates])
    for margin in _MARGINS:
        chosen: Array = candidates[distances > margin]
        if len(chosen) >= max(_FEWEST, _ENOUGH * len(candidates)):
            break
    return chosen


def _line(brightness: Array, energy: Array, variance: Array) -> tuple[float, float]:
    """Slope and intercept by weighted least squares: the energy of noise has twice the square of its variance."""
    middle = float(brightness.mean())
    weights, x = 1 / variance**2, brightness - middle
    total, first, second = weights.sum(), (weights * x).sum(), (weights * x * x).sum()
    constant = float((weights * energy).sum() / total)
    determinant = total * second - first**2
    if determinant <= 1e-9 * total * second:  # of one brightness
        return 0.0, constant
    slope = (total * (weights * x * energy).sum() - first * (weights * energy).sum()) / determinant
    error = np.sqrt(2 / independent_share() * total / determinant)
    if abs(slope) <= _SIGNIFICANT * error:
        return 0.0, constant
    return float(slope), float(constant - slope * (first / total + middle))


def smoothness(share: float) -> float:
    """The structure that this share of the patches of noise of variance 1 have at most.

    It is a quantile of the chi-square distribution, here by the approximation of Wilson and Hilferty.

    Args:
      share: 0 to 1.

    >>> round(smoothness(0.9), 1)  # chi-square with 43 degrees of freedom: 55.23
    55.2
    """
    spread = 2 / (9 * STRUCTURE)
    return float(STRUCTURE * (1 - spread + NormalDist().inv_cdf(share) * spread**0.5) ** 3)
