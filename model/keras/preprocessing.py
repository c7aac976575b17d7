"""What the first and last layers of a model say of the values that it takes and puts out."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from model.keras.wrap import wrapped_model
from model.likeness import OuterLayers

# Layers that pass the values on as they are, as far as their range goes.
_PASSING = {"InputLayer", "Cast", "Dropout", "GaussianNoise", "Identity", "Permute", "Reshape", "Resizing"}
_PASSING |= {"ExpandDims", "Squeeze"}
_ACTIVATIONS = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0)}


def outer_layers(model: Any) -> OuterLayers:
    """What is known of the first and last layers of a Keras model."""
    inner = wrapped_model(model)
    return OuterLayers(
        scaling=first_scaling(model),
        activation=last_activation(model),
        inner_activation=None if inner is None else last_activation(inner),
    )


def first_scaling(model: Any) -> tuple[float, float] | None:
    """The factor and offset of the layers that scale the input before anything else: ``Rescaling`` and the like.

    Args:
      model: a Keras model, possibly with nested ones.

    Returns:
      ``(factor, offset)``; of channels that are scaled differently, the middle one. None if nothing scales the input.
    """
    factor, offset, found = 1.0, 0.0, False
    for operation in _first_operations(model):
        if (step := _scaling(operation)) is not None:
            factor, offset, found = factor * step[0], offset * step[0] + step[1], True
        elif type(operation).__name__ not in _PASSING:
            break
    return (factor, offset) if found else None


def last_activation(model: Any) -> tuple[str, tuple[float, float]] | None:
    """Name and range of the function that bounds the model's output; None if none is known to."""
    if not getattr(model, "outputs", None):  # a class of somebody's own, whose layers are not known
        return None
    operation, node = _producer(model.outputs[0])
    while _passes(operation, node):
        operation, node = _producer(node.input_tensors[0])
    name = getattr(getattr(operation, "activation", None), "__name__", type(operation).__name__.lower())
    return (name, _ACTIVATIONS[name]) if name in _ACTIVATIONS else None


def _passes(operation: Any, node: Any) -> bool:
    """Whether an operation gives the values of its first input."""
    kind = type(operation).__name__
    return kind == "First" or (kind in _PASSING and len(node.input_tensors) == 1)


def _producer(tensor: Any) -> tuple[Any, Any]:
    """The operation that puts out a tensor, of a nested model its own, and the call of it."""
    while getattr((operation := tensor._keras_history.operation), "outputs", None):
        tensor = operation.outputs[0]
    return operation, operation._inbound_nodes[tensor._keras_history.node_index]


def _first_operations(model: Any) -> Iterator[Any]:
    """Yield the layers and operations after the input, nested ones too, as long as there is one way on."""
    graph = getattr(model, "_functional", None) or model
    tensors = list(graph.inputs or [])
    while len(tensors) == 1:
        following = [op for op in graph.operations if op._inbound_nodes and _takes(op, tensors[0])]
        if len(following) != 1:
            return
        (operation,) = following
        if getattr(operation, "inputs", None):
            yield from _first_operations(operation)
            return
        yield operation
        tensors = list(operation._inbound_nodes[0].output_tensors)


def _takes(operation: Any, tensor: Any) -> bool:
    return any(given is tensor for given in operation._inbound_nodes[0].input_tensors)


def _scaling(operation: Any) -> tuple[float, float] | None:
    kind = type(operation).__name__
    if kind == "Rescaling":
        return _middle(operation.scale), _middle(operation.offset)
    if kind == "Normalization" and not operation.invert:
        deviation = max(_middle(np.sqrt(np.asarray(operation.variance))), 1e-7)
        return 1 / deviation, -_middle(operation.mean) / deviation
    return _arithmetic(kind, operation)


def _arithmetic(kind: str, operation: Any) -> tuple[float, float] | None:
    """The factor and offset of an operation with one constant, the second of its two operands."""
    operands = (*operation._inbound_nodes[0].arguments.args, *operation._inbound_nodes[0].arguments.kwargs.values())
    if len(operands) != 2 or not isinstance(operands[1], (int, float)) or not operands[1]:
        return None
    number = float(operands[1])
    known = {"Multiply": (number, 0.0), "Add": (1.0, number), "Subtract": (1.0, -number)}
    return known.get(kind, (1 / number, 0.0) if kind in ("Divide", "TrueDivide") else None)


def _middle(values: Any) -> float:
    return float(np.median(np.asarray(values, np.float64)))
