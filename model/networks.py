"""The networks that ``model train`` trains."""

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from model.backend import keras


def build_autoencoder(input_shape: tuple[int, int, int], latent_dim: int = 128) -> Any:
    """A convolutional autoencoder of images in 0..1.

    Args:
      input_shape: (H, W, C), any positive sizes; the output has the same.
      latent_dim: length of the output of layer ``encoded``.

    Returns:
      Keras model ``autoencoder``: float32 [n, H, W, C] in 0..1 -> the same; latents are not negative.
    """
    _check_positive("input_shape", *input_shape)
    _check_positive("latent_dim", latent_dim)
    layers = keras().layers
    height, width, channels = input_shape
    image = layers.Input(input_shape, name="encoder_input")
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="down_1")(image)  # [n, H/2, W/2, 32]
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu", name="down_2")(x)  # [n, H/4, W/4, 64]
    spatial = x.shape[1:]
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(latent_dim, activation="relu", name="encoded")(x)  # [n, D]
    x = layers.Dense(prod(spatial), activation="relu", name="expanded")(x)
    x = layers.Reshape(spatial, name="spatial")(x)
    x = layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu", name="up_1")(x)
    x = layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu", name="up_2")(x)  # [n, >=H, >=W, 32]
    if x.shape[1:3] != (height, width):
        x = layers.Cropping2D(((0, x.shape[1] - height), (0, x.shape[2] - width)), name="cropped")(x)  # [n, H, W, 32]
    x = layers.Conv2DTranspose(channels, 3, padding="same", activation="sigmoid", name="decoded")(x)
    return keras().Model(image, x, name="autoencoder")


def build_dense_autoencoder(
    input_dim: int,
    latent_dim: int = 128,
    mean: npt.NDArray[np.float64] | None = None,
    variance: npt.NDArray[np.float64] | None = None,
) -> Any:
    """An autoencoder of numeric vectors of any range, with linear latents and output.

    Args:
      input_dim: length d of a vector.
      latent_dim: length of the output of layer ``encoded``.
      mean: of each element in the data, [d]; with it the network standardizes its input and brings its output back.
      variance: of each element in the data, [d]; given with the mean, or both None for data near mean 0, variance 1.

    Returns:
      Keras model ``autoencoder``: float32 [n, d] -> the same.
    """
    _check_positive("input_dim", input_dim)
    _check_positive("latent_dim", latent_dim)
    layers = keras().layers
    hidden = max(32, min(512, 2 * input_dim))
    statistics = None if mean is None or variance is None else {"mean": mean, "variance": variance}
    vector = x = layers.Input((input_dim,), name="encoder_input")
    if statistics:
        x = layers.Normalization(**statistics, name="standardized")(x)
    x = layers.Dense(hidden, activation="relu", name="down")(x)
    x = layers.Dense(latent_dim, name="encoded")(x)  # [n, D]
    x = layers.Dense(hidden, activation="relu", name="up")(x)
    x = layers.Dense(input_dim, name="decoded")(x)
    if statistics:
        x = layers.Normalization(**statistics, invert=True, name="restored")(x)
    return keras().Model(vector, x, name="autoencoder")


def _check_positive(name: str, *values: int) -> None:
    if min(values) < 1:
        raise ValueError(f"{name} is {values}; every size must be at least 1")
