"""What a denoiser may change of an image with noise of photons: nothing that no noise of its camera explains."""

import numpy as np

from lake.images.anscombe import PoissonGaussian
from lake.images.hot_pixels import end_of_range, share_around
from lake.images.photon_noise import EstimatedCamera
from model.pixels import FULL, Floats, Pixels

_FAR = 2.0  # times as bright as what is known, a line still says something
_CLEAR = 3.0  # deviations that a pixel is above that
_MOST_SPOTS = 0.05  # of the pixels
_NEAR = 5.0  # deviations below white within which a pixel may have been brighter


def believed(values: Floats, channel: Pixels, camera: PoissonGaussian) -> Floats:
    """Restored light, less what cannot be.

    Noise that is estimated where an image is dark says nothing of what is much brighter: there a pixel is changed by
    one deviation of that noise at most. And few saturated pixels side by side in the dark have no noise at all, for
    light as strong as theirs is white however it varies; of large bright areas a part is saturated by noise, which is
    left to the model. Where such spots are everywhere no place is left that tells the noise, and nothing is changed.

    Args:
      values: float32 ``[H, W]``, in the numbers of the pixels. They are changed.
      channel: the pixels that they were made of.
      camera: of the channel.
    """
    white = _white(channel)
    estimated = isinstance(camera, EstimatedCamera)
    if white is not None and estimated and _spots(channel, white) > _MOST_SPOTS:
        return channel.astype(np.float32)
    if isinstance(camera, EstimatedCamera) and np.isfinite(camera.known):
        most = np.float32(_deviation(camera))
        bright = channel > camera.black_level + _FAR * (camera.known - camera.black_level) + _CLEAR * most
        given = channel[bright].astype(np.float32)
        values[bright] = np.clip(values[bright], given - most, given + most)
    if white is not None:
        (top,) = camera.stabilised(np.array([white]))
        dark = camera.black_level + camera.algebraic(max(top - _NEAR, np.float32(0)))
        values[(channel == white) & (share_around(np.greater(channel, dark)) < 1 / 2)] = white
    return values


def _white(channel: Pixels) -> float | None:
    """The value at which the pixels end; None if none has it."""
    full = FULL[channel.dtype.name]
    return float(full) if channel.dtype.kind == "u" and channel.max() == full else end_of_range(channel)


def _spots(channel: Pixels, white: float) -> float:
    """The share of the pixels that are saturated, and have less than half of that around."""
    saturated = channel == white
    return float(np.mean(saturated & (share_around(np.greater(channel, white / 2)) < 1 / 2)))


def _deviation(camera: EstimatedCamera) -> float:
    """Of the noise of the brightest pixels that are known."""
    return float((camera.gain * max(camera.known - camera.black_level, 0) + camera.read_noise**2) ** 0.5)
