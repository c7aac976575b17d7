"""Limits on what a model computes for one record, so that a small file cannot ask for any amount of memory."""

from collections.abc import Iterator
from math import prod
from typing import Any

from lake.core.errors import BundleError
from lake.core.printable import printable
from model.keras.archive import refused

_MAX_ELEMENTS = 1 << 28  # largest output of a layer or an operation for one record
_OPEN_SIDE = 64  # pixels that an open side counts as
_WEIGHTS = {"Const", "ReadVariableOp", "Placeholder"}  # of the graph: as large as the file or the input


def check_outputs(model: Any, where: str) -> None:
    """Check the outputs of all layers and operations of a model, and of models within it, by their shapes alone.

    Args:
      model: a Keras model, whose weights need no memory yet.
      where: name of the file, for messages.

    Raises:
      BundleError: one is too large.
    """
    for path, operation in _operations(model):
        tensors = (tensor for node in operation._inbound_nodes for tensor in node.output_tensors)
        largest = max(map(_elements, tensors), default=0)
        if largest > _MAX_ELEMENTS:
            raise refused(where, f"layer {path!r} puts out {largest} numbers for one record")


def _operations(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and object of every layer, and of every operation that is none."""
    for operation in getattr(model, "operations", model.layers):
        path = prefix + operation.name
        yield path, operation
        if hasattr(operation, "layers"):
            yield from _operations(operation, f"{path}/")


def _elements(tensor: Any) -> int:
    return prod(_OPEN_SIDE if side is None else side for side in tensor.shape[1:])


def check_graph(graph: Any, rows: int) -> None:
    """Check everything that a function computes, also within layers, before it is run.

    Args:
      graph: a traced TensorFlow graph.
      rows: records that it is for.

    Raises:
      BundleError: an operation puts out too much.
    """
    for operation in graph.get_operations():
        if operation.type not in _WEIGHTS:
            shapes = (output.shape for output in operation.outputs)
            known = (prod(side or 1 for side in shape) for shape in shapes if shape.rank is not None)
            if (largest := max(known, default=0)) > _MAX_ELEMENTS * rows:
                raise BundleError(
                    f"{printable(operation.name)!r} of the model puts out {largest // rows} numbers for one record, "
                    f"where {_MAX_ELEMENTS} are allowed; use a smaller model or smaller images"
                )
