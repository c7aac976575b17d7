"""What ``model train --kind`` trains in passes over samples. A new kind is one line here and its network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.networks import build_autoencoder, build_dense_autoencoder, build_vae
from model.objectives import Objective, negative_elbo, squared_error
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
      objective: what it is trained for, given the noise to put on its input, where white is 1, and the weight of
        agreement; see ``squared_error``.
      variance: name of the layer that puts out the logarithm of the latent's variance, where there is one.
      decay: share of the training, at its end, in which the learning rate falls to 0, as a cosine does.
      options: what of noise and agreement can be asked for.
    """

    numeric: bool
    latent: str
    build: Callable[[Shape, int, Statistics], Any]
    objective: Callable[[float, float], Objective] = squared_error
    variance: str | None = None
    decay: float = 0.25
    options: tuple[str, ...] = ()


def _autoencoder(shape: Shape, latent_dim: int, _: Statistics) -> Any:
    height, width, channels = shape
    return build_autoencoder((height, width, channels), latent_dim)


def _vae(shape: Shape, latent_dim: int, _: Statistics) -> Any:
    height, width, channels = shape
    return build_vae((height, width, channels), latent_dim)


def _dense(shape: Shape, latent_dim: int, statistics: Statistics) -> Any:
    return build_dense_autoencoder(shape[0], latent_dim, statistics.mean, statistics.variance)


TRAINED = {
    "autoencoder": Kind(numeric=False, latent="encoded", build=_autoencoder, options=("noise", "agreement")),
    "vae": Kind(numeric=False, latent="z_mean", variance="z_log_var", build=_vae, objective=lambda *_: negative_elbo()),
    "dense": Kind(numeric=True, latent="encoded", build=_dense),
}
