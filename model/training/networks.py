"""The networks that ``latentlake train`` trains."""

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from lake.core.tensorflow import keras


def build_autoencoder(input_shape: tuple[int, int, int], latent_dim: int = 128) -> Any:
    """Build a convolutional autoencoder of images in 0..1.

    Example:
      ```python
      model = build_autoencoder((28, 28, 1), latent_dim=32)
      model.compile("adam", "mse")
      model.fit(images, images)
      model.save("my.keras")  # latentlake export my.keras --latent encoded --output bundle
      ```

    Args:
      input_shape: (H, W, C), any positive sizes. The output has the same shape.
      latent_dim: length D of the output of layer ``encoded``.

    Returns:
      Keras model ``autoencoder``, float32 ``[n, H, W, C]`` in 0..1 to the same. Latents are not negative. For 28 x 28 x
      1 and 128 latents it has 880,577 parameters.

    Raises:
      ValueError: a size is not positive.
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
    x = layers.Reshape(spatial, name="spatial")(x)  # [n, H/4, W/4, 64]
    x = layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu", name="up_1")(x)
    x = layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu", name="up_2")(x)  # [n, >=H, >=W, 32]
    x = _cropped(x, height, width)  # [n, H, W, 32]
    x = layers.Conv2DTranspose(channels, 3, padding="same", activation="sigmoid", name="decoded")(x)  # [n, H, W, C]
    return keras().Model(image, x, name="autoencoder")


def build_vae(input_shape: tuple[int, int, int], latent_dim: int = 32) -> Any:
    """Build a convolutional variational autoencoder of images in 0..1 (Kingma and Welling 2014).

    Args:
      input_shape: (H, W, C), any positive sizes. The output has the same shape.
      latent_dim: length D of a latent, whose prior is standard normal.

    Returns:
      Keras model ``vae``, float32 ``[n, H, W, C]`` in 0..1 to the probability that each pixel is white, of the same
      shape. Layers ``z_mean`` and ``z_log_var`` give the mean and the logarithm of the variance of the latent, ``[n,
      D]``. Layer ``z`` samples from that distribution in training and gives the mean in inference. Layer ``logits`` is
      the output before its sigmoid.

    Raises:
      ValueError: a size is not positive.
    """
    _check_positive("input_shape", *input_shape)
    _check_positive("latent_dim", latent_dim)
    from model.keras.layers import Sampling

    layers = keras().layers
    height, width, channels = input_shape
    image = layers.Input(input_shape, name="encoder_input")
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="silu", name="down_1")(image)  # [n, H/2, W/2, 32]
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="silu", name="down_2")(x)  # [n, H/4, W/4, 64]
    spatial = (*x.shape[1:3], 32)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(256, activation="silu", name="compressed")(x)  # [n, 256]
    mean = layers.Dense(latent_dim, name="z_mean")(x)  # [n, D]
    log_variance = layers.Dense(latent_dim, name="z_log_var")(x)  # [n, D]
    x = Sampling(name="z")([mean, log_variance])  # [n, D]
    x = layers.Dense(256, activation="silu", name="widened")(x)  # [n, 256]
    x = layers.Dense(prod(spatial), activation="silu", name="expanded")(x)
    x = layers.Reshape(spatial, name="spatial")(x)
    x = layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="silu", name="up_1")(x)
    x = layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="silu", name="up_2")(x)  # [n, >=H, >=W, 16]
    x = _cropped(x, height, width)
    x = layers.Conv2D(channels, 3, padding="same", name="logits")(x)  # [n, H, W, C]
    x = layers.Activation("sigmoid", name="decoded")(x)
    return keras().Model(image, x, name="vae")


# Channels at 1/2, 1/4 and 1/8 of the image's resolution. Three colours have more to say than one.
_GRAY_WIDTHS, _COLOR_WIDTHS = (60, 80, 124), (72, 96, 140)
_DOWN_BLOCKS = (2, 2, 2)
_UP_BLOCKS = (3, 2)


def build_denoiser(channels: int = 1, precision: str = "float32") -> Any:
    """Build a denoiser for images of any size: a U-Net of residual blocks without biases.

    The sides of the images must be multiples of 8. The noise level is an input (as in FFDNet, Zhang et al. 2018).
    Without biases the network is homogeneous: scaling an image and its noise level scales the output (Mohan et al.
    2020). It has 1,456,816 weights for one channel and 2,000,544 for three.

    Args:
      channels: number C of the image's channels.
      precision: 'float32', or 'bfloat16' to compute all but the last sum in bfloat16, with float32 weights.

    Returns:
      Keras model ``denoiser``. Inputs: ``image``, float32 ``[n, H, W, C]`` with noise, and ``noise_level``, float32
      ``[n, H, W, 1]``, the standard deviation of the noise at each pixel; white is 1 in both. Output: the denoised
      image.
    """
    layers = keras().layers
    make = _Blocks("mixed_bfloat16" if precision == "bfloat16" else precision)
    image = layers.Input((None, None, channels), name="image")
    level = layers.Input((None, None, 1), name="noise_level")
    x = layers.Concatenate(dtype=make.dtype, name="noisy")([image, level])  # [n, H, W, C + 1]
    skips, widths = [], _GRAY_WIDTHS if channels == 1 else _COLOR_WIDTHS
    for depth, width in enumerate(widths):
        x = make.resized(x, width, f"down_{depth + 1}", layers.Conv2D)
        x = make.blocks(x, width, _DOWN_BLOCKS[depth], f"down_{depth + 1}")
        skips.append(x)  # for one channel [n, H/2, W/2, 60], [n, H/4, W/4, 80], [n, H/8, W/8, 124]
    for depth in reversed(range(len(widths) - 1)):
        x = make.resized(x, widths[depth], f"up_{depth + 1}", layers.Conv2DTranspose)
        x = layers.Add(dtype=make.dtype, name=f"up_{depth + 1}_skip")([x, skips[depth]])
        x = make.blocks(x, widths[depth], _UP_BLOCKS[depth], f"up_{depth + 1}")
    # Small weights: the untrained network nearly returns its input.
    small = keras().initializers.RandomNormal(0, 0.01)
    x = layers.Conv2DTranspose(
        channels, 2, strides=2, use_bias=False, dtype="float32", kernel_initializer=small, name="change"
    )(x)
    x = layers.Add(dtype="float32", name="denoised")([image, x])
    return keras().Model([image, level], x, name="denoiser")


class _Blocks:
    """The building blocks of the denoiser, in one dtype policy."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def resized(self, x: Any, width: int, name: str, layer: Any) -> Any:
        """Halve or double the sides."""
        return layer(width, 2, strides=2, use_bias=False, dtype=self.dtype, name=name)(x)

    def blocks(self, x: Any, width: int, count: int, name: str) -> Any:
        """Apply residual blocks of two convolutions each."""
        # The second convolution begins small, so that a block begins near the identity.
        layers, initializers = keras().layers, keras().initializers
        given = {"padding": "same", "use_bias": False, "dtype": self.dtype}
        for part in (f"{name}_block_{number + 1}" for number in range(count)):
            first, second = initializers.get("he_normal"), initializers.VarianceScaling(0.1)
            y = layers.Conv2D(width, 3, activation="relu", kernel_initializer=first, name=f"{part}_in", **given)(x)
            y = layers.Conv2D(width, 3, kernel_initializer=second, name=f"{part}_out", **given)(y)
            x = layers.Add(dtype=self.dtype, name=part)([x, y])
        return x


