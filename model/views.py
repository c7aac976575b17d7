"""Slightly moved copies of images."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from model.backend import tensorflow

# most of: turn, scale of either side, shear, shift of either side as a share of it
_AMOUNTS = (math.radians(15), 0.15, 0.15, 0.2, 0.07, 0.07)


def moved(images: npt.NDArray[np.float32], rng: np.random.Generator) -> Any:
    """Each image turned, scaled, sheared and shifted by a little about its centre, its border continued outwards.

    Args:
      images: [n, H, W, C].
      rng: draws each image's movement, uniformly: up to 15 degrees, 15% of either scale, a shear of 0.2, 7% of a side.

    Returns:
      A tensor of the same shape, by bilinear interpolation.
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
    """Rows (a, b, c, d, e, f, 0, 0): the pixel (x, y) of a copy is taken from (ax + by + c, dx + ey + f)."""
    turn, wide, high, shear, right, down = (rng.uniform(-1, 1, (6, count)).T * _AMOUNTS).T
    a, b = np.cos(turn) * (1 + wide), -np.sin(turn) * (1 + high) + shear
    d, e = np.sin(turn) * (1 + wide), np.cos(turn) * (1 + high)
    x, y = (width - 1) / 2, (height - 1) / 2
    c, f = x - a * x - b * y + right * width, y - d * x - e * y + down * height
    return np.stack([a, b, c, d, e, f, np.zeros(count), np.zeros(count)], axis=1).astype(np.float32)
