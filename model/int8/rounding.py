"""Round weights so that errors cancel in what a convolution gives, not in each weight by itself.

Weights are rounded one after another, and what rounding one adds to the layer's output is taken off by those that are
not rounded yet, as far as inputs go together: neighbouring pixels are much alike. This is GPTQ (Frantar et al. 2023),
which solves each layer by the second moments of its inputs in samples.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from model.pixels import Floats, Pixels
from model.runtime.onnx import open_session

_FLOAT = 1  # TensorProto.DataType
_STEPS = 64  # of a weight of 7 bits on either side of 0; the largest weight of an output channel is that many
_EACH, _SAMPLES = 800, 12  # places of a sample whose windows are taken, and samples
_WIDEST = 2304  # numbers of a window, of which the moments are the square: 256 channels of 3 x 3
_DAMPING = 0.01  # of the mean second moment, for inputs that samples do not show


def rounded(model: Any, layers: Collection[str], feeds: Sequence[Mapping[str, Pixels]]) -> dict[str, Floats]:
    """Weights of convolutions on the grid of 7 bits, by name, float32 of their shapes.

    Dilated and grouped convolutions, those of more than 256 channels of 3 x 3, and weights that several nodes take are
    not among them.

    Args:
      model: ``onnx.ModelProto`` in float32, its nodes named.
      layers: names of nodes.
      feeds: its inputs for some samples.
    """
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    few, taken = feeds[:: -(-len(feeds) // _SAMPLES)], [name for node in model.graph.node for name in node.input]
    found = {}
    for node in model.graph.node:
        if node.name not in layers or not _is_plain(node) or taken.count(node.input[1]) > 1:
            continue
        if np.prod(shapes[node.input[1]][1:]) <= _WIDEST:
            weights = _array(model, node.input[1])
            found[node.input[1]] = on_grid(weights, _moments(model, node, weights.shape[2:], few))
    return found


def on_grid(weights: Floats, moments: Floats) -> Floats:
    """Weights rounded to 64 steps on either side of 0, of which the largest one of each output channel has all.

    Args:
      weights: ``[out, in, kh, kw]``.
      moments: second moments of windows, ``[in x kh x kw, in x kh x kw]``.
    """
    left = weights.reshape(len(weights), -1).astype(np.float64)
    largest = np.abs(left).max(axis=1)
    step, place = np.where(largest > 0, largest, 1) / _STEPS, np.abs(left).argmax(axis=1)
    ends = np.sign(left[np.arange(len(left)), place]) * _STEPS
    damped = moments + np.eye(len(moments)) * max(_DAMPING * np.trace(moments) / len(moments), 1e-12)
    spread = np.linalg.cholesky(np.linalg.inv(damped.astype(np.float64))).T  # upper
    for column in range(left.shape[1]):
        steps = (left[:, column] / step).round().clip(-_STEPS, _STEPS)
        made = np.where(place == column, ends, steps) * step
        error = (left[:, column] - made) / spread[column, column]
        left[:, column + 1 :] -= np.outer(error, spread[column, column + 1 :])
        left[:, column] = made
    return left.reshape(weights.shape).astype(np.float32)


def _is_plain(node: Any) -> bool:
    plain = {"group": [1], "dilations": [1, 1]}
    return node.op_type == "Conv" and all(_values(node, name, value) == value for name, value in plain.items())


def _values(node: Any, name: str, default: list[int]) -> list[int]:
    for one in node.attribute:
        if one.name == name:
            return list(one.ints) or [one.i]
    return default


def _array(model: Any, name: str) -> Floats:
    from onnx import numpy_helper

    return np.asarray(next(numpy_helper.to_array(one) for one in model.graph.initializer if one.name == name))


def _moments(model: Any, node: Any, kernel: Sequence[int], feeds: Sequence[Mapping[str, Pixels]]) -> Floats:
    """Of the windows that a layer sees, as sums over samples."""
    cut = type(model)()
    cut.CopyFrom(model)
    del cut.graph.output[:]
    cut.graph.output.add(name=node.input[0]).type.tensor_type.elem_type = _FLOAT
    session, rng = open_session(cut.SerializeToString(), any_size=True), np.random.default_rng(0)
    total: Any = 0.0
    for feed in feeds:
        (given,) = session.run(None, feed)
        windows = _windows(given[0], kernel, node, rng)
        total = total + windows.T @ windows
    return np.asarray(total)


def _windows(given: Floats, kernel: Sequence[int], node: Any, rng: np.random.Generator) -> Floats:
    """Windows at random places of an input ``[C, H, W]`` with a border of zeros, ``[n, C x kh x kw]``."""
    border = [((side - 1) // 2, side // 2) for side in kernel]
    down, across = _values(node, "strides", [1, 1])
    views = sliding_window_view(np.pad(given, ((0, 0), *border)), tuple(kernel), axis=(1, 2))[:, ::down, ::across]
    rows, columns = (rng.integers(side, size=_EACH) for side in views.shape[1:3])
    return views[:, rows, columns].swapaxes(0, 1).reshape(_EACH, -1)
