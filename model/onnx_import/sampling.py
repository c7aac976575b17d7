"""Operations of training in the graph of a network: what draws random numbers is replaced by their mean."""

from typing import Any

from lake.core.errors import BundleError
from model.onnx_import.package import onnx

REPLACED = frozenset({"Dropout", "RandomNormal", "RandomNormalLike"})  # no other of the kind may be in a graph
_TRAINING = 2  # position of the input of Dropout that says whether it is active


def without_random(graph: Any, where: str) -> bool:
    """Replace random numbers by their mean, which is 0, and with them what is only multiplied by them.

    A variational autoencoder draws its latent, ``mean + deviation * random``: what is left is the mean.

    Args:
      graph: changed in place.
      where: name of the file, for messages.

    Returns:
      Whether there were any.

    Raises:
      BundleError: their mean is another, or a Dropout is active.
    """
    zeros, nodes, found = set[str](), list[Any](), False
    known = _constants(graph)
    for node in graph.node:
        given = [name in zeros for name in node.input]
        if node.op_type in ("RandomNormal", "RandomNormalLike"):
            nodes, found = [*nodes, *_zeros(node, where)], True
            zeros.add(node.output[0])
            continue
        if node.op_type == "Dropout":
            node = _inactive(node, known, where)
        elif node.op_type == "Mul" and any(given):
            zeros.add(node.output[0])
        elif node.op_type == "Add" and sum(given) == 1:
            node = _identity(node.input[given.index(False)], node)
        nodes.append(node)
    _replace_nodes(graph, nodes)
    return found


def _zeros(node: Any, where: str) -> list[Any]:
    """Nodes that give zeros of the shape and type of the random numbers."""
    helper, attributes = onnx().helper, {one.name: one for one in node.attribute}
    if "mean" in attributes and attributes["mean"].f:
        raise BundleError(f"{where}: draws random numbers whose mean is not 0; take them out and export it again")
    if node.op_type == "RandomNormalLike":
        return [helper.make_node("Sub", [node.input[0], node.input[0]], node.output)]
    shape, dtype = f"{node.output[0]} shape", attributes["dtype"].i if "dtype" in attributes else 1
    sides = helper.make_tensor("shape", 7, [len(attributes["shape"].ints)], attributes["shape"].ints)
    zero = helper.make_tensor("zero", dtype, [1], [0])
    return [
        helper.make_node("Constant", [], [shape], value=sides),
        helper.make_node("ConstantOfShape", [shape], node.output, value=zero),
    ]


def _inactive(node: Any, known: dict[str, Any], where: str) -> Any:
    active = node.input[_TRAINING] if len(node.input) > _TRAINING else ""
    if active and (active not in known or onnx().numpy_helper.to_array(known[active]).any()):
        raise BundleError(f"{where}: has an active Dropout; export the network in evaluation mode, after net.eval()")
    return _identity(node.input[0], node)


def _identity(name: str, node: Any) -> Any:
    return onnx().helper.make_node("Identity", [name], node.output[:1])


def _constants(graph: Any) -> dict[str, Any]:
    """Tensors of one number by their names."""
    of_nodes = {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    found = {**{one.name: one for one in graph.initializer}, **of_nodes}
    return {name: tensor for name, tensor in found.items() if not tensor.dims}


def _replace_nodes(graph: Any, nodes: list[Any]) -> None:
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
