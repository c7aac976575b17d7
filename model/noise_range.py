"""Noise below what a denoiser learned: how much is kept of what it changes, so that no image becomes worse.

A network that learned the levels from ``low`` on cannot be told less: it takes away texture that is stronger than the
noise. So it is told ``low``, and of its change ``d`` a share ``w`` is kept. With noise of deviation ``s`` of which it
finds a share ``r``, the mean squared error is ``s^2 - 2 w r s^2 + w^2 |d|^2``, least for ``w = r s^2 / |d|^2``, the
shrinkage of James and Stein. A network that is told ``low`` changes about ``low^2`` or less, so ``w = s^2 / low^2`` is
no worse than no change as long as it finds half of the noise. It needs nothing but the level, so a pixel of a tile is
that of the whole image. Of an estimated level some may be texture (``doubt``), whose square is left out of ``s^2``.
"""

from collections.abc import Collection

import numpy as np

from model.input_spec import NOISE_WHITE, NoiseRange
from model.pixels import Floats
from model.spec import Spec

DOUBT = 1.5  # where white is 255; estimates for photographs without noise are up to this
_DOUBT_OF_GREATEST = 0.1  # of the greatest level that a model learned, no more is in doubt
_NONE = np.float32(0)


def least_level(spec: Spec) -> np.float32 | None:
    """The least noise level that a model is told, as a fraction of white; None for one whose range is not known.

    Args:
      spec: of the model.
    """
    limits = spec.noise_range
    return None if limits is None else np.float32(limits[0]) / np.float32(NOISE_WHITE)


def doubt(spec: Spec) -> np.float32:
    """How much of an estimated level may be texture, as a fraction of white.

    Photographs decide, for a model that learned strong noise. What learned weak noise alone is for images that have no
    more, as of a camera that uses a part of 16 bits, and would leave all of them as they are.

    Args:
      spec: of the model.
    """
    greatest = DOUBT if spec.noise_range is None else spec.noise_range[1] * _DOUBT_OF_GREATEST
    return np.float32(min(DOUBT, greatest)) / np.float32(NOISE_WHITE)


def kept_shares(levels: Floats, low: np.float32, doubted: np.float32 = _NONE) -> Floats:
    """How much is kept of what the model changes, float32 [m] in 0..1.

    It is ``(level^2 - doubted^2) / max(level, low)^2``; of levels that are given, of which nothing is in doubt, 1 from
    ``low`` on, and ``(level / low)^2`` below. Where it is 0 the image stays as it is.

    Args:
      levels: float32 [m], standard deviations of the noise as fractions of white.
      low: the least level that the model learned, likewise.
      doubted: how much of the levels may be texture, likewise.

    >>> levels = np.array([0, 1, 2.5, 5, 50], np.float32) / np.float32(255)
    >>> [round(float(share), 4) for share in kept_shares(levels, levels[3])]
    [0.0, 0.04, 0.25, 1.0, 1.0]
    >>> [round(float(share), 4) for share in kept_shares(levels, levels[3], np.float32(1.5 / 255))]
    [0.0, 0.0, 0.16, 0.91, 0.9991]
    """
    certain = np.maximum(np.square(levels) - np.square(doubted), np.float32(0))
    told = np.square(np.maximum(levels, low))
    shares: Floats = np.divide(certain, told, out=np.zeros_like(certain), where=told > 0)
    return shares


def count_outside(levels: Collection[float], learned: NoiseRange) -> tuple[int, int]:
    """How many noise levels are below and how many above what a model learned.

    Args:
      levels: where white is 255.
      learned: the least and the greatest, likewise.

    >>> count_outside([0, 5, 55, 56, 70], (5.0, 55.0))
    (1, 2)
    """
    return sum(level < learned[0] for level in levels), sum(level > learned[1] for level in levels)
