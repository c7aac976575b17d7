"""Even out the channels of a graph before it is quantised, so that each of them gets most of the 8 bits.

The channels of a tensor share one scale, which the widest of them sets. Where only ReLUs and sums stand between
convolutions, a channel may be multiplied in the weights that make it and divided in those that take it: the graph
computes what it did. This is the cross-layer equalization of Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction" (2019), by the channels' ranges on samples.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.pixels import Floats, Pixels
from model.runtime.onnx import open_session

_FLOAT = 1  # TensorProto.DataType
_MAKES = {"Conv": 0, "ConvTranspose": 1}  # axis of the channels that weights make; the other one is of those they take
_KEEP = ("Add", "LeakyRelu", "MaxPool", "Pad", "Relu", "Slice")  # a positive factor of a channel passes through these
_SUMS = ("Add",)  # of them, those all of whose inputs are such tensors
_MOST = 4  # times that a channel is widened, so that weights keep their bits, too
_SAME = 1e-4  # of the largest output, by which rounding may change it


@dataclass(slots=True)
class _Group:
    """Tensors whose channels have one factor each: the sums along a residual network, or what one ReLU gives."""

    makers: list[Any] = field(default_factory=list)
    takers: list[Any] = field(default_factory=list)


def evened(model: Any, feeds: Sequence[Mapping[str, Pixels]]) -> Any:
    """The graph with channels of like ranges, or as it was where that would change what it computes.

    Args:
      model: ``onnx.ModelProto`` in float32, with its shapes in constants.
      feeds: inputs, for which it computes the same but for rounding.
    """
    made = type(model)()
    made.CopyFrom(model)
    groups = _groups(made)
    if not groups:
        return model
    weights = {weight.name: weight for weight in made.graph.initializer}
    for group, widest in zip(groups, _widest(model, groups, feeds), strict=True):
        _scale(group, _factors(widest), weights)
    one, other = (open_session(m.SerializeToString(), any_size=True).run(None, feeds[0])[0] for m in (model, made))
    return made if np.abs(one - other).max() <= _SAME * np.abs(one).max() else model


def _groups(model: Any) -> list[_Group]:
    """Groups that convolutions alone make and take, of as many channels each."""
    sets, fixed = _Sets(), {value.name for value in (*model.graph.input, *model.graph.output)}
    constants = {weight.name: list(weight.dims) for weight in model.graph.initializer}
    shared = _shared(model)
    groups: dict[str, _Group] = defaultdict(_Group)
    layers = {node.name: node for node in model.graph.node if _is_layer(node, constants, shared)}
    for node in model.graph.node:
        if node.name in layers or node.op_type == "Shape":
            continue
        data = node.input[:1] if node.op_type in _KEEP and node.op_type not in _SUMS else node.input
        if node.op_type in _KEEP:
            sets.join(*data, node.output[0])
        else:
            fixed |= {*data, *node.output}
    fixed |= constants.keys()
    closed = {sets.find(name) for name in fixed}
    for node in layers.values():
        groups[sets.find(node.input[0])].takers.append(node)
        groups[sets.find(node.output[0])].makers.append(node)
    found = [group for name, group in groups.items() if name not in closed and group.makers and group.takers]
    return [group for group in found if len(set(_counts(group, constants))) == 1]


def _shared(model: Any) -> set[str]:
    """Names of constants that more than one node takes."""
    names = [name for node in model.graph.node for name in node.input]
    return {name for name in names if names.count(name) > 1}


def _is_layer(node: Any, constants: Mapping[str, Any], shared: set[str]) -> bool:
    alone = all(name in constants and name not in shared for name in node.input[1:] if name)
    grouped = any(one.name == "group" and one.i != 1 for one in node.attribute)
    return node.op_type in _MAKES and alone and not grouped


def _counts(group: _Group, constants: Mapping[str, Any]) -> Iterator[int]:
    """Channels of each layer's side of a group."""
    yield from (constants[node.input[1]][_MAKES[node.op_type]] for node in group.makers)
    yield from (constants[node.input[1]][1 - _MAKES[node.op_type]] for node in group.takers)


class _Sets:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self._above = dict[str, str]()

    def find(self, name: str) -> str:
        """What stands for the set of a name."""
        while (above := self._above.get(name, name)) != name:
            name = above
        return name

    def join(self, *names: str) -> None:
        """Make one set of those of some names."""
        for name in names[1:]:
            self._above[self.find(name)] = self.find(names[0])


def _widest(model: Any, groups: Sequence[_Group], feeds: Sequence[Mapping[str, Pixels]]) -> list[Floats]:
    """Of each group its channels' largest magnitude, the mean over samples, where it is largest."""
    names = sorted({node.input[0] for group in groups for node in group.takers})
    watched = type(model)()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    for name in names:
        watched.graph.output.add(name=name).type.tensor_type.elem_type = _FLOAT
    session = open_session(watched.SerializeToString(), any_size=True)
    total = dict[str, Any](zip(names, [0.0] * len(names), strict=True))
    for feed in feeds:
        for name, values in zip(names, session.run(None, feed), strict=True):
            total[name] = total[name] + np.abs(values).max(axis=(0, 2, 3)) / len(feeds)
    return [np.max([total[node.input[0]] for node in group.takers], axis=0) for group in groups]


def _factors(widest: Floats) -> Floats:
    """Of each channel; a channel without values stays."""
    live = widest > 0
    factors = np.divide(widest.max(), widest, out=np.ones_like(widest), where=live)
    return np.asarray(factors.clip(1, _MOST), np.float32)


def _scale(group: _Group, factors: Floats, weights: Mapping[str, Any]) -> None:
    for node in group.makers:
        for name in filter(None, node.input[1:]):
            _multiply(weights[name], factors, _MAKES[node.op_type] if name == node.input[1] else 0)
    for node in group.takers:
        _multiply(weights[node.input[1]], np.float32(1) / factors, 1 - _MAKES[node.op_type])


def _multiply(weight: Any, factors: Floats, axis: int) -> None:
    from onnx import numpy_helper

    values = numpy_helper.to_array(weight)
    shape = [-1 if side == axis else 1 for side in range(values.ndim)]
    scaled = (values * factors.reshape(shape)).astype(values.dtype)
    weight.CopyFrom(numpy_helper.from_array(scaled, weight.name))
