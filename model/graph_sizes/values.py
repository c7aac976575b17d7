"""What operations give where all that they take is known: the arithmetic of shapes."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from model.graph_sizes.operation import Operation, numpy_type, tensor_values
from model.input_spec import Shape

_Values = npt.NDArray[Any]


def _divided(one: _Values, other: _Values) -> _Values:
    if one.dtype.kind not in "iu":
        return np.asarray(one / other)
    return np.asarray(np.trunc(one / other).astype(one.dtype))  # towards zero, as C does


def _cast(op: Operation) -> _Values:
    return op.value(0).astype(numpy_type(op.number("to", 1)))


def _slice(op: Operation) -> _Values:
    data = op.value(0)
    return data[slices(op, data.shape)]


def slices(op: Operation, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """What ``Slice`` takes of a tensor of a shape."""
    if op.opset < 10:
        starts, ends = op.numbers("starts"), op.numbers("ends")
        axes, steps = op.numbers("axes", range(len(starts))), [1] * len(starts)
    else:
        starts, ends = op.value(1).tolist(), op.value(2).tolist()
        axes = op.value(3).tolist() if op.has(3) else list(range(len(starts)))
        steps = op.value(4).tolist() if op.has(4) else [1] * len(starts)
    found = [slice(None)] * len(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        side = shape[axis]
        if step < 0:
            last = None if end < -side else end  # beyond the first
            found[axis] = slice(start, last, step)
        else:
            found[axis] = slice(start, end, step)
    return tuple(found)


def parts(op: Operation, shapes: Sequence[Shape]) -> list[_Values]:
    """What ``Split`` gives, whose outputs have these shapes."""
    axis = op.number("axis", 0)
    ends = list(accumulate(shape[axis] for shape in shapes))
    return np.split(op.value(0), ends[:-1], axis=axis)


def _reduce(function: Callable[..., Any]) -> Callable[[Operation], _Values]:
    def reduced(op: Operation) -> _Values:
        axes = op.axes()
        return np.asarray(
            function(op.value(0), None if axes is None else tuple(axes), keepdims=bool(op.number("keepdims", 1)))
        )

    return reduced


def _filled(op: Operation) -> _Values:
    value = tensor_values(op.attributes["value"].t) if "value" in op.attributes else np.zeros(1, np.float32)
    if value is None:
        raise LookupError("value")
    return np.full(op.value(0).tolist(), value.reshape(-1)[0])


def _shape(op: Operation) -> _Values:
    return np.array(op.shape()[slice(op.number("start", 0), op.number("end", 1 << 40))], np.int64)


def _constant(op: Operation) -> _Values:
    if "value" in op.attributes:
        found = tensor_values(op.attributes["value"].t)
        if found is None:
            raise LookupError("value")
        return found
    if "value_int" in op.attributes or "value_ints" in op.attributes:
        return np.array(
            op.numbers("value_ints") if "value_ints" in op.attributes else op.number("value_int", 0), np.int64
        )
    one, many = op.attributes.get("value_float"), op.attributes.get("value_floats")
    return np.array(many.floats if many is not None else one.f, np.float32)  # type: ignore[union-attr]


def _simple(function: Callable[..., Any]) -> Callable[[Operation], _Values]:
    return lambda op: np.asarray(function(*(op.value(i) for i in range(len(op.values)))))


_ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Add": np.add,
    "And": np.logical_and,
    "CastLike": lambda given, like: given.astype(like.dtype),
    "Ceil": np.ceil,
    "Div": _divided,
    "Equal": np.equal,
    "Floor": np.floor,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Identity": np.asarray,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Max": lambda *given: np.maximum.reduce(given),
    "Min": lambda *given: np.minimum.reduce(given),
    "Mod": np.mod,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Pow": np.power,
    "Range": lambda start, limit, step: np.arange(start.item(), limit.item(), step.item(), dtype=start.dtype),
    "Round": np.rint,
    "Sign": np.sign,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Tile": lambda given, times: np.tile(given, times.tolist()),
    "Where": np.where,
}
EVALUATED: Mapping[str, Callable[[Operation], _Values]] = {
    **{kind: _simple(function) for kind, function in _ARITHMETIC.items()},
    "Cast": _cast,
    "Concat": lambda op: np.concatenate([op.value(i) for i in range(len(op.values))], axis=op.number("axis", 0)),
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Expand": lambda op: op.value(0) * np.ones(op.value(1).tolist(), op.value(0).dtype),
    "Gather": lambda op: np.take(op.value(0), op.value(1), axis=op.number("axis", 0)),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Shape": _shape,
    "Size": lambda op: np.array(prod(op.shape()), np.int64),
    "Slice": _slice,
    "Transpose": lambda op: np.transpose(op.value(0), op.numbers("perm") or None),
}
# What they give is what they take, in the shape that is told for it.
RESHAPING = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten"})
