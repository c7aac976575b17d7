"""Models of two inputs: how a Keras model takes the second one, which is told the condition or the noise level."""

from typing import Any

from lake.core.tensorflow import keras, tensorflow
from model.condition import Condition
from model.input_spec import Shape


def pack_inputs(model: Any, values: Any, name: str | None = None, told: Any = None) -> Any:
    """The inputs of a model, in the list, tuple or dict that it takes.

    Args:
      model: a Keras model.
      values: for its first input, or its only one.
      name: of its second input; None for a model of one.
      told: for the second input.
    """
    if name is None:
        return values
    flat = [told if tensor.name == name else values for tensor in model.inputs]
    return keras().tree.pack_sequence_as(model.input, flat)


def conditioned(model: Any, values: Any, condition: Condition | None, told: Any = None) -> Any:
    """The inputs of a conditional model.

    Args:
      model: a Keras model.
      values: ``[n, ...]`` for the other input.
      condition: what it is told; None for a model of one input.
      told: float32 ``[n, length]``.
    """
    if condition is None:
        return values
    tf, second = tensorflow(), second_input(model, condition.input)
    rows = -1 if values.shape[0] is None else int(values.shape[0])
    row = tf.cast(tf.reshape(told, (rows, *second.shape[1:])), second.dtype)
    return pack_inputs(model, tf.convert_to_tensor(values), condition.input, row)


def second_input(model: Any, name: str) -> Any:
    """The input of a model with this name."""
    return next(tensor for tensor in model.inputs if tensor.name == name)


def first_input(model: Any, name: str | None) -> Any:
    """The input of a model that takes images, vectors or latents.

    Args:
      model: a Keras model.
      name: of its second input; None for a model of one.
    """
    return next(tensor for tensor in model.inputs if tensor.name != name)


def output_shape(model: Any, shape: Shape, condition: Condition | None) -> Shape:
    """The shape of a model's output for one record.

    Args:
      model: a Keras model of one output.
      shape: of its input.
      condition: what it is told besides; None for nothing.
    """
    if condition is None:
        return tuple(model.compute_output_shape((1, *shape))[1:])
    tensor = keras().KerasTensor
    first, second = first_input(model, condition.input), second_input(model, condition.input)
    told = tensor((1, *second.shape[1:]), second.dtype)
    given = pack_inputs(model, tensor((1, *shape), first.dtype), condition.input, told)
    return tuple(model.compute_output_spec(given).shape[1:])
