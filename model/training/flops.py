"""The computational cost of a network, counted from its layers."""

from math import prod
from typing import Any

from lake.core.tensorflow import keras
from model.input_spec import Shape


def operations(model: Any, *shapes: Shape) -> int:
    """Count the floating-point operations for one record: a multiplication and an addition for each use of a weight.

    Only convolutions and dense layers are counted, as papers on denoisers do.

    Args:
      model: a Keras model without nested models.
      shapes: shapes of its inputs, (H, W, C) or (d,), in their order.
    """
    inputs = [keras().layers.Input(shape) for shape in shapes]
    sized = keras().models.clone_model(model, input_tensors=inputs if len(inputs) > 1 else inputs[0])
    return 2 * sum(_uses(layer) for layer in sized.layers if hasattr(layer, "kernel"))


def _uses(layer: Any) -> int:
    sites = prod(layer.output.shape[1:-1])
    # A transposed convolution applies its kernel at every site of its input.
    if "Transpose" in type(layer).__name__:
        sites = prod(layer.input.shape[1:-1])
    return int(prod(layer.kernel.shape) * sites)
