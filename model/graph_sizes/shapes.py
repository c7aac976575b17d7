"""The shape of what each operation gives, from the shapes of what it takes. Rules are those of the ONNX standard."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, prod
from typing import TypeAlias

from model.graph_sizes.image_shapes import (
    convolved,
    convolved_transposed,
    depth_to_space,
    pooled_globally,
    pooled_windows,
    resized,
    sampled,
    space_to_depth,
)
from model.graph_sizes.operation import Operation
from model.graph_sizes.values import EVALUATED, slices
from model.input_spec import Shape

_Rule: TypeAlias = Callable[[Operation], Sequence[Shape]]


def _same(op: Operation) -> list[Shape]:
    """All outputs as the first input: whatever further ones there are is not larger."""
    return [op.shape()] * op.outputs


def _broadcast(op: Operation) -> list[Shape]:
    return [_together(*(op.shape(i) for i in range(len(op.shapes))))]


def _together(*shapes: Shape) -> Shape:
    """The shape that shapes are broadcast to. NumPy's function knows no large ones."""
    rank = max(map(len, shapes))
    columns = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
    found = [{side for side in column if side != 1} for column in columns]
    if any(len(sides) > 1 for sides in found):
        raise LookupError("shapes that do not fit")
    return tuple(next(iter(sides), 1) for sides in found)


def _of_value(op: Operation) -> list[Shape]:
    if "value" in op.attributes:  # of a constant, which may be large
        return [tuple(op.attributes["value"].t.dims)]
    return [EVALUATED[op.kind](op).shape]


def _filled(op: Operation) -> list[Shape]:
    return [tuple(op.value(0).tolist())]


def _range(op: Operation) -> list[Shape]:
    start, limit, step = (op.value(i).item() for i in range(3))
    return [(max(0, ceil((limit - start) / step)),)]


def _reduced(op: Operation) -> list[Shape]:
    shape, axes = op.shape(), op.axes()
    if axes is None:
        axes = [] if op.number("noop_with_empty_axes", 0) else list(range(len(shape)))
    gone = {axis % len(shape) for axis in axes}
    keep = op.number("keepdims", 1)
    return [tuple(1 if i in gone else side for i, side in enumerate(shape) if keep or i not in gone)]


def _arg(op: Operation) -> list[Shape]:
    shape = list(op.shape())
    axis = op.number("axis", 0)
    shape[axis : axis + 1 or None] = [1] if op.number("keepdims", 1) else []
    return [tuple(shape)]


