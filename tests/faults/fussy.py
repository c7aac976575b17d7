"""Models that fail for some images, by an embedding of a number that is no row of its table, or that overflow."""

from pathlib import Path
from typing import Any

from lake.core.tensorflow import keras
from model.export import export
from model.preprocessing import Preprocessing

WHITE = (  # for an image all white, on either executor
    r"InvalidArgumentError at \S+/GatherV2: indices\[0(,0)*\] = 255 is not in \[0, 255\)"
    r"|invalid_argument at Gather: .*idx=255 must be within the inclusive range \[-255,254\]"
)


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
    from model.keras.layers import Sampling

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


def denoiser(place: Path, noise_range: tuple[float, float] | None = None) -> str:
    """The bundle of a denoiser of grey images of any size, which fails for one that is white.

    With a range it is told the noise level, and half the level is added to every pixel.
    """
    layers = keras().layers
    keras().utils.set_random_seed(3)
    image = layers.Input((None, None, 1))
    x = layers.Add()([layers.Conv2D(1, 3, padding="same")(image), _brightness(image)[..., None]])
    if noise_range is None:
        keras().Model(image, x).save(place / "any.keras")
        return export(place / "any.keras", None, str(place / "any")).uri
    level = layers.Input((None, None, 1), name="sigma")
    keras().Model([image, level], layers.Add()([x, layers.Rescaling(0.5)(level)])).save(place / "told.keras")
    given = Preprocessing(noise_input="sigma", noise_range=noise_range)
    return export(place / "told.keras", None, str(place / "told"), given).uri


def overflowing(place: Path, where: str) -> str:
    """The bundle of a variational autoencoder of 8 x 8 grey images whose 'mean', 'variance' or 'output' is infinite
    for a white image, or whose 'decoder' gives infinite images for large latents; or of a denoiser of any size ('any').
    """
    from model.keras.layers import Sampling

    layers = keras().layers
    keras().utils.set_random_seed(4)
    image = layers.Input((None, None, 1) if where == "any" else (8, 8, 1))
    bright = layers.ReLU()(layers.Rescaling(1.0, -0.999)(layers.GlobalAveragePooling2D(keepdims=True)(image)))
    infinite = layers.Activation("exponential")(layers.Rescaling(1e6)(bright))  # [n, 1, 1, 1]: 1 for any other image
    if where == "any":
        model, names = keras().Model(image, layers.Add()([image, infinite])), {}
    else:
        flat, number = layers.Flatten()(image), layers.Reshape((1,))(infinite)
        mean, log_variance = (layers.Dense(3)(flat) for _ in range(2))
        mean = layers.Add(name="z_mean")([mean, number] if where == "mean" else [mean, mean])
        log_variance = layers.Add(name="z_log_var")([log_variance, number if where == "variance" else log_variance])
        output = layers.Reshape((8, 8, 1))(layers.Dense(64)(Sampling(name="z")([mean, log_variance])))
        output = layers.Add()([output, infinite]) if where == "output" else layers.Activation("exponential")(output)
        model, names = keras().Model(image, output), {"latent": "z_mean", "variance": "z_log_var"}
    model.save(place / f"{where}.keras")
    bundle = export(place / f"{where}.keras", names.get("latent"), str(place / where), variance=names.get("variance"))
    return bundle.uri
