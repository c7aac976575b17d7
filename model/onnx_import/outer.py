"""What the first and last operations of a network say of the values that it takes and puts out."""

from typing import Any

import numpy as np

from model.likeness import OuterLayers
from model.onnx_import.functions import Ends
from model.onnx_import.network import OURS, Network
from model.onnx_import.package import onnx

_PASSING = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
_ACTIVATIONS = {"Sigmoid": ("sigmoid", (0.0, 1.0)), "Tanh": ("tanh", (-1.0, 1.0))}


def outer_operations(network: Network, ends: Ends, *, turned_back: bool) -> OuterLayers:
    """What is known of the first and last operations of a network.

    Args:
      network: the network.
      ends: where its values are.
      turned_back: whether the bundle turns its output back to the value range.
    """
    activation = _activation(network, OURS + ends.output.name) if ends.output else None
    return OuterLayers(
        scaling=_scaling(network, OURS + ends.takes.image.name),
        activation=None if turned_back else activation,
        inner_activation=activation if turned_back else None,
    )


def _activation(network: Network, name: str) -> tuple[str, tuple[float, float]] | None:
    makers = {made: node for node in network.model.graph.node for made in node.output}
    while name in makers and makers[name].op_type in _PASSING:
        name = makers[name].input[0]
    return _ACTIVATIONS.get(makers[name].op_type) if name in makers else None


def _scaling(network: Network, name: str) -> tuple[float, float] | None:
    """Factor and offset of what the input goes through first, as long as there is one way on."""
    constants = _constants(network)
    factor, offset, found = 1.0, 0.0, False
    while len(readers := [node for node in network.model.graph.node if name in node.input]) == 1:
        (node,) = readers
        if node.op_type not in _PASSING:
            step = _step(node, name, constants)
            if step is None:
                break
            factor, offset, found = factor * step[0], offset * step[0] + step[1], True
        name = node.output[0]
    return (factor, offset) if found else None


def _step(node: Any, name: str, constants: dict[str, float]) -> tuple[float, float] | None:
    others = [constants[one] for one in node.input if one != name and one in constants]
    if len(others) != 1 or len(node.input) != 2 or (node.op_type in ("Div", "Sub") and node.input[0] != name):
        return None
    (number,) = others
    known = {"Mul": (number, 0.0), "Add": (1.0, number), "Sub": (1.0, -number)}
    return known.get(node.op_type, (1 / number, 0.0) if node.op_type == "Div" and number else None)


def _constants(network: Network) -> dict[str, float]:
    """Weights by their names, as one number each; of channels that are scaled differently, the middle one."""
    graph = network.model.graph
    tensors = {one.name: one for one in graph.initializer}
    tensors |= {one.output[0]: one.attribute[0].t for one in graph.node if one.op_type == "Constant"}
    small = {name: tensor for name, tensor in tensors.items() if np.prod(tensor.dims, dtype=object) <= 4}
    return {
        name: float(np.median(onnx().numpy_helper.to_array(one))) for name, one in small.items() if 0 not in one.dims
    }
