"""The registry of networks that are trained in epochs. A new kind is one line here and its network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.input_spec import Shape
from model.training.losses import Objective, negative_elbo, squared_error
from model.training.networks import build_autoencoder, build_dense_autoencoder, build_vae


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Statistics of the training data.

    Attributes:
      mean: mean of each element, float64 ``[d]``; one number for images, which do not need it.
      variance: variance of each element, float64 ``[d]``; one number for images.
      low: smallest value.
      high: largest value.
    """

    mean: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A network and how it is trained.

    Attributes:
      numeric: whether it takes vectors; otherwise images.
      latent: name of the layer whose output is the latent.
      build: makes the untrained model from the input shape, the length of the latent, and the statistics of the data.
      objective: makes the objective from the standard deviation of the noise on the input (white is 1) and the weight
        of the agreement; see ``squared_error``.
      variance: name of the layer that gives the logarithm of the latent's variance; None for a network without one.
      decay: share of the training, at its end, in which the learning rate falls to 0 along a cosine.
      options: which of noise and agreement the user may set.
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
