"""Models that take images in another layout: wrapped, so that they take and give images ``H W C``.

That is: channels first, ``C H W``; grey without a channel, ``H W``; and all numbers in one line, ``d``.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from lake.core.tensorflow import keras
from model.input_spec import CHANNELS, Shape


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


def with_images(model: Any, stated: Shape | None = None) -> Any:
    """Return a model that takes ``H W C`` and calls another one; that one itself where it does so already.

    An output that has the layout of the input is turned, too. With a stated shape, so is one that has as many numbers.

    Args:
      model: a Keras model. Its layers keep their names, below its own.
      stated: shape ``H W C`` that a person has stated; needed for a model that takes all numbers in one line.
    """
    inputs = model.inputs or []
    if len(inputs) != 1 or len(model.outputs or []) != 1:
        return model
    if is_channels_first(model, stated):
        return _channels_last(model)
    shape = tuple(inputs[0].shape[1:])
    if len(shape) == 2 and stated in (None, (*shape, 1)):
        return _wrapped(model, (*shape, 1), lambda image: keras().ops.squeeze(image, -1), stated)
    if stated is not None and len(stated) == 3 and shape == (prod(stated),):
        return _wrapped(model, stated, keras().layers.Reshape(shape, name="to_line"), stated)
    output = tuple(model.outputs[0].shape[1:])
    if shape == (*output, 1) or (stated is not None and shape == stated and _line(model.outputs[0], stated)):
        return _wrapped(model, shape, lambda image: image, stated)
    return model


def _wrapped(model: Any, shape: Sequence[int | None], turn: Callable[[Any], Any], stated: Shape | None) -> Any:
    image = keras().layers.Input(shape, name="image")
    output = model(turn(image))
    if shape[-1] == 1 and tuple(output.shape[1:]) == tuple(shape[:2]):
        output = keras().ops.expand_dims(output, -1)
    elif stated is not None and _line(output, stated):
        output = keras().layers.Reshape(stated, name="to_image")(output)
    return keras().Model(image, output, name=f"{model.name}_of_images")


def _line(output: Any, shape: Shape) -> bool:
    """Whether an output is an image of a shape whose numbers are in one line."""
    return len(shape) == 3 and tuple(output.shape[1:]) == (prod(shape),)


def _channels_last(model: Any) -> Any:
    layers = keras().layers
    channels, height, width = model.inputs[0].shape[1:]
    image = layers.Input((height, width, channels), name="channels_last")
    output = model(layers.Permute((3, 1, 2), name="to_channels_first")(image))
    if len(output.shape) == 4 and output.shape[1] == channels:
        output = layers.Permute((2, 3, 1), name="to_channels_last")(output)
    return keras().Model(image, output, name=f"{model.name}_channels_last")
