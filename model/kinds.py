"""What ``model train --kind`` can train. A new kind is one line here and its network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.networks import build_autoencoder, build_dense_autoencoder
from model.spec import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Of the training data, element by element: float64 [d], or one number for images, whose range is known."""

    mean: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A network and how it is trained.

    Attributes:
      numeric: it takes vectors; else images.
      latent: name of the layer that puts out the latent.
      build: makes the untrained model from the input's shape, the length of the latent and the data's statistics.
    """

    numeric: bool
    latent: str
    build: Callable[[Shape, int, Statistics], Any]


def _autoencoder(shape: Shape, latent_dim: int, _: Statistics) -> Any:
    height, width, channels = shape
    return build_autoencoder((height, width, channels), latent_dim)


def _dense(shape: Shape, latent_dim: int, statistics: Statistics) -> Any:
    return build_dense_autoencoder(shape[0], latent_dim, statistics.mean, statistics.variance)


TRAINED = {
    "autoencoder": Kind(numeric=False, latent="encoded", build=_autoencoder),
    "dense": Kind(numeric=True, latent="encoded", build=_dense),
}
