"""Estimate the noise level of an image from the image alone.

After Liu, Tanaka and Okutomi, "Single-image noise level estimation for blind denoising", IEEE TIP 2013: only patches
that are no more structured than noise alone would make them are used, and they are chosen anew as the estimate
converges. The paper takes the variance along the direction of least variance, and chooses by gradients. Here the
variance is that of the highest frequencies of the cosine transform, which photographs hardly have, and patches are
chosen by the other frequencies (``lake.images.noise_patches``): neither has a bias, however few the patches are.
Where the variance depends on brightness (``lake.images.noise_variance``), the level is that of all of the image.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lake.core.records import Array
from lake.images.color import LUMA, is_alpha, is_grey
from lake.images.hot_pixels import without_hot
from lake.images.noise_patches import blocks_of, patches_of
from lake.images.noise_variance import STRICT, fit

_BRIGHTNESS = np.array(LUMA) / 65536  # of red, green and blue, as codecs have it
_SHARED = 1.15  # times what brightness has of independent noise: from then on channels share theirs, all of it at 1.5
_WHITE = {"u1": 255.0, "u2": 65535.0}  # by the type of the pixels; 1 for others


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseEstimate:
    """The noise of one image: standard deviations of additive noise, where white is 1.

    Attributes:
      levels: of each colour channel.
      errors: of each level: its standard error, and by how much it changes if patches are chosen more strictly, as
        root of the sum of squares. The latter is large where texture looks like noise, or where the noise differs from
        place to place. Infinite where the image has no patch.
    """

    levels: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def level(self) -> float:
        """Root mean square over the channels."""
        return float(np.sqrt(np.mean(np.square(self.levels))))

    @property
    def error(self) -> float:
        """Of ``level``."""
        if not self.level or np.inf in self.errors:
            return max(self.errors)
        parts = np.multiply(self.levels, self.errors) / self.level / len(self.levels)
        return float(np.sqrt(np.sum(parts**2)))


def estimate(pixels: Array, *, bands: bool = False, spots: bool = True) -> NoiseEstimate:
    """Estimate additive noise that is independent from pixel to pixel; white is 1.

    Flat and clipped areas do not count. A drawing (flat areas with edges between them) has no noise. An image with a
    side of less than 7 pixels says nothing: level 0 with an infinite error. The time is bounded, and equal pixels give
    equal numbers.

    Args:
      pixels: ``[H, W, K]`` of uint8 (white is 255), uint16 (white is 65535) or finite float32 (white is 1). Alpha, the
        last of two or four channels, is ignored.
      bands: the last channel is data, also of two or four.
      spots: hot pixels are no noise.

    >>> noise = np.random.default_rng(0).normal(0.5, 0.1, (64, 64, 1)).astype(np.float32)
    >>> found = estimate(noise)
    >>> round(found.level, 2), found.error < 0.01
    (0.1, True)
    """
    white = _WHITE.get(pixels.dtype.str[1:], 1.0)
    levels, errors = zip(
        *(_of_channel(blocks) for blocks in channels_of(pixels, bands=bands, spots=spots)), strict=True
    )
    return NoiseEstimate(levels=tuple(v / white for v in levels), errors=tuple(e / white for e in errors))


def level_for_colors(pixels: Array, found: NoiseEstimate) -> float:
    """The level of independent noise in red, green and blue of which an image has what is left.

    JPEG, WebP and others keep colours at half the resolution. What changes from pixel to pixel is brightness alone
    then, which all channels share; the noise of colours became coarser, and is not seen by ``estimate``. Brightness has
    0.67 of the level of independent noise, so theirs is 1.5 times what the channels show. Where channels do not share
    their noise, or are equal, which makes an image grey, the level is that of the channels.

    Args:
      pixels: ``[H, W, K]``, K 3 or 4, as of ``estimate``.
      found: what that gives for them.

    >>> noise = np.random.default_rng(0).normal(0.5, 0.1, (96, 96, 3)).astype(np.float32)
    >>> level_for_colors(noise, estimate(noise)) == estimate(noise).level
    True
    """
    if is_grey(pixels[..., :3]):
        return found.level
    brightness = np.stack([block[..., :3] @ _BRIGHTNESS for block in blocks_of(pixels)])
    level = _of_channel(brightness)[0] / _WHITE.get(pixels.dtype.str[1:], 1.0)
    share = float(np.linalg.norm(_BRIGHTNESS))
    return found.level / share if level > _SHARED * share * found.level else found.level


def channels_of(pixels: Array, *, bands: bool = False, spots: bool = True) -> Iterator[Array]:
    """Each colour channel of an image, or as much of it as is used, float64 ``[n, H, W]``.

    Args:
      pixels: ``[H, W, K]``; alpha, the last of two or four channels, is left out.
      bands: the last channel is data, also of two or four.
      spots: hot pixels are replaced.
    """
    blocks = list(blocks_of(pixels))
    for channel in range(pixels.shape[2] - is_alpha(pixels.shape[2], bands=bands)):
        values = np.stack([block[..., channel] for block in blocks]).astype(np.float64)
        # In 8 bits such pixels are the highlights of photographs, which change nothing.
        yield without_hot(values) if spots and pixels.dtype != np.uint8 else values


def _of_channel(blocks: Array) -> tuple[float, float]:
    """Level and error of one channel, in units of its pixels."""
    patches = patches_of(blocks)
    line = fit(patches)
    strict = fit(patches, STRICT, line)
    if not line.mean:
        return 0.0, line.error
    return line.mean**0.5, float(np.hypot(line.error, line.mean**0.5 - strict.mean**0.5))
