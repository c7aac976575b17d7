"""The network of a blind-spot training: it has no way by which a pixel could pass as it is."""

from typing import Any

import numpy as np

from lake.core.tensorflow import keras

_WIDTHS = (32, 64, 96, 128)  # channels at 1/1, 1/2, 1/4 and 1/8 of the image's resolution
_BINOMIAL = np.outer((1, 2, 1), (1, 2, 1)) / 16


def build_blind_denoiser(channels: int = 1, precision: str = "float32") -> Any:
    """Build a denoiser that is told no noise level, for images of any size with a mean of 0 and a deviation of 1.

    A U-Net with the changes of N2V2 (Höck et al. 2022): no residual, no skip at full resolution, and blurring before
    every halving (Zhang 2019). Hidden pixels are then told without a pattern of squares.

    Args:
      channels: number C of the image's channels.
      precision: 'float32', or 'bfloat16' to compute all but the last convolution in bfloat16, with float32 weights.

    Returns:
      Keras model ``blind_denoiser``, float32 ``[n, H, W, C]`` to the same. H and W must be multiples of 8.
    """
    layers = keras().layers
    make = _Layers("mixed_bfloat16" if precision == "bfloat16" else precision)
    image = layers.Input((None, None, channels), name="image")
    x, skips = make.convolutions(image, _WIDTHS[0], "full"), []
    for depth, width in enumerate(_WIDTHS[1:], 1):
        x = make.convolutions(make.halved(x, f"down_{depth}"), width, f"down_{depth}")
        skips.append(x)  # [n, H/2, W/2, 64], [n, H/4, W/4, 96], [n, H/8, W/8, 128]
    for depth in reversed(range(1, len(_WIDTHS) - 1)):
        x = make.doubled(x, _WIDTHS[depth], f"up_{depth}")
        x = layers.Add(dtype=make.dtype, name=f"up_{depth}_skip")([x, skips[depth - 1]])
        x = make.convolutions(x, _WIDTHS[depth], f"up_{depth}")
    x = make.convolutions(make.doubled(x, _WIDTHS[0], "up_0"), _WIDTHS[0], "last")
    x = layers.Conv2D(channels, 3, padding="same", dtype="float32", name="denoised")(x)
    return keras().Model(image, x, name="blind_denoiser")


class _Layers:
    """The parts of the network, in one dtype policy."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def convolutions(self, x: Any, width: int, name: str) -> Any:
        for number in (1, 2):
            layer = keras().layers.Conv2D(
                width, 3, padding="same", activation="relu", kernel_initializer="he_normal", dtype=self.dtype,
                name=f"{name}_{number}",
            )  # fmt: skip
            x = layer(x)
        return x

    def halved(self, x: Any, name: str) -> Any:
        """Blurred, so that halving folds no high frequencies down."""
        width = x.shape[-1]
        blur = keras().layers.DepthwiseConv2D(
            3, strides=2, padding="same", use_bias=False, trainable=False, dtype=self.dtype, name=f"{name}_blur"
        )
        made = blur(x)
        blur.set_weights([np.repeat(_BINOMIAL[:, :, None, None], width, axis=2)])
        return made

    def doubled(self, x: Any, width: int, name: str) -> Any:
        layers = keras().layers
        x = layers.Conv2D(width, 1, dtype=self.dtype, name=f"{name}_narrowed")(x)
        return layers.UpSampling2D(2, dtype=self.dtype, name=f"{name}_doubled")(x)
