"""What a Keras model's inputs are, and which of them can be bundled."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from lake.core.errors import BundleError, UsageError
from lake.core.printable import printable
from model.condition import Condition, ConditionRequest
from model.input_spec import Noise, Shape

Sides: TypeAlias = tuple[int | None, ...]
CHANNEL = "channel"  # in place of a second input's name: the last channel of the only input takes the noise level
ANY_SIDE = 64  # side of the golden inputs of a model that takes any size


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSignature:
    """What a model takes.

    Attributes:
      shape: shape of one image (H, W, C) or vector (d,). For a model of any size, that of the golden inputs.
      any_size: whether images of any H and W are taken.
      noise: how the model is told the noise level; None if it is not told.
      condition: what else it is told of a record; None if nothing.
    """

    shape: Shape
    any_size: bool = False
    noise: Noise | None = None
    condition: Condition | None = None


def read_signature(
    model: Any,
    *,
    latent: bool,
    input_shape: Shape | None,
    noise_input: str | None,
    noise_scale: float,
    condition: ConditionRequest | None = None,
) -> InputSignature:
    """Read the inputs of a model.

    Args:
      model: a Keras model.
      latent: whether the model has a latent.
      input_shape: (H, W, C) or (d,), to fix sides that the model leaves open; None to take the model's own.
      noise_input: name of the input that takes the noise level, or ``CHANNEL``; None for a model that is not told.
      noise_scale: see ``model.input_spec.Noise``.
      condition: what a person says of the input that takes a condition; None for a model without one.

    Raises:
      BundleError: a model with such inputs cannot be bundled.
      UsageError: the arguments do not fit the model.
    """
    if condition is not None:
        return _conditional(model, condition, input_shape, latent=latent)
    image, noise = _inputs(model.inputs or [], noise_input, noise_scale)
    if noise is not None and latent:
        raise UsageError("--noise-input is for a model without --latent")
    if image[:2] == (None, None) and len(image) == 3 and image[2] and not input_shape:
        return InputSignature(shape=(ANY_SIDE, ANY_SIDE, image[2]), any_size=True, noise=noise)
    return InputSignature(shape=_fixed(image, input_shape, latent), noise=noise)


def _conditional(model: Any, request: ConditionRequest, input_shape: Shape | None, *, latent: bool) -> InputSignature:
    if not latent:
        raise UsageError("--condition is for a model with --latent, or for a decoder")
    condition = condition_of(model, request)
    (image,) = (tuple(tensor.shape[1:]) for tensor in model.inputs if tensor.name != condition.input)
    return InputSignature(shape=_fixed(image, input_shape, latent), condition=condition)


def condition_of(model: Any, request: ConditionRequest) -> Condition:
    """What a Keras model is told by its second input.

    Args:
      model: a Keras model.
      request: what a person says of it.

    Raises:
      BundleError: it has no such input, or not two inputs.
      UsageError: the input does not take what the person says.
    """
    inputs = {tensor.name: tensor for tensor in model.inputs or []}
    if request.input not in inputs or len(inputs) != 2:
        raise BundleError(
            f"the model has {len(inputs)} input{'s' * (len(inputs) != 1)}; --condition names one of two, of: "
            f"{printable(', '.join(inputs))}"
        )
    second = inputs[request.input]
    return request.settle(tuple(second.shape[1:]), whole="int" in str(second.dtype))


def format_shape(shape: Sides) -> str:
    """Format a shape as a person types it.

    >>> format_shape((8, None, 3))
    '8 ? 3'
    """
    return " ".join("?" if side is None else str(side) for side in shape)


def _inputs(inputs: list[Any], name: str | None, scale: float) -> tuple[Sides, Noise | None]:
    """Return the shape of the image input, and how the noise level is told."""
    shapes = {tensor.name: tuple(tensor.shape[1:]) for tensor in inputs}
    if name is None and len(inputs) == 1:
        return shapes[inputs[0].name], None
    if name == CHANNEL and len(inputs) == 1:
        *outer, channels = shapes[inputs[0].name]
        return (*outer, channels and channels - 1), Noise(form="channel", input=None, scale=scale)
    if name not in shapes or len(shapes) != 2:
        raise BundleError(
            f"the model has {len(inputs)} inputs; only models of one input can be bundled, and of two where "
            f"--condition names the one that takes a class or other numbers of a record, or --noise-input the one that "
            f"takes the noise level, of: {printable(', '.join(shapes))}; where the noise level is the last channel of "
            f"the only input, give --noise-input {CHANNEL}"
        )
    (image,) = (shape for other, shape in shapes.items() if other != name)
    return image, Noise(form=_form(shapes[name], image), input=name, scale=scale)


def _form(level: Sides, image: Sides) -> str:
    if all(side == 1 for side in level):
        return "scalar"
    if level == (*image[:2], 1):
        return "map"
    raise BundleError(
        f"the noise level's input is {format_shape(level)}, neither one number nor {format_shape((*image[:2], 1))}"
    )


def fixed_shape(declared: Sides, given: Shape | None) -> Shape:
    """The shape of an input, whose open sides a person has stated.

    Args:
      declared: as the model has it.
      given: as a person has stated it; None for a model that leaves nothing open.

    Raises:
      UsageError: it does not fit, or a side stays open.
    """
    shape = given or declared
    if len(declared) != len(shape) or any(d not in (None, s) for d, s in zip(declared, shape, strict=True)):
        raise UsageError(f"--input-shape {format_shape(shape)} does not fit the model's input {format_shape(declared)}")
    if None in shape:
        raise UsageError(f"the model's input {format_shape(shape)} is open; give --input-shape H W C")
    return tuple(side for side in shape if side is not None)


def _fixed(declared: Sides, given: Shape | None, latent: bool) -> Shape:
    shape = fixed_shape(declared, given)
    if len(shape) not in ((1, 3) if latent else (3,)):
        kinds = "an image H W C nor a vector d" if latent else "an image H W C, so it cannot denoise; give --latent"
        raise BundleError(f"the model's input {format_shape(shape)} is {'neither ' if latent else 'not '}{kinds}")
    return shape
