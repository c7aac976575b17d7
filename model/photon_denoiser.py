"""Denoising of images whose noise is that of photons: made white by a transform that is undone afterwards."""

from collections.abc import Sequence

import numpy as np

from lake.images.anscombe import PoissonGaussian
from model.believed_light import believed
from model.denoiser import Denoised, Denoiser
from model.pixels import FULL, Floats, Pixels, to_pixels, to_unit
from model.runtime.batching import Failed
from model.runtime.executor import ModelError

# Deviations of the noise between black and white at least, so that a dark image is shown as dark and with a level that
# networks are trained for: 51 of 255.
_SPAN = np.float32(5.0)
_PLACE = 8  # pixels of a side
_LOST = 0.25  # of the pixels; of those without light the transform takes 11% for none at most


def denoise_photons(
    denoiser: Denoiser,
    images: Pixels,
    cameras: Sequence[Sequence[PoissonGaussian]],
    failed: Failed | None = None,
    *,
    estimated: bool = False,
    bands: bool = False,
    spots: bool = True,
) -> tuple[Denoised, Floats]:
    """Denoise images of one shape with Poisson-Gaussian noise.

    The generalized Anscombe transform makes the noise of each image white; its range is shown to the model as black to
    white, and the model is told the level that the noise has then. What it gives is transformed back without bias. Each
    image is transformed by itself, so the same image gives the same bits, whatever other images it comes with.

    Args:
      denoiser: of a model that is told the noise level.
      images: as ``Denoiser.denoise`` takes them.
      cameras: of each image, the noise of each colour channel, in the numbers of its pixels.
      failed: as ``Denoiser.denoise`` takes it.
      estimated: whether the cameras were.
      bands: as ``Denoiser.denoise`` takes it.
      spots: bright spots are not changed by more than noise explains, see ``believed``.

    Returns:
      What ``Denoiser.denoise`` gives, and the levels that the model was told, float32 [m], as a fraction of white.

    Raises:
      ModelError: also where an image is darker than its camera can have made it, and ``failed`` is None.
    """
    shown, low, span, levels = stabilised(images, cameras)
    found = denoiser.denoise(shown, levels, failed, estimated=estimated, bands=bands)
    pixels, mse = images.copy(), found.mse.copy()
    for at in np.flatnonzero(found.mse > 0).tolist():  # the others failed, or stay as they are
        for channel, camera in enumerate(cameras[at]):
            values = found.pixels[at, ..., channel] * span[at] + low[at]
            values = camera.restored(values, _darkest(images[at, ..., channel]))
            if spots:
                values = believed(values, images[at, ..., channel], camera)
            pixels[at, ..., channel] = to_pixels(values, (0.0, FULL[images.dtype.name]), images.dtype)
        colours = len(cameras[at])
        difference = to_unit(pixels[at, ..., :colours]) - to_unit(images[at, ..., :colours])
        mse[at] = np.mean(np.square(difference, dtype=np.float64))
    _refuse(images, cameras, mse, failed, estimated=estimated)
    return Denoised(pixels=pixels, mse=mse), levels


def shown_levels(images: Pixels, cameras: Sequence[Sequence[PoissonGaussian]]) -> Floats:
    """The levels that a model is told of images, float32 [m], as a fraction of white.

    Args:
      images: as ``denoise_photons`` takes them.
      cameras: likewise.
    """
    return stabilised(images, cameras)[3]


def stabilised(images: Pixels, cameras: Sequence[Sequence[PoissonGaussian]]) -> tuple[Floats, Floats, Floats, Floats]:
    """Transformed images with black at 0 and white at 1, and of each the value of black and that of white above it.

    The last is the level that the noise has then, 0 of an image whose channels have one value each: it has no noise.

    Args:
      images: as ``denoise_photons`` takes them.
      cameras: likewise.
    """
    shown = np.empty(images.shape, np.float32)
    low, span, levels = np.empty((3, len(images)), np.float32)
    for at, (image, channels) in enumerate(zip(images, cameras, strict=True)):
        colours = len(channels)
        shown[at, ..., colours:] = to_unit(image[..., colours:])
        for channel, camera in enumerate(channels):
            shown[at, ..., channel] = camera.stabilised(image[..., channel])
        values = shown[at, ..., :colours]
        low[at] = values.min()
        span[at] = max(_SPAN, values.max() - low[at])
        levels[at] = 1 / span[at] if np.ptp(values, axis=(0, 1)).any() else 0
        values -= low[at]
        values /= span[at]
    return shown, low, span, levels


def _darkest(channel: Pixels) -> float:
    """Mean of the darkest place, a square of 64 pixels; of a smaller image that of all."""
    height, width = (side // _PLACE for side in channel.shape)
    if not height or not width:
        return float(channel.mean())
    places = channel[: height * _PLACE, : width * _PLACE].reshape(height, _PLACE, width, _PLACE)
    return float(places.mean(axis=(1, 3), dtype=np.float32).min())


def too_dark(camera: PoissonGaussian, lost: float) -> str | None:
    """Why pixels cannot be of a camera, and what to do; None if they can.

    Args:
      camera: as it was said.
      lost: the share of the pixels that ``PoissonGaussian.lost`` gives.
    """
    if lost <= _LOST:
        return None
    return (
        f"{lost:.0%} of the pixels are darker than a black level of {camera.black_level:g} and a read noise of "
        f"{camera.read_noise:g} explain; give --black-level and --read-noise in the numbers of the file"
    )


def too_strong(camera: PoissonGaussian, white: float) -> str | None:
    """Why noise cannot be of a camera as it was said, and what to do; None if it can.

    Args:
      camera: as it was said.
      white: in the same numbers.
    """
    if max(camera.gain, camera.read_noise) < white:
        return None
    return (
        f"a gain of {camera.gain:g} and a read noise of {camera.read_noise:g} are too much where white is {white:g}; "
        "give both in the numbers of the file, and --white where these are floating ones"
    )


def _refuse(
    images: Pixels,
    cameras: Sequence[Sequence[PoissonGaussian]],
    mse: Floats,
    failed: Failed | None,
    *,
    estimated: bool,
) -> None:
    """Take images for failed that their camera cannot have made, as it was said: they would lose what is in them."""
    white = float(FULL[images.dtype.name])
    for at, (image, channels) in enumerate(zip(images, cameras, strict=True)):
        for channel, camera in enumerate(channels):
            strong = None if estimated else too_strong(camera, white)
            reason = strong or too_dark(camera, camera.lost(image[..., channel]))
            if reason is None or not np.ptp(image[..., channel]):
                continue
            if failed is None:
                raise ModelError(reason)
            failed.setdefault(at, reason)
            mse[at] = np.nan
