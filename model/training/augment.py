"""Augmentation: random affine transforms of images."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lake.core.tensorflow import tensorflow

# Largest rotation (radians), scaling of width and of height, shear, shift to the right and down (fractions of the
# side).
_AMOUNTS = (math.radians(15), 0.15, 0.15, 0.2, 0.07, 0.07)


def random_affine(images: npt.NDArray[np.float32], rng: np.random.Generator) -> Any:
    """Rotate, scale, shear and shift each image about its center by a small random amount.

    The amounts are uniform, up to 15 degrees of rotation, 15% of scaling on either axis, a shear of 0.2 and a shift of
    7% of a side. Pixels from outside the image repeat its border.

    Args:
      images: float32 ``[n, H, W, C]``.
      rng: source of the random amounts.

    Returns:
      A tensor of the same shape, interpolated bilinearly.
    """
    count, height, width = images.shape[:3]
    return tensorflow().raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=_transforms(rng, count, height, width),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )


def _transforms(rng: np.random.Generator, count: int, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return rows (a, b, c, d, e, f, 0, 0): pixel (x, y) of the result comes from (ax + by + c, dx + ey + f).

    This is the form that TensorFlow's ``ImageProjectiveTransformV3`` takes.
    """
    turn, wide, high, shear, right, down = (rng.uniform(-1, 1, (6, count)).T * _AMOUNTS).T
    a, b = np.cos(turn) * (1 + wide), -np.sin(turn) * (1 + high) + shear
    d, e = np.sin(turn) * (1 + wide), np.cos(turn) * (1 + high)
    x, y = (width - 1) / 2, (height - 1) / 2
    c, f = x - a * x - b * y + right * width, y - d * x - e * y + down * height
    return np.stack([a, b, c, d, e, f, np.zeros(count), np.zeros(count)], axis=1).astype(np.float32)
