"""Models that take images in another layout: wrapped, so that they take and give images ``H W C``.

That is: channels first, ``C H W``; grey without a channel, ``H W``; and all numbers in one line, ``d``.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from lake.core.tensorflow import keras
from model.input_spec import CHANNELS, Shape
from model.keras.operation_names import with_own_names
from model.keras.second_input import first_input, pack_inputs, second_input


def is_channels_first(model: Any, stated: Shape | None = None, second: str | None = None) -> bool:
    """Whether the shape of a model's input reads as ``C H W``, and not as ``H W C``.

    Args:
      model: a Keras model.
      stated: shape that a person has stated for the input, as the model has it; it is believed.
      second: name of a second input, which takes a condition; None for a model of one.
    """
    shape = tuple(first_input(model, second).shape[1:]) if _takes_one(model, second) else ()
    return shape != stated and _reads_as_channels_first(shape)


def _takes_one(model: Any, second: str | None) -> bool:
    """Whether a model takes one tensor, besides what its second input takes."""
    names = [tensor.name for tensor in model.inputs or []]
    return len(names) == 1 + (second is not None) and (second is None or second in names)


def _reads_as_channels_first(shape: tuple[int | None, ...]) -> bool:
    colors = set(CHANNELS.values())
    return len(shape) == 3 and shape[0] in colors and shape[2] not in colors


def to_images(decoder: Any) -> Any:
    """Return a model whose output is ``H W C``: the model itself, or one that turns its ``C H W``.

    Args:
      decoder: a functional Keras model with one output.
    """
    output = decoder.outputs[0]
    if not _reads_as_channels_first(tuple(output.shape[1:])):
        return decoder
    turned = keras().layers.Permute((2, 3, 1), name="to_channels_last")(output)
    return keras().Model(decoder.input, turned, name=decoder.name)


def with_images(model: Any, stated: Shape | None = None, second: str | None = None) -> Any:
    """Return a model that takes ``H W C`` and calls another one; that one itself where it does so already.

    An output that has the layout of the input is turned, too. With a stated shape, so is one that has as many numbers.

    Args:
      model: a Keras model. Its layers keep their names, below its own.
      stated: shape ``H W C`` that a person has stated; needed for a model that takes all numbers in one line.
      second: name of a second input, which takes a condition and stays as it is; None for a model of one.
    """
    if not _takes_one(model, second) or len(model.outputs or []) != 1:
        return model
    if is_channels_first(model, stated, second):
        return _channels_last(model, second)
    shape = tuple(first_input(model, second).shape[1:])
    if len(shape) == 2 and stated in (None, (*shape, 1)):
        return _wrapped(model, (*shape, 1), lambda image: keras().ops.squeeze(image, -1), stated, second)
    if stated is not None and len(stated) == 3 and shape == (prod(stated),):
        return _wrapped(model, stated, keras().layers.Reshape(shape, name="to_line"), stated, second)
    output = tuple(model.outputs[0].shape[1:])
    if shape == (*output, 1) or (stated is not None and shape == stated and _line(model.outputs[0], stated)):
        return _wrapped(model, shape, lambda image: image, stated, second)
    return model


def _inputs(model: Any, shape: Sequence[int | None], name: str, second: str | None) -> tuple[Any, Any]:
    """An input for images in front of a model, and one like the model's second input; None without that."""
    if second is None:
        return keras().layers.Input(shape, name=name), None
    told = second_input(model, second)
    other = keras().layers.Input(tuple(told.shape[1:]), dtype=told.dtype, name=second)
    return keras().layers.Input(shape, name=name if name != second else f"{name}_"), other


def _wrapped(
    model: Any, shape: Sequence[int | None], turn: Callable[[Any], Any], stated: Shape | None, second: str | None
) -> Any:
    image, told = _inputs(model, shape, "image", second)
    output = model(pack_inputs(model, turn(image), second, told))
    if shape[-1] == 1 and tuple(output.shape[1:]) == tuple(shape[:2]):
        output = keras().ops.expand_dims(output, -1)
    elif stated is not None and _line(output, stated):
        output = keras().layers.Reshape(stated, name="to_image")(output)
    made = keras().Model(image if told is None else [image, told], output, name=f"{model.name}_of_images")
    return with_own_names(made)


def _line(output: Any, shape: Shape) -> bool:
    """Whether an output is an image of a shape whose numbers are in one line."""
    return len(shape) == 3 and tuple(output.shape[1:]) == (prod(shape),)


def _channels_last(model: Any, second: str | None) -> Any:
    layers = keras().layers
    channels, height, width = first_input(model, second).shape[1:]
    image, told = _inputs(model, (height, width, channels), "channels_last", second)
    turned = layers.Permute((3, 1, 2), name="to_channels_first")(image)
    output = model(pack_inputs(model, turned, second, told))
    if len(output.shape) == 4 and output.shape[1] == channels:
        output = layers.Permute((2, 3, 1), name="to_channels_last")(output)
    return keras().Model(image if told is None else [image, told], output, name=f"{model.name}_channels_last")
