"""Models that take their channels first, ``C H W``: wrapped, so that they take and give images ``H W C``."""

from typing import Any

from lake.core.tensorflow import keras
from model.spec import CHANNELS, Shape


def is_channels_first(model: Any, stated: Shape | None = None) -> bool:
    """Whether the shape of a model's only input reads as ``C H W``, and not as ``H W C``.

    Args:
      model: a Keras model.
      stated: shape that a person has stated for the input, as the model has it; it is believed.
    """
    inputs = model.inputs or []
    shape = tuple(inputs[0].shape[1:]) if len(inputs) == 1 else ()
    return shape != stated and _reads_as_channels_first(shape)


def _reads_as_channels_first(shape: tuple[int | None, ...]) -> bool:
    colors = set(CHANNELS.values())
    return len(shape) == 3 and shape[0] in colors and shape[2] not in colors


def to_images(decoder: Any) -> Any:
    """Return a model whose output is ``H W C``: the model itself, or one that turns its ``C H W``.

    Args:
      decoder: a functional Keras model with one input and one output.
    """
    output = decoder.outputs[0]
    if not _reads_as_channels_first(tuple(output.shape[1:])):
        return decoder
    turned = keras().layers.Permute((2, 3, 1), name="to_channels_last")(output)
    return keras().Model(decoder.inputs[0], turned, name=decoder.name)


def to_channels_last(model: Any) -> Any:
    """Return a model that takes ``H W C``, calls a model of ``C H W``, and turns what that gives where it is an image.

    Args:
      model: a Keras model with one input of three sides and one output. Its layers keep their names, below its own.
    """
    layers = keras().layers
    channels, height, width = model.inputs[0].shape[1:]
    image = layers.Input((height, width, channels), name="channels_last")
    output = model(layers.Permute((3, 1, 2), name="to_channels_first")(image))
    if len(output.shape) == 4 and output.shape[1] == channels:
        output = layers.Permute((2, 3, 1), name="to_channels_last")(output)
    return keras().Model(image, output, name=f"{model.name}_channels_last")
