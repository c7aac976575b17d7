"""ONNX graphs in which a ``Reshape`` has the sides that are known, and asks no value for the one that follows."""

from typing import Any

import numpy as np
import numpy.typing as npt

_FOLLOWS = -1  # from the other sides
_Sides = npt.NDArray[np.int64]


def with_known_sides(source: Any) -> Any:
    """A model in which the sides of ``Reshape`` are constants, where all of them are known but one.

    Keras's ``Flatten`` asks its input for the number of rows, which follows from the rest; the converter sees that at
    times. To answer, ONNX Runtime copies the whole input out of the layout in which it computes convolutions.

    Args:
      source: an ``onnx.ModelProto``.
    """
    from onnx import numpy_helper

    model = type(source)()
    model.CopyFrom(source)
    makers = {name: node for node in model.graph.node for name in node.output}
    weights = {weight.name: weight for weight in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        if node.op_type == "Reshape" and (sides := _sides(node.input[1], makers, weights)) is not None:
            node.input[1] = f"sides of node {number}"
            model.graph.initializer.append(numpy_helper.from_array(sides, node.input[1]))
    return model


def _sides(name: str, makers: dict[str, Any], weights: dict[str, Any]) -> _Sides | None:
    """The value of that name, which some nodes compute, if it is one of sides of which one is not constant."""
    node = _before_casts(name, makers)
    if node is None or node.op_type != "Concat":
        return None
    parts = [_constant(part, weights) for part in node.input]
    asked = [part for part, known in zip(node.input, parts, strict=True) if known is None]
    if len(asked) != 1 or not _is_one_number(asked[0], makers, weights):
        return None
    known = np.concatenate([[_FOLLOWS] if part is None else part for part in parts]).astype(np.int64)
    return known if (known > 0).sum() == len(known) - 1 else None


def _is_one_number(name: str, makers: dict[str, Any], weights: dict[str, Any]) -> bool:
    node = _before_casts(name, makers)
    if node is None or node.op_type != "Slice":
        return False
    start, end = (_constant(edge, weights) for edge in node.input[1:3])
    return start is not None and end is not None and len(start) == 1 and bool(start[0] >= 0 and end[0] == start[0] + 1)


def _before_casts(name: str, makers: dict[str, Any]) -> Any | None:
    node = makers.get(name)
    return _before_casts(node.input[0], makers) if node is not None and node.op_type == "Cast" else node


def _constant(name: str, weights: dict[str, Any]) -> _Sides | None:
    from onnx import numpy_helper

    return np.atleast_1d(numpy_helper.to_array(weights[name])) if name in weights else None
