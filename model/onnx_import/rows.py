"""Networks that were exported for one number of rows: made to take any, where that is right."""

from dataclasses import replace
from typing import Any

from model.onnx_import.network import Network
from model.onnx_import.package import onnx


def free_rows(network: Network) -> Network:
    """A network that may take any number of rows; whether it does must be tried.

    What is reshaped to the number of rows that the file is for is reshaped to as many as there are.

    Args:
      network: the network.
    """
    if network.batch is None:
        return network
    model = type(network.model)()
    model.CopyFrom(network.model)
    weights = {one.name: one for one in model.graph.initializer}
    constants = {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    for number, node in enumerate(model.graph.node):
        shape = {**weights, **constants}.get(node.input[1]) if node.op_type == "Reshape" else None
        sides = [] if shape is None else onnx().numpy_helper.to_array(shape).tolist()
        if sides[:1] == [network.batch]:
            name = f"shape {number}"
            model.graph.initializer.append(_shape([0 if -1 in sides else -1, *sides[1:]], name))
            node.input[1] = name
            if 0 not in sides[1:]:
                _forget(node, "allowzero")
    inputs = {name: replace(value, dimensions=(None, *value.dimensions[1:])) for name, value in network.inputs.items()}
    return replace(network, model=model, inputs=inputs, freed=network.batch)


def _shape(sides: list[int], name: str) -> Any:
    return onnx().helper.make_tensor(name, onnx().TensorProto.INT64, [len(sides)], sides)


def _forget(node: Any, name: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