def _reshaped(op: Operation) -> list[Shape]:
    shape, wanted = op.shape(), op.value(1).tolist()
    if not op.number("allowzero", 0):
        wanted = [shape[i] if side == 0 else side for i, side in enumerate(wanted)]
    known = prod(side for side in wanted if side != -1)
    if prod(shape) % (known or 1):
        raise LookupError("sides that do not fit")
    return [tuple(prod(shape) // (known or 1) if side == -1 else side for side in wanted)]


def _flattened(op: Operation) -> list[Shape]:
    shape, axis = op.shape(), op.number("axis", 1)
    axis = axis % len(shape) if axis < 0 else axis
    return [(prod(shape[:axis]), prod(shape[axis:]))]


def _squeezed(op: Operation) -> list[Shape]:
    shape, axes = op.shape(), op.axes()
    gone = {i for i, side in enumerate(shape) if side == 1} if axes is None else {axis % len(shape) for axis in axes}
    return [tuple(side for i, side in enumerate(shape) if i not in gone)]


def _unsqueezed(op: Operation) -> list[Shape]:
    axes = op.axes() or []
    shape, rank = iter(op.shape()), len(op.shape()) + len(axes)
    new = {axis % rank for axis in axes}
    return [tuple(1 if i in new else next(shape) for i in range(rank))]


def _transposed(op: Operation) -> list[Shape]:
    shape = op.shape()
    order = op.numbers("perm", range(len(shape))[::-1])
    return [tuple(shape[i] for i in order)]


def _joined(op: Operation) -> list[Shape]:
    shapes, axis = [op.shape(i) for i in range(len(op.shapes))], op.number("axis", 0)
    shape = list(shapes[0])
    shape[axis] = sum(one[axis] for one in shapes)
    return [tuple(shape)]


def _split(op: Operation) -> list[Shape]:
    shape, axis = op.shape(), op.number("axis", 0)
    if "split" in op.attributes or op.has(1):
        sides = op.numbers("split") if "split" in op.attributes else op.value(1).tolist()
    else:
        each = -(-shape[axis] // op.outputs)
        sides = [min(each, shape[axis] - i * each) for i in range(op.outputs)]
    axis %= len(shape)
    return [(*shape[:axis], side, *shape[axis + 1 :]) for side in sides]


def _sliced(op: Operation) -> list[Shape]:
    shape = op.shape()
    parts = slices(op, shape)
    return [tuple(len(range(*part.indices(side))) for part, side in zip(parts, shape, strict=True))]


def _gathered(op: Operation) -> list[Shape]:
    shape, axis = op.shape(), op.number("axis", 0)
    axis %= len(shape)
    return [(*shape[:axis], *op.shape(1), *shape[axis + 1 :])]


def _gathered_nd(op: Operation) -> list[Shape]:
    data, indices, batch = op.shape(), op.shape(1), op.number("batch_dims", 0)
    return [(*indices[:-1], *data[batch + indices[-1] :])]


def _expanded(op: Operation) -> list[Shape]:
    return [_together(op.shape(), tuple(op.value(1).tolist()))]


def _tiled(op: Operation) -> list[Shape]:
    return [tuple(side * times for side, times in zip(op.shape(), op.value(1).tolist(), strict=True))]


def _padded(op: Operation) -> list[Shape]:
    shape = op.shape()
    pads = op.numbers("pads") if "pads" in op.attributes else op.value(1).tolist()
    axes = [axis % len(shape) for axis in op.value(3).tolist()] if op.has(3) else list(range(len(shape)))
    sides = list(shape)
    for i, axis in enumerate(axes):
        sides[axis] += pads[i] + pads[i + len(axes)]
    return [tuple(sides)]


def _one_hot(op: Operation) -> list[Shape]:
    indices, axis = op.shape(), op.number("axis", -1)
    axis = axis % (len(indices) + 1)
    return [(*indices[:axis], int(op.value(1).reshape(-1)[0]), *indices[axis:])]


def _multiplied(op: Operation) -> list[Shape]:
    one, other = op.shape(), op.shape(3 if op.kind == "QLinearMatMul" else 1)
    if len(one) == 1 and len(other) == 1:
        return [()]
    left, right = (1, *one) if len(one) == 1 else one, (*other, 1) if len(other) == 1 else other
    shape = (*_together(left[:-2], right[:-2]), left[-2], right[-1])
    return [shape[:-2] + shape[-1:] if len(one) == 1 else shape[:-1] if len(other) == 1 else shape]


def _gemm(op: Operation) -> list[Shape]:
    one, other = op.shape(), op.shape(1)
    return [(one[1 if op.number("transA", 0) else 0], other[0 if op.number("transB", 0) else 1])]


def _einsum(op: Operation) -> list[Shape]:
    terms, _, made = op.text("equation", "").replace(" ", "").partition("->")
    sides: dict[str, int] = {}
    if "." in terms or not made:
        raise LookupError("an equation that is not explicit")
    for i, term in enumerate(terms.split(",")):
        for letter, side in zip(term, op.shape(i), strict=True):
            sides[letter] = max(side, sides.get(letter, 1))
    return [tuple(sides[letter] for letter in made)]


def _recurrent(op: Operation) -> list[Shape]:
    steps, rows = op.shape()[: 1 + 1]
    hidden, directions = op.number("hidden_size", op.shape(2)[2]), op.shape(1)[0]
    state = (directions, rows, hidden)
    return [(steps, directions, rows, hidden), state, state][: op.outputs]


def _quantized(op: Operation) -> list[Shape]:
    return [op.shape(), (), ()]


def _top(op: Operation) -> list[Shape]:
    shape, axis = list(op.shape()), op.number("axis", -1)
    shape[axis] = op.number("k", 0) if "k" in op.attributes else int(op.value(1).reshape(-1)[0])
    return [tuple(shape)] * op.outputs


_ELEMENTWISE = """
    Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization Cast CastLike Ceil Celu Clip Cos Cosh CumSum
    DequantizeLinear Elu Erf Exp Floor Gelu GroupNormalization HardSigmoid HardSwish Hardmax
    Identity InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Log LogSoftmax LpNormalization
    MeanVarianceNormalization Mish Neg Not QuantizeLinear RMSNormalization Reciprocal Relu ReverseSequence Round
    ScatterElements ScatterND Selu Shrink Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Tan Tanh
    ThresholdedRelu Trilu
"""
_BROADCASTING = """
    Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor
"""
_REDUCING = """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
"""
RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _same),
    **dict.fromkeys(_BROADCASTING.split(), _broadcast),
    **dict.fromkeys(_REDUCING.split(), _reduced),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("Constant", "Shape", "Size"), _of_value),
    **dict.fromkeys(("AveragePool", "MaxPool", "LpPool"), pooled_windows),
    **dict.fromkeys(("Conv", "ConvInteger", "QLinearConv"), convolved),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), pooled_globally),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul"), _multiplied),
    **dict.fromkeys(("Resize", "Upsample"), resized),
    "Concat": _joined,
    "ConstantOfShape": _filled,
    "ConvTranspose": convolved_transposed,
    "DepthToSpace": depth_to_space,
    "DynamicQuantizeLinear": _quantized,
    "Einsum": _einsum,
    "Expand": _expanded,
    "Flatten": _flattened,
    "Gather": _gathered,
    "GatherElements": lambda op: [op.shape(1)],
    "GatherND": _gathered_nd,
    "Gemm": _gemm,
    "GridSample": sampled,
    "OneHot": _one_hot,
    "Pad": _padded,
    "Range": _range,
    "Reshape": _reshaped,
    "Slice": _sliced,
    "SpaceToDepth": space_to_depth,
    "Split": _split,
    "Squeeze": _squeezed,
    "Tile": _tiled,
    "TopK": _top,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
}
