"""Models that fail for some images: an embedding of a number that is no row of its table."""

from pathlib import Path
from typing import Any

from model.backend import keras
from model.export import export

WHITE = r"InvalidArgumentError at \S+/GatherV2: indices\[0(,0)*\] = 255 is not in \[0, 255\)"  # for an image all white


def _brightness(image: Any) -> Any:
    """A number for the mean of an image's pixels, [n, 1, 1]; none for white."""
    layers = keras().layers
    mean = layers.GlobalAveragePooling2D(keepdims=True)(image)
    number = layers.Rescaling(255.0)(layers.Reshape((1,))(mean))
    return layers.Embedding(255, 1, embeddings_initializer="glorot_uniform")(number)


def autoencoder(place: Path) -> str:
    """The bundle of a variational autoencoder of 8 x 8 grey images with latents of 3 dimensions.

    Fails for a white image, and for latents whose mean is 1.28 or more, [3].
    """
    from model.layers import Sampling

    layers = keras().layers
    keras().utils.set_random_seed(3)
    image = layers.Input((8, 8, 1))
    x = layers.Concatenate()([layers.Flatten()(image), layers.Flatten()(_brightness(image))])
    mean, log_variance = (layers.Dense(3, name=name)(x) for name in ("z_mean", "z_log_var"))
    latent = Sampling(name="z")([mean, log_variance])
    number = layers.GlobalAveragePooling1D()(layers.Reshape((3, 1))(latent))
    picked = layers.Embedding(256, 64)(layers.Rescaling(100.0, 128.0)(number))
    x = layers.Add()([layers.Dense(64)(latent), layers.Flatten()(picked)])
    keras().Model(image, layers.Reshape((8, 8, 1))(x)).save(place / "fussy.keras")
    export(place / "fussy.keras", "z_mean", str(place / "fussy"), variance="z_log_var")
    return str(place / "fussy")


def denoiser(place: Path) -> str:
    """The bundle of a denoiser of grey images of any size, which fails for one that is white."""
    layers = keras().layers
    keras().utils.set_random_seed(3)
    image = layers.Input((None, None, 1))
    x = layers.Add()([layers.Conv2D(1, 3, padding="same")(image), _brightness(image)[..., None]])
    keras().Model(image, x).save(place / "any.keras")
    export(place / "any.keras", None, str(place / "any"))
    return str(place / "any")
