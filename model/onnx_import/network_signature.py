"""What a network's inputs are, how it lays out an image, and which of that can be bundled."""

from collections.abc import Sequence
from dataclasses import dataclass

from lake.core.errors import BundleError, UsageError
from lake.core.printable import printable
from model.condition import Condition, ConditionRequest
from model.input_spec import Noise, Shape
from model.keras.signature import ANY_SIDE, CHANNEL, InputSignature, format_shape
from model.onnx_import.network import IMAGE_TYPES, OURS, Dimensions, Network, Value
from model.preprocessing import Preprocessing

FIRST, LAST, PLANE, FLAT, VECTOR = "C H W", "H W C", "H W", "H*W", "d"  # layouts of one record
_FEW = (1, 2, 3, 4)  # channels: a longer side is no number of them
_TO_CHANNELS_FIRST = [0, 3, 1, 2]  # what a converter of Keras models puts before a convolution
_TO_CHANNELS_LAST = [0, 2, 3, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSignature:
    """What a network takes.

    Attributes:
      image: the input that takes the image or vector.
      layout: how one record lies in it.
      level: the input that takes the noise level; None if there is none.
      record: shape of one record, and how the network is told the noise level or a condition.
      told: the input that takes the condition; None if there is none.
    """

    image: Value
    layout: str
    level: Value | None
    record: InputSignature
    told: Value | None = None


def read_network_signature(network: Network, given: Preprocessing, *, latent: bool) -> NetworkSignature:
    """Read the inputs of a network.

    Args:
      network: the network.
      given: how the training data was preprocessed.
      latent: whether a latent is named.

    Raises:
      BundleError: a network with such inputs cannot be bundled.
      UsageError: the arguments do not fit the network.
    """
    if given.noise_input is not None and latent:
        raise UsageError("--noise-input is for a network without --latent")
    request = given.condition_request
    if request is not None and not latent:
        raise UsageError("--condition is for a network with --latent")
    image, second = _inputs(network, given.noise_input if request is None else request.input)
    if image.dtype not in IMAGE_TYPES:
        raise BundleError(
            f"input {printable(image.name)!r} of type {image.dtype} takes no images; they are {', '.join(IMAGE_TYPES)}"
        )
    level = None if request is not None else second
    told = int(given.noise_input == CHANNEL)
    declared = image.dimensions[1:]
    layout = _layout(network, image, given.input_shape, told)
    sides = _image_sides(declared, layout, told)
    any_size = given.input_shape is None and sides[:2] == (None, None) and bool(sides[2:] and sides[2])
    if any_size and request is not None:
        raise UsageError(
            f"the network's input {format_shape(sides)} is open; with --condition give --input-shape H W C"
        )
    shape = (ANY_SIDE, ANY_SIDE, sides[2] or 0) if any_size else _fixed(sides, given.input_shape, layout, latent)
    return NetworkSignature(
        image=image,
        layout=layout,
        level=level,
        record=InputSignature(
            shape=shape,
            any_size=any_size,
            noise=_noise(level, layout, given, told),
            condition=None if request is None or second is None else read_condition(second, request),
        ),
        told=None if request is None else second,
    )


def output_layout(sides: Sequence[int], shape: Shape, first_choice: str) -> str | None:
    """How an output of these sides lays out an image (H, W, C) or a vector (d,); None if it is none.

    >>> output_layout((3, 32, 32), (32, 32, 3), FIRST)
    'C H W'
    >>> output_layout((10,), (32, 32, 3), FIRST) is None
    True
    """
    layouts = (VECTOR,) if len(shape) == 1 else (first_choice, FIRST, LAST, PLANE, FLAT)
    return next((one for one in layouts if net_shape(shape, one) == tuple(sides)), None)


def image_layout(network: Network, output: str, sides: Sequence[int]) -> tuple[str, Shape] | None:
    """How an output of these sides lays out an image, and the shape (H, W, C) of that, of a network without images.

    Args:
      network: the network.
      output: name of its output.
      sides: of one record of it.

    Returns:
      None for what is no image.
    """
    if len(sides) == 2:
        return PLANE, (*sides, 1)
    if len(sides) != 3:
        return None
    few = [side in _FEW for side in (sides[0], sides[2])]
    last = few == [False, True] or (few[0] == few[1] and _is_turned(network, output))
    return (LAST, (*sides,)) if last else (FIRST, (*sides[1:], sides[0]))


def _is_turned(network: Network, output: str) -> bool:
    """Whether the channels are put last before an output."""
    made = (node for node in network.model.graph.node if OURS + output in node.output)
    return any(node.op_type == "Transpose" and _permutation(node) == _TO_CHANNELS_LAST for node in made)


def net_shape(shape: Shape, layout: str) -> Shape | None:
    """The shape of one image (H, W, C) or vector (d,) in a layout; None where it has none.

    >>> net_shape((28, 28, 1), PLANE), net_shape((28, 28, 3), FLAT)
    ((28, 28), None)
    """
    if layout == VECTOR:
        return shape
    height, width, channels = shape
    if layout in (FIRST, LAST):
        return (channels, height, width) if layout == FIRST else shape
    # Of several channels nobody can tell in which order they were flattened.
    return None if channels != 1 else (height, width) if layout == PLANE else (height * width,)


def input_shapes(takes: NetworkSignature, rows: int) -> dict[str, Shape]:
    """The shapes of all inputs of a network for some rows."""
    height, width, channels = (*takes.record.shape, 0, 0)[:3]
    noise, level = takes.record.noise, takes.level
    told = int(noise is not None and noise.form == "channel")
    image = net_shape((height, width, channels + told) if channels else takes.record.shape, takes.layout) or ()
    found = {takes.image.name: (rows, *image)}
    if level is not None and noise is not None:
        one = net_shape((height, width, 1), takes.layout) if noise.form == "map" else (1,) * len(level.dimensions[1:])
        found[level.name] = (rows, *(one or ()))
    if takes.told is not None:
        found[takes.told.name] = condition_sides(takes.told, rows)
    return found


def condition_sides(told: Value, rows: int) -> Shape:
    """The shape of a condition's input for some rows; it may be one number for each without a side of its own."""
    return (rows, *(side or 1 for side in told.dimensions[1:]))


def read_condition(told: Value, request: ConditionRequest) -> Condition:
    """What a network is told by one of its inputs.

    Args:
      told: the input.
      request: what a person says of it.

    Raises:
      BundleError: it is told one thing for all images.
      UsageError: the input does not take what the person says.
    """
    if not told.dimensions:
        raise BundleError(f"input {printable(told.name)!r} does not take a condition for each image, but one for all")
    return request.settle(told.dimensions[1:], whole="int" in told.dtype)


def _inputs(network: Network, second: str | None) -> tuple[Value, Value | None]:
    inputs = network.inputs
    if len(inputs) == 1 and second in (None, CHANNEL):
        return next(iter(inputs.values())), None
    if second is None or second not in inputs or len(inputs) != 2:
        raise BundleError(
            f"the network has {len(inputs)} inputs; only networks of one input can be bundled, and of two where "
            f"--condition names the one that takes a class or other numbers of a record, or --noise-input the one that "
            f"takes the noise level, of: {printable(', '.join(inputs))}; where the noise level is the last channel of "
            f"the only input, give --noise-input {CHANNEL}"
        )
    (image,) = (value for name, value in inputs.items() if name != second)
    return image, inputs[second]


def _layout(network: Network, image: Value, given: Shape | None, told: int) -> str:
    sides = image.dimensions[1:]
    if len(sides) == 1:
        return FLAT if given and len(given) == 3 else VECTOR
    if len(sides) == 2:
        return PLANE
    if len(sides) != 3:
        shape = f"{format_shape(sides)} for each record" if sides else "without a shape"
        raise BundleError(
            f"the network's input {printable(image.name)!r} is {shape}, so neither an image nor a vector; "
            "export the network again with an input N x C x H x W, N x H x W x C or N x D"
        )
    if given and len(given) == 3:
        fitting = [one for one in (FIRST, LAST) if _fits(_image_sides(sides, one, told), given)]
    else:
        few = [side is not None and side - told in _FEW for side in (sides[0], sides[2])]
        fitting = [one for one, fits in zip((FIRST, LAST), few, strict=True) if fits]
    if len(fitting) == 1:
        return fitting[0]
    readers = (node for node in network.model.graph.node if OURS + image.name in node.input)
    transposed = (node.op_type == "Transpose" and _permutation(node) == _TO_CHANNELS_FIRST for node in readers)
    return LAST if any(transposed) else FIRST


def _permutation(node: object) -> list[int]:
    return [side for attribute in node.attribute for side in attribute.ints]  # type: ignore[attr-defined]


def _image_sides(sides: Dimensions, layout: str, told: int) -> Dimensions:
    """H, W and C as far as the network says; of a vector its length."""
    if layout in (VECTOR, FLAT):
        return sides
    if layout == PLANE:
        return (*sides, 1)
    height, width, channels = (*sides[1:], sides[0]) if layout == FIRST else sides
    return height, width, channels and channels - told


def _fits(declared: Dimensions, given: Shape) -> bool:
    return len(declared) == len(given) and all(d in (None, s) for d, s in zip(declared, given, strict=True))


def _fixed(declared: Dimensions, given: Shape | None, layout: str, latent: bool) -> Shape:
    shape = given or declared
    flat = net_shape(given, FLAT) if layout == FLAT and given else None
    if not (flat and _fits(declared, flat)) and not _fits(declared, tuple(side or -1 for side in shape)):
        shown = (
            f"{format_shape(declared)} ({layout})" if layout != FLAT else f"{format_shape(declared)}, of one channel"
        )
        if None not in shape:
            raise UsageError(f"--input-shape {format_shape(shape)} does not fit the network's input {shown}")
    if None in shape:
        raise UsageError(f"the network's input {format_shape(shape)} is open; give --input-shape H W C")
    if len(shape) == 1 and not latent:
        raise BundleError("the network takes vectors, so it cannot denoise; give --latent, or --input-shape H W C")
    return tuple(side for side in shape if side is not None)


def _noise(level: Value | None, layout: str, given: Preprocessing, told: int) -> Noise | None:
    if told:
        if layout not in (FIRST, LAST):
            raise BundleError(f"the network's input is {layout}, which has no channel for the noise level")
        return Noise(form="channel", input=None, scale=given.noise_scale)
    if level is None:
        return None
    sides = level.dimensions[1:]
    channel = sides[0] if layout == FIRST else sides[-1] if sides else None
    if all(side == 1 for side in sides):
        form = "scalar"
    elif len(sides) == 3 and channel == 1:
        form = "map"
    else:
        raise BundleError(f"the noise level's input is {format_shape(sides)}, neither one number nor one channel")
    return Noise(form=form, input=level.name, scale=given.noise_scale)
