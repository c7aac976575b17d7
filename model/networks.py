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
    spatial = (*x.shape[1:3], 32)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(latent_dim, activation="relu", name="encoded")(x)  # [n, D]
    x = layers.Dense(prod(spatial), activation="relu", name="expanded")(x)
    x = layers.Reshape(spatial, name="spatial")(x)  # [n, H/4, W/4, 32]
    x = layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu", name="up_1")(x)
    x = layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu", name="up_2")(x)  # [n, >=H, >=W, 16]
    x = _cropped(x, height, width)  # [n, H, W, 16]
    x = layers.Conv2DTranspose(channels, 3, padding="same", activation="sigmoid", name="decoded")(x)
    return keras().Model(image, x, name="autoencoder")


def build_vae(input_shape: tuple[int, int, int], latent_dim: int = 32) -> Any:
    """A convolutional variational autoencoder of images in 0..1 (Kingma and Welling, 2014).

    Args:
      input_shape: (H, W, C), any positive sizes; the output has the same.
      latent_dim: length D of a latent, whose prior is standard normal.

    Returns:
      Keras model ``vae``: float32 [n, H, W, C] in 0..1 -> the probability that a pixel is white, the same shape. Layers
      ``z_mean`` and ``z_log_var`` put out the latent's mean and the logarithm of its variance, [n, D]; ``z`` draws from
      them in training and passes the mean on in inference; ``logits`` is the output before its sigmoid.
    """
    _check_positive("input_shape", *input_shape)
    _check_positive("latent_dim", latent_dim)
    from model.layers import Sampling

    layers = keras().layers
    height, width, channels = input_shape
    image = layers.Input(input_shape, name="encoder_input")
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="silu", name="down_1")(image)  # [n, H/2, W/2, 32]
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="silu", name="down_2")(x)  # [n, H/4, W/4, 64]
    spatial = (*x.shape[1:3], 32)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(256, activation="silu", name="compressed")(x)
    mean = layers.Dense(latent_dim, name="z_mean")(x)  # [n, D]
    log_variance = layers.Dense(latent_dim, name="z_log_var")(x)  # [n, D]
    x = Sampling(name="z")([mean, log_variance])
    x = layers.Dense(256, activation="silu", name="widened")(x)
    x = layers.Dense(prod(spatial), activation="silu", name="expanded")(x)
    x = layers.Reshape(spatial, name="spatial")(x)
    x = layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="silu", name="up_1")(x)
    x = layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="silu", name="up_2")(x)  # [n, >=H, >=W, 16]
    x = _cropped(x, height, width)
    x = layers.Conv2D(channels, 3, padding="same", name="logits")(x)
    x = layers.Activation("sigmoid", name="decoded")(x)
    return keras().Model(image, x, name="vae")


_WIDTHS = (60, 80, 124)  # channels at 1/2, 1/4 and 1/8 of the image's resolution
_DOWN_BLOCKS = (2, 2, 2)
_UP_BLOCKS = (3, 2)


def build_denoiser(channels: int = 1, precision: str = "float32") -> Any:
    """A denoiser of images of any size whose sides are multiples of 8: a U-Net of residual blocks without any bias.

    It is told the noise level (as FFDNet, Zhang et al. 2018), and without biases what it does to an image scales with
    the image and the level (Mohan et al. 2020). It has 1,451,296 weights for one channel.

    Args:
      channels: C of the image.
      precision: 'bfloat16' computes all but the last sum in it, on float32 weights; 'float32' computes in float32.

    Returns:
      Keras model ``denoiser`` of the inputs ``image``, float32 [n, H, W, C] with noise, and ``noise_level``, float32
      [n, H, W, 1], the noise's standard deviation at each pixel, both where white is 1 -> the image without the noise.
    """
    layers = keras().layers
    make = _Blocks("mixed_bfloat16" if precision == "bfloat16" else precision)
    image = layers.Input((None, None, channels), name="image")
    level = layers.Input((None, None, 1), name="noise_level")
    x = layers.Concatenate(dtype=make.dtype, name="noisy")([image, level])
    skips = []
    for depth, width in enumerate(_WIDTHS):
        x = make.resized(x, width, f"down_{depth + 1}", layers.Conv2D)
        x = make.blocks(x, width, _DOWN_BLOCKS[depth], f"down_{depth + 1}")
        skips.append(x)  # [n, H/2, W/2, 60], [n, H/4, W/4, 80], [n, H/8, W/8, 124]
    for depth in reversed(range(len(_WIDTHS) - 1)):
        x = make.resized(x, _WIDTHS[depth], f"up_{depth + 1}", layers.Conv2DTranspose)
        x = layers.Add(dtype=make.dtype, name=f"up_{depth + 1}_skip")([x, skips[depth]])
        x = make.blocks(x, _WIDTHS[depth], _UP_BLOCKS[depth], f"up_{depth + 1}")
    small = keras().initializers.RandomNormal(0, 0.01)  # at first the output is nearly the input
    x = layers.Conv2DTranspose(
        channels, 2, strides=2, use_bias=False, dtype="float32", kernel_initializer=small, name="change"
    )(x)
    x = layers.Add(dtype="float32", name="denoised")([image, x])
    return keras().Model([image, level], x, name="denoiser")


class _Blocks:
    """Parts of the denoiser, in one dtype policy."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def resized(self, x: Any, width: int, name: str, layer: Any) -> Any:
        """Half or twice the sides."""
        return layer(width, 2, strides=2, use_bias=False, dtype=self.dtype, name=name)(x)

    def blocks(self, x: Any, width: int, count: int, name: str) -> Any:
        """Residual blocks of two convolutions; the second begins small, so that a block begins near the identity."""
        layers, initializers = keras().layers, keras().initializers
        given = {"padding": "same", "use_bias": False, "dtype": self.dtype}
        for part in (f"{name}_block_{number + 1}" for number in range(count)):
            first, second = initializers.get("he_normal"), initializers.VarianceScaling(0.1)
            y = layers.Conv2D(width, 3, activation="relu", kernel_initializer=first, name=f"{part}_in", **given)(x)
            y = layers.Conv2D(width, 3, kernel_initializer=second, name=f"{part}_out", **given)(y)
            x = layers.Add(dtype=self.dtype, name=part)([x, y])
        return x


def _cropped(x: Any, height: int, width: int) -> Any:
    if x.shape[1:3] == (height, width):
        return x
    return keras().layers.Cropping2D(((0, x.shape[1] - height), (0, x.shape[2] - width)), name="cropped")(x)


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
