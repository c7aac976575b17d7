"""What a Keras model says of its inputs, and what of that can be bundled."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from model.spec import Noise, Shape
from pipeline.errors import BundleError, UsageError

Sides: TypeAlias = tuple[int | None, ...]
CHANNEL = "channel"  # stands for the name of the second input where the last channel has the noise level
_ANY_SIDE = 64  # of the golden inputs of a model that takes any size


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """The shape of one image or vector; whether images of any size are taken; where the noise level goes."""

    shape: Shape
    any_size: bool = False
    noise: Noise | None = None


def what_it_takes(
    model: Any, *, latent: bool, input_shape: Shape | None, noise_input: str | None, noise_scale: float
) -> Takes:
    """What a model takes.

    Args:
      model: a Keras model.
      latent: it has one, whose length must be the same for all images: sides that the model leaves open are fixed.
      input_shape: (H, W, C) or (d,), where given.
      noise_input: name of the input that takes the noise level, or ``CHANNEL``.
      noise_scale: as in ``Noise``.

    Raises:
      BundleError: no such model can be bundled.
      UsageError: what is given does not fit the model.
    """
    image, noise = _inputs(model.inputs or [], noise_input, noise_scale)
    if noise is not None and latent:
        raise UsageError("--noise-input is for a model without --latent")
    if not latent and image[:2] == (None, None) and len(image) == 3 and image[2] and not input_shape:
        return Takes(shape=(_ANY_SIDE, _ANY_SIDE, image[2]), any_size=True, noise=noise)
    return Takes(shape=_fixed(image, input_shape, latent), noise=noise)


def sides(shape: Sides) -> str:
    """A shape as a person writes it: ``8 ? 3``."""
    return " ".join("?" if side is None else str(side) for side in shape)


def _inputs(inputs: list[Any], name: str | None, scale: float) -> tuple[Sides, Noise | None]:
    """The shape of the image's input, and the noise level's."""
    shapes = {tensor.name: tuple(tensor.shape[1:]) for tensor in inputs}
    if name is None and len(inputs) == 1:
        return shapes[inputs[0].name], None
    if name == CHANNEL and len(inputs) == 1:
        *outer, channels = shapes[inputs[0].name]
        return (*outer, channels and channels - 1), Noise(form="channel", input=None, scale=scale)
    if name not in shapes or len(shapes) != 2:
        raise BundleError(
            f"the model has {len(inputs)} inputs; only models of one input can be bundled, and of two where "
            f"--noise-input names the one that takes the noise level, of: {', '.join(shapes)}; where that is the last "
            f"channel of the only input, give --noise-input {CHANNEL}"
        )
    (image,) = (shape for other, shape in shapes.items() if other != name)
    return image, Noise(form=_form(shapes[name], image), input=name, scale=scale)


def _form(level: Sides, image: Sides) -> str:
    if all(side == 1 for side in level):
        return "scalar"
    if level == (*image[:2], 1):
        return "map"
    raise BundleError(f"the noise level's input is {sides(level)}, neither one number nor {sides((*image[:2], 1))}")


def _fixed(declared: Sides, given: Shape | None, latent: bool) -> Shape:
    shape = given or declared
    if len(declared) != len(shape) or any(d not in (None, s) for d, s in zip(declared, shape, strict=True)):
        raise UsageError(f"--input-shape {sides(shape)} does not fit the model's input {sides(declared)}")
    if None in shape:
        other = ", or leave out --latent to denoise images of any size" if latent and len(shape) == 3 else ""
        raise UsageError(f"the model's input {sides(shape)} is open; give --input-shape H W C{other}")
    if len(shape) not in ((1, 3) if latent else (3,)):
        kinds = "an image H W C nor a vector d" if latent else "an image H W C, so it cannot denoise; give --latent"
        raise BundleError(f"the model's input {sides(shape)} is {'neither ' if latent else 'not '}{kinds}")
    return tuple(side for side in shape if side is not None)