def residual_blocks(model: Any) -> list[tuple[Any, Any]]:
    """The residual blocks of a denoiser, in order: the convolution with a ReLU, and the one that reads it.

    Args:
      model: of ``build_denoiser``.
    """
    names = [layer.name.removesuffix("_in") for layer in model.layers if layer.name.endswith("_in")]
    return [(model.get_layer(f"{name}_in"), model.get_layer(f"{name}_out")) for name in names]


def _cropped(x: Any, height: int, width: int) -> Any:
    if x.shape[1:3] == (height, width):
        return x
    # Two strides of 2 with padding "same" round sides up to multiples of 4.
    return keras().layers.Cropping2D(((0, x.shape[1] - height), (0, x.shape[2] - width)), name="cropped")(x)


def build_dense_autoencoder(
    input_dim: int,
    latent_dim: int = 128,
    mean: npt.NDArray[np.float64] | None = None,
    variance: npt.NDArray[np.float64] | None = None,
) -> Any:
    """Build an autoencoder of numeric vectors of any range, with linear latents and output.

    Args:
      input_dim: length d of a vector.
      latent_dim: length D of the output of layer ``encoded``.
      mean: mean of each element of the data, ``[d]``. With it the network standardizes its input and undoes that on its
        output.
      variance: variance of each element, ``[d]``. Given together with the mean; None for data near mean 0 and variance
        1.

    Returns:
      Keras model ``autoencoder``, float32 ``[n, d]`` to the same.

    Raises:
      ValueError: a size is not positive.
    """
    _check_positive("input_dim", input_dim)
    _check_positive("latent_dim", latent_dim)
    layers = keras().layers
    hidden = max(32, min(512, 2 * input_dim))
    statistics = None if mean is None or variance is None else {"mean": mean, "variance": variance}
    vector = x = layers.Input((input_dim,), name="encoder_input")
    if statistics:
        x = layers.Normalization(**statistics, name="standardized")(x)
    x = layers.Dense(hidden, activation="relu", name="down")(x)  # [n, hidden]
    x = layers.Dense(latent_dim, name="encoded")(x)  # [n, D]
    x = layers.Dense(hidden, activation="relu", name="up")(x)
    x = layers.Dense(input_dim, name="decoded")(x)  # [n, d]
    if statistics:
        x = layers.Normalization(**statistics, invert=True, name="restored")(x)
    return keras().Model(vector, x, name="autoencoder")


def _check_positive(name: str, *values: int) -> None:
    if min(values) < 1:
        raise ValueError(f"{name} is {values}; every size must be at least 1")
