"""Noise of photons in the images of a training: its camera, and what a job makes of it for the network."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lake.core.errors import UsageError
from lake.images.anscombe import PoissonGaussian
from lake.images.photon_noise import estimate_common_camera
from model.photon_denoiser import stabilised, too_dark, too_strong
from model.pixels import FULL, Pixels
from model.training.self_supervised.options import SelfSupervisedOptions

_WITH_ALPHA = (2, 4)  # channels of which a job leaves out the last one


def camera_of(options: SelfSupervisedOptions, images: Sequence[Pixels], channels: int) -> PoissonGaussian:
    """The camera that took the images: what the options say, or estimated over all of them.

    Args:
      options: of the training.
      images: ``[H, W, shots * C]`` in the numbers of their pixels, floating ones with white at 1.
      channels: number C of channels of one shot.

    Returns:
      It in the numbers of the files: of floating ones on the scale whose white is ``--white``.

    Raises:
      UsageError: the images have several types, or channels of which the last is alpha for a job, or their noise does
        not grow with brightness.
    """
    types = {image.dtype.name for image in images}
    if len(types) > 1:
        raise UsageError(f"images of {' and '.join(sorted(types))}: a camera's noise is in the numbers of one of them")
    if channels in _WITH_ALPHA:
        raise UsageError(f"--noise {options.noise} is not for images of {channels} channels; give --noise-level")
    if options.gain is not None and options.read_noise is not None:
        gain, read_noise = float(options.gain), float(options.read_noise)  # a bundle takes no whole numbers
        return PoissonGaussian(gain=gain, read_noise=read_noise, black_level=float(options.black_level))
    scale = _scale(options, images[0])
    found = estimate_common_camera(images, options.black_level / scale)
    if not found.gain:
        raise UsageError(
            f"--noise {options.noise}: the noise of these images does not grow with their brightness; give "
            f"--noise-level estimate instead, or --gain and --read-noise of the camera"
        )
    return scaled(found, scale)


def levels_of(
    images: Sequence[Pixels], camera: PoissonGaussian, options: SelfSupervisedOptions
) -> tuple[PoissonGaussian, list[float], list[float]]:
    """The camera in the numbers of the images, the levels of their noise as a job shows them, and what black is then.

    Args:
      images: as ``camera_of`` takes them.
      camera: in the numbers of the files.
      options: of the training.

    Raises:
      UsageError: the camera cannot have made the images.
    """
    own = scaled(camera, 1 / _scale(options, images[0]))
    lost = float(np.mean([own.lost(image) for image in images]))
    if reason := too_strong(own, FULL[images[0].dtype.name]) or too_dark(camera, lost):
        raise UsageError(reason)
    found = [stabilised(image[None], [(own,) * image.shape[2]])[1:] for image in images]
    blacks, _, levels = zip(*found, strict=True)
    return own, [float(level[0]) for level in levels], [float(black[0]) for black in blacks]


def scaled(camera: PoissonGaussian, scale: float) -> PoissonGaussian:
    """A camera in numbers that are so many times as large.

    >>> scaled(PoissonGaussian(gain=2, read_noise=3, black_level=100), 0.5)
    PoissonGaussian(gain=1.0, read_noise=1.5, black_level=50.0)
    """
    return replace(
        camera,
        gain=camera.gain * scale,
        read_noise=camera.read_noise * scale,
        black_level=camera.black_level * scale,
    )


def _scale(options: SelfSupervisedOptions, image: Pixels) -> float:
    """What floating pixels were divided by."""
    return float(options.policy.get("white", 1.0)) if np.issubdtype(image.dtype, np.floating) else 1.0
