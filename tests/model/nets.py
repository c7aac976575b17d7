"""Networks with random weights, shaped like published ones."""

import numpy as np

from lake.core.tensorflow import keras


def plain(channels: int = 1, depth: int = 3, width: int = 8):
    """Like DnCNN: convolutions at full size, the noise taken off the image."""
    layers = keras().layers
    image = x = layers.Input((None, None, channels))
    for _ in range(depth):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    return keras().Model(image, layers.Subtract()([image, _last(layers, channels)(x)]))


def unet(channels: int = 1, depth: int = 3, width: int = 4):
    """A U-Net with a map of the noise level as second input; sides must be multiples of 2 ** depth."""
    layers = keras().layers
    image = layers.Input((None, None, channels), name="image")
    level = layers.Input((None, None, 1), name="noise_level")
    x, skips = layers.Concatenate()([image, level]), []
    for scale in range(depth):
        x = layers.Conv2D(width << scale, 3, padding="same", activation="relu")(x)
        skips.append(x)
        x = layers.Conv2D(width << scale + 1, 2, strides=2)(x)
    for scale in reversed(range(depth)):
        x = layers.Conv2DTranspose(width << scale, 2, strides=2)(x)
        x = layers.Conv2D(width << scale, 3, padding="same", activation="relu")(layers.Add()([x, skips[scale]]))
    return keras().Model([image, level], layers.Add()([image, _last(layers, channels)(x)]))


def shuffled(level_shape: tuple[int | None, ...]):
    """Like FFDNet: works on a quarter of the size, by space to depth; the level is a map or one number."""
    layers, ops = keras().layers, keras().ops
    image, level = layers.Input((None, None, 1), name="img"), layers.Input(level_shape, name="sigma")
    x = ops.nn.space_to_depth(image, 2)
    if level_shape == (None, None, 1):
        x = layers.Concatenate()([x, layers.AveragePooling2D(2)(level)])
    else:
        x = x + layers.Reshape((1, 1, 1))(level)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(4, 3, padding="same")(x)
    return keras().Model({"sigma": level, "img": image}, ops.nn.depth_to_space(x, 2))


def told_by_channel(channels: int = 3):
    """Like DRUNet: the level is the input's last channel."""
    layers = keras().layers
    given = layers.Input((None, None, channels + 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(given)
    return keras().Model(given, layers.Conv2D(channels, 3, padding="same")(x))


def blur(side: int, channels: int = 1):
    """The mean of ``side`` x ``side`` pixels, zeros beyond the border."""
    layers = keras().layers
    image = x = layers.Input((None, None, channels))
    for kernel in [(side, 1), (1, side)]:
        layer = layers.DepthwiseConv2D(kernel, padding="same", use_bias=False)
        x = layer(x)
        layer.set_weights([np.full((*kernel, channels, 1), 1 / side, np.float32)])
    return keras().Model(image, x)


def identity(channels: int):
    """What goes in comes out."""
    layers = keras().layers
    image = layers.Input((None, None, channels))
    return keras().Model(image, layers.Identity()(image))


def _last(layers, channels: int):
    small = keras().initializers.RandomNormal(0, 0.05)
    return layers.Conv2D(channels, 3, padding="same", kernel_initializer=small)


def open_autoencoder(upsampling: str | None = None, variance: bool = False, skip: bool = False):
    """Eight times down and up again, for images of any size; the latent is ``latent``.

    Args:
      upsampling: interpolation of the layers that make images larger; None for transposed convolutions.
      variance: a convolution ``log_variance`` beside the latent.
      skip: the image also reaches the output around the latent.
    """
    layers = keras().layers
    image = x = layers.Input((None, None, 3))
    for width in (8, 12, 16):
        x = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
        x = layers.Add()([x, layers.Conv2D(width, 3, padding="same", activation="relu")(x)])
    z = latent = layers.Conv2D(4, 1, name="latent")(x)
    if variance:  # as a loss would take it in training
        z = layers.Add()([latent, layers.Rescaling(0.0)(layers.Conv2D(4, 1, name="log_variance")(x))])
    x = z
    for width in (16, 12, 8):
        if upsampling is None:
            x = layers.Conv2DTranspose(width, 4, strides=2, padding="same", activation="relu")(x)
        else:
            x = layers.UpSampling2D(2, interpolation=upsampling)(x)
            x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    x = layers.Concatenate()([x, image]) if skip else x
    wide = keras().initializers.RandomNormal(0, 3)  # so that outputs are of many shades
    return keras().Model(image, layers.Conv2D(3, 3, padding="same", activation="sigmoid", kernel_initializer=wide)(x))


def pyramid():
    """An autoencoder of 8 x 8 with features at two resolutions, ``high`` and ``low``, and a ``code``."""
    keras().utils.set_random_seed(3)
    layers = keras().layers
    image = layers.Input((8, 8, 1))
    high = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="high")(image)
    low = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="low")(high)
    code = layers.Dense(5, name="code")(layers.Flatten()(low))
    output = layers.Reshape((8, 8, 1))(layers.Dense(64, activation="sigmoid")(code))
    return keras().Model(image, output)
