"""The sizes of all that a graph computes for one record, and the refusal of what would fill memory."""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from model.graph_sizes.operation import MOST_VALUES, Operation, stored_numbers, tensor_values
from model.graph_sizes.shapes import RULES
from model.graph_sizes.values import EVALUATED, RESHAPING, parts
from model.input_spec import Shape

_MOST = 1 << 28  # numbers of one tensor for one record, as of a Keras model
_MOST_CONSTANT = 1 << 24  # numbers that are made of no input, which are computed and kept when the graph is opened
_MOST_CONSTANTS = 1 << 26  # of these in all
_MOST_NODES = 50_000
_RANK = 8
_Unknown = (LookupError, ValueError, TypeError, ArithmeticError, AttributeError)


class Sizes:
    """The shapes of a graph's values.

    Args:
      graph: a ``GraphProto``, or the part of one that ``model.graph_audit`` reads.
      opset: version of the standard.
      inputs: shapes of the graph's inputs for one record, by name.
    """

    def __init__(self, graph: Any, opset: int, inputs: Mapping[str, Shape]) -> None:
        self._graph, self._opset = graph, opset
        self.shapes: dict[str, Shape] = {one.name: tuple(one.dims) for one in graph.initializer}
        self._values: dict[str, npt.NDArray[Any] | None] = {one.name: tensor_values(one) for one in graph.initializer}
        self._constant = set(self.shapes)
        self.shapes = {**inputs, **self.shapes}  # what has a default is a weight
        self._constants = 0

    def problems(self) -> Iterator[str]:
        """Follow the graph from its inputs, and yield what is too large, or cannot be told."""
        if len(self._graph.node) > _MOST_NODES:
            yield f"{len(self._graph.node)} operations, more than {_MOST_NODES}"
            return
        for tensor in self._graph.initializer:
            if prod(tensor.dims) > stored_numbers(tensor):
                yield f"a weight of {_shown(tensor.dims)} numbers, of which the file has fewer"
        for node in self._graph.node:
            if missing := next((name for name in node.input if name and name not in self.shapes), None):
                yield f"the operation {node.op_type}, which takes {missing[:80]!r}, that nothing before it makes"
                return
            yield from self._follow(node)

    def _follow(self, node: Any) -> Iterator[str]:
        op = Operation(
            kind=node.op_type,
            opset=self._opset,
            attributes={one.name: one for one in node.attribute},
            shapes=[self.shapes[name] if name else None for name in node.input],
            values=[self._values.get(name) for name in node.input],
            outputs=len(node.output),
        )
        made = _shapes(op)
        constant = all(name in self._constant for name in node.input if name) or node.op_type == "Shape"
        if made is None or len(made) < len(node.output):
            yield f"the operation {node.op_type}, whose size cannot be told before it is run"
            made = [()] * len(node.output)
        taken = sum(prod(shape) for shape in op.shapes if shape is not None)
        for name, shape in zip(node.output, made, strict=False):
            yield from self._judge(node.op_type, shape, taken if constant else None)
            self.shapes[name] = shape
            self._constant |= {name} if constant else set()
        self._values |= zip(node.output, _values(op, made), strict=False)

    def _judge(self, kind: str, shape: Shape, taken: int | None) -> Iterator[str]:
        """Judge what an operation gives; if it is made of no input, it took so many numbers."""
        count = prod(shape)
        if len(shape) > _RANK or min(shape, default=0) < 0:
            yield f"the operation {kind}, which gives a tensor of {len(shape)} sides, {_shown(shape)}"
        elif count > _MOST:
            yield f"the operation {kind}, which puts out {_shown(shape)} numbers for one record"
        elif taken is not None and count > taken:
            self._constants += count
            if count > _MOST_CONSTANT or self._constants > _MOST_CONSTANTS:
                yield f"the operation {kind}, which makes {_shown(shape)} numbers of nothing"


def _shown(shape: Shape) -> str:
    return " x ".join(map(str, shape[:_RANK]))[:200]


def _shapes(op: Operation) -> list[Shape] | None:
    """The shapes of an operation's outputs; None where they cannot be told."""
    rule = RULES.get(op.kind)
    if rule is None:
        return None
    try:
        return [tuple(int(side) for side in shape) for shape in rule(op)]
    except _Unknown:
        return None


def _values(op: Operation, shapes: list[Shape]) -> list[npt.NDArray[Any]]:
    """The values of an operation's outputs, if they are few and all that it takes is known; else none."""
    if any(prod(shape) > MOST_VALUES or min(shape, default=0) < 0 for shape in shapes):
        return []
    try:
        with np.errstate(all="ignore"):
            if op.kind in RESHAPING:
                return [op.value(0).reshape(shapes[0])]
            if op.kind == "Split":
                return parts(op, shapes)
            found = [EVALUATED[op.kind](op)] if op.kind in EVALUATED else []
    except _Unknown:
        return []
    return found if [one.shape for one in found] == shapes[:1] else []
