"""Audit an ONNX graph that is not trusted, before ONNX Runtime opens it, by a list of what is allowed."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any

from lake.core.errors import BundleError
from lake.core.printable import printable
from model.graph_sizes.shapes import RULES
from model.graph_sizes.walk import Sizes
from model.message_parts import MessageFields, message_class

# Operations of the standard on numbers. None reads a file, runs code, or draws random numbers.
_ALLOWED = RULES.keys()
_EXTERNAL = 1  # TensorProto.data_location
_NOT_TAKEN = {
    "functions": "functions of its own",
    "training_info": "a training",
    "sparse": "sparse weights",
    "subgraph": "a graph within an operation",
    "external": "weights in another file",
}
_OTHERS = "which is not on the list of what is run (docs/models.md); export the network without it"
DEFAULT_DOMAINS = ("", "ai.onnx")  # two names of the standard


_OPEN_SIDE = 64  # pixels that an open side counts as


def audit_graph(data: bytes, where: str) -> None:
    """Refuse a bundle's graph with anything but operations of the standard, on weights of its own, of bounded size.

    Args:
      data: bytes of an ONNX file.
      where: name of the file, for messages.

    Raises:
      BundleError: the graph is damaged, or has what is not allowed.
    """
    model = _parsed(data, where)
    sizes = Sizes(model.graph, opset_of(model), _declared(model.graph))
    for problem in chain((text for _, text in _problems(model, ())), sizes.problems()):
        raise refused_graph(where, problem, "which no graph of an export has; export it again")


def audit_operations(data: bytes, where: str, *, also: Collection[str], advice: Mapping[str, str]) -> None:
    """Refuse a network of somebody else with anything but operations of the standard, on weights of its own.

    How large they are is told once it is known what the network is given: see ``model.graph_sizes``.

    Args:
      data: bytes of an ONNX file.
      where: name of the file, for messages.
      also: further operations that are allowed.
      advice: what to do about an operation, by its name, or about one of ``_NOT_TAKEN``, or a domain.

    Raises:
      BundleError: the file is damaged, or has what is not allowed.
    """
    for kind, problem in _problems(_parsed(data, where), also):
        raise refused_graph(where, problem, advice.get(kind, _OTHERS))


def refused_graph(where: str, problem: str, remedy: str) -> BundleError:
    """The error that refuses a graph for what it has."""
    return BundleError(f"{where}: not opened: it has {problem}, {remedy}")


def opset_of(model: Any) -> int:
    """The version of the standard that a ``ModelProto`` follows."""
    return max((int(one.version) for one in model.opset_import if one.domain in DEFAULT_DOMAINS), default=1)


def _parsed(data: bytes, where: str) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return _model_class().FromString(data)
    except DecodeError as error:
        raise BundleError(f"{where}: not an ONNX file ({error}); export the model again") from error


def _declared(graph: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of the inputs for one record, where open sides are those of a small image."""
    shapes = {one.name: [side.dim_value for side in one.type.tensor_type.shape.dim] for one in graph.input}
    return {
        name: tuple(side if side > 0 else _OPEN_SIDE if i else 1 for i, side in enumerate(sides))
        for name, sides in shapes.items()
    }


def _problems(model: Any, also: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield kind and description of what is not allowed."""
    yield from ((name, _NOT_TAKEN[name]) for name in ("functions", "training_info") if len(getattr(model, name)))
    graph = model.graph
    if len(graph.sparse_initializer):
        yield "sparse", _NOT_TAKEN["sparse"]
    tensors = list(graph.initializer)
    for node in graph.node:
        if node.domain not in DEFAULT_DOMAINS:
            yield "domain", f"the operation {printable(f'{node.domain}:{node.op_type}', 100)}"
        if node.op_type not in _ALLOWED and node.op_type not in also:
            yield node.op_type, f"the operation {printable(node.op_type, 100)}"
        for attribute in node.attribute:
            if len(attribute.graphs) or attribute.HasField("g"):
                yield "subgraph", _NOT_TAKEN["subgraph"]
            if len(attribute.sparse_tensors) or attribute.HasField("sparse_tensor"):
                yield "sparse", _NOT_TAKEN["sparse"]
            tensors += [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]
    if any(tensor.data_location == _EXTERNAL or len(tensor.external_data) for tensor in tensors):
        yield "external", _NOT_TAKEN["external"]


@cache
def _model_class() -> Any:
    """The part of onnx.ModelProto (onnx.proto) that is looked at, built without the package onnx."""
    return message_class(_FIELDS)


_FIELDS: MessageFields = {
    "Model": {
        "graph": (7, "Graph", False),
        "opset_import": (8, "Opset", True),
        "training_info": (20, "bytes", True),
        "functions": (25, "bytes", True),
    },
    "Opset": {"domain": (1, "string", False), "version": (2, "int64", False)},
    "Graph": {
        "node": (1, "Node", True),
        "initializer": (5, "Tensor", True),
        "input": (11, "Value", True),
        "sparse_initializer": (15, "bytes", True),
    },
    "Value": {"name": (1, "string", False), "type": (2, "Type", False)},
    "Type": {"tensor_type": (1, "TensorType", False)},
    "TensorType": {"shape": (2, "Shape", False)},
    "Shape": {"dim": (1, "Side", True)},
    "Side": {"dim_value": (1, "int64", False)},
    "Node": {
        "input": (1, "string", True),
        "output": (2, "string", True),
        "op_type": (4, "string", False),
        "attribute": (5, "Attribute", True),
        "domain": (7, "string", False),
    },
    "Attribute": {
        "name": (1, "string", False),
        "f": (2, "float", False),
        "i": (3, "int64", False),
        "s": (4, "bytes", False),
        "t": (5, "Tensor", False),
        "floats": (7, "float", True),
        "ints": (8, "int64", True),
        "g": (6, "bytes", False),
        "tensors": (10, "Tensor", True),
        "graphs": (11, "bytes", True),
        "sparse_tensor": (22, "bytes", False),
        "sparse_tensors": (23, "bytes", True),
    },
    "Tensor": {
        "dims": (1, "int64", True),
        "data_type": (2, "int32", False),
        "float_data": (4, "float", True),
        "int32_data": (5, "int32", True),
        "string_data": (6, "bytes", True),
        "int64_data": (7, "int64", True),
        "name": (8, "string", False),
        "raw_data": (9, "bytes", False),
        "double_data": (10, "double", True),
        "uint64_data": (11, "uint64", True),
        "external_data": (13, "bytes", True),
        "data_location": (14, "int32", False),
    },
}
