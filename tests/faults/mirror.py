"""Models whose latent is their input: a latent table then shows what the model was given, pixel by pixel."""

from pathlib import Path
from typing import Any

from lake.core.tensorflow import keras
from model.export import export

DAZZLING = 254 / 255  # pixels of an image for which the latent is infinite
WHITE = 1.0  # and of one for which the model raises an error
_DIM = 0.995  # the brightest mean that leaves the latent finite


def mirror(place: Path, shape: tuple[int, ...]) -> str:
    """The bundle of an autoencoder of images ``[H, W, C]`` or vectors ``[d]`` in 0..1 that gives back what it is given.

    Multiplying by 1 and adding 0 changes no bit. Where the mean of all numbers is 254/255, the factor is infinite;
    where it is 1, there is no row for it in the table of zeros.
    """
    layers = keras().layers
    given = layers.Input(shape)
    flat = layers.Flatten()(given)
    mean = layers.GlobalAveragePooling1D()(layers.Reshape((-1, 1))(flat))
    zero = layers.Flatten()(layers.Embedding(255, 1, embeddings_initializer="zeros")(layers.Rescaling(255.0)(mean)))
    bright = layers.ReLU()(layers.Rescaling(1.0, -_DIM)(mean))
    one = layers.Activation("exponential")(layers.Rescaling(1e6)(bright))
    latent: Any = layers.Add(name="mirrored")([layers.Multiply()([flat, one]), zero])
    name = "x".join(map(str, shape))
    keras().Model(given, layers.Reshape(shape)(latent)).save(place / f"{name}.keras")
    return export(place / f"{name}.keras", "mirrored", str(place / name)).uri
