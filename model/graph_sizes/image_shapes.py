"""The shape of what the operations on images give: convolutions, pooling, and those that change an image's size."""

from math import floor

from model.graph_sizes.operation import Operation
from model.input_spec import Shape


def resized(op: Operation) -> list[Shape]:
    """Of Resize and Upsample."""
    shape = op.shape()
    axes = [axis % len(shape) for axis in op.numbers("axes", range(len(shape)))]
    if op.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise LookupError("sides that follow each other")
    old = op.opset < 11 or op.kind == "Upsample"
    sides = list(shape)
    if not old and op.has(3) and op.value(3).size:
        for axis, side in zip(axes, op.value(3).tolist(), strict=True):
            sides[axis] = side
    else:
        scales = (
            list(op.attributes["scales"].floats) if "scales" in op.attributes else op.value(1 if old else 2).tolist()
        )
        for axis, scale in zip(axes, scales, strict=True):
            sides[axis] = floor(sides[axis] * scale)
    return [tuple(sides)]


def depth_to_space(op: Operation) -> list[Shape]:
    """Of DepthToSpace."""
    n, c, *sides = op.shape()
    block = op.number("blocksize", 1)
    return [(n, c // block**2, *(side * block for side in sides))]


def space_to_depth(op: Operation) -> list[Shape]:
    """Of SpaceToDepth."""
    n, c, *sides = op.shape()
    block = op.number("blocksize", 1)
    return [(n, c * block**2, *(side // block for side in sides))]


def convolved(op: Operation) -> list[Shape]:
    """Of convolutions, those in integers too."""
    weights = op.shape(3 if op.kind == "QLinearConv" else 1)
    return [(op.shape()[0], weights[0], *_windows(op, list(weights[2:])))]


def pooled_windows(op: Operation) -> list[Shape]:
    """Of pooling over windows."""
    return [(*op.shape()[:2], *_windows(op, op.numbers("kernel_shape")))] * op.outputs


def _windows(op: Operation, kernel: list[int]) -> list[int]:
    sides = op.shape()[2:]
    n = len(sides)
    strides, dilations = op.numbers("strides", [1] * n), op.numbers("dilations", [1] * n)
    pads, automatic = op.numbers("pads", [0] * 2 * n), op.text("auto_pad", "NOTSET")
    found = []
    for i, side in enumerate(sides):
        reach = (kernel[i] - 1) * dilations[i] + 1
        if automatic.startswith("SAME"):
            found.append(-(-side // strides[i]))
            continue
        room = side - reach + (0 if automatic == "VALID" else pads[i] + pads[i + n])
        found.append((-(-room // strides[i]) if op.number("ceil_mode", 0) else room // strides[i]) + 1)
    return found


def convolved_transposed(op: Operation) -> list[Shape]:
    """Of ConvTranspose."""
    shape, weights = op.shape(), op.shape(1)
    n = len(shape) - 2
    strides, dilations = op.numbers("strides", [1] * n), op.numbers("dilations", [1] * n)
    more, pads = op.numbers("output_padding", [0] * n), op.numbers("pads", [0] * 2 * n)
    if "output_shape" in op.attributes:
        sides = op.numbers("output_shape")[-n:]
    elif op.text("auto_pad", "NOTSET").startswith("SAME"):
        sides = [side * stride for side, stride in zip(shape[2:], strides, strict=True)]
    else:
        sides = [
            (shape[2 + i] - 1) * strides[i] + more[i] + (weights[2 + i] - 1) * dilations[i] + 1 - pads[i] - pads[i + n]
            for i in range(n)
        ]
    return [(shape[0], weights[1] * op.number("group", 1), *sides)]


def pooled_globally(op: Operation) -> list[Shape]:
    """Of pooling over all of the image."""
    return [(*op.shape()[:2], *(1 for _ in op.shape()[2:]))]


def sampled(op: Operation) -> list[Shape]:
    """Of GridSample."""
    return [(*op.shape()[:2], *op.shape(1)[1:-1])]
