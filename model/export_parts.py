"""What exports of all kinds of models share: the file, the description of the input, and the golden outputs."""

from dataclasses import replace

import numpy as np

from lake.core.errors import BundleError, UsageError
from lake.storage import store_for
from model.condition import golden_conditions
from model.golden import golden_inputs, golden_latents
from model.input_spec import CHANNELS, PIXEL_RANGE, Input, Shape
from model.keras.signature import InputSignature, format_shape
from model.pixels import Pixels
from model.preprocessing import Preprocessing
from model.resizing import resizing
from model.runtime.runtime import Runtime
from model.spec import Spec

SEED = 0  # of golden inputs
# Processors round differently: by about 1e-6 in float32, by about 1e-2 if a layer computes in half precision.
TOLERANCE = 1e-3
HALF_TOLERANCE = 3e-2


def read_file(where: str) -> bytes:
    """The bytes of a model's file."""
    with store_for(where).open(where) as file:
        return file.read()


def input_of(signature: InputSignature, given: Preprocessing) -> Input:
    """The description of what a model takes.

    Raises:
      UsageError: the colour, or what is done to each channel, does not fit the number of channels.
    """
    return Input(
        shape=signature.shape,
        dtype="uint8" if len(signature.shape) == 3 else "float32",
        value_range=given.value_range or PIXEL_RANGE,
        color=_color(signature.shape, given.color),
        noise=signature.noise and replace(signature.noise, range=given.noise_range, camera=given.noise_camera),
        condition=signature.condition,
        any_size=signature.any_size,
        resize=resizing(given.resize, given.crop, given.interpolation, _size(signature)),
        normalization=given.normalization(signature.shape[2] if len(signature.shape) == 3 else None),
    )


def _size(signature: InputSignature) -> Shape | None:
    return None if signature.any_size or len(signature.shape) != 3 else signature.shape[:2]


def other_output_range(given: Preprocessing) -> tuple[float, float] | None:
    """The range of the output, where it is not that of the input."""
    # Left out where it is the input's, so that a bundle's digest does not depend on whether it was stated.
    return None if given.output_range == (given.value_range or PIXEL_RANGE) else given.output_range


def stated_ranges(given: Preprocessing) -> frozenset[str]:
    """Which of ``value_range`` and ``output_range`` a person has stated."""
    return frozenset(name for name in ("value_range", "output_range") if getattr(given, name) is not None)


def record_golden(runtime: Runtime) -> dict[str, Pixels]:
    """Golden inputs, and what a model gives for them.

    Raises:
      BundleError: that is not finite, or changes from call to call.
    """
    spec = runtime.spec
    alone = spec.kind == "decoder"
    inputs = golden_latents(spec.dimension, SEED) if alone else golden_inputs(spec.input, SEED)
    condition = spec.input.condition
    told = {} if condition is None else {"condition": golden_conditions(condition, len(inputs), SEED)}
    # Twice: a model with an active random layer could never be checked against recorded outputs.
    outputs, repeated = (runtime.outputs(inputs, told.get("condition")) for _ in range(2))
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise BundleError(f"its {name} for a plain input is not finite; train the model again")
        if not np.array_equal(values, repeated[name]):
            raise BundleError(f"its {name} changes from call to call; take the random layer out")
    return {"input": inputs, **told, **outputs}


def _color(shape: Shape, given: str | None) -> str | None:
    usual = {channels: color for color, channels in CHANNELS.items()}
    color = given or (usual.get(shape[-1]) if len(shape) == 3 else None)
    if color is not None and (len(shape) != 3 or CHANNELS.get(color) != shape[-1]):
        raise UsageError(f"--color {color} does not fit the model's input {format_shape(shape)}")
    return color


def refuse_any_size(spec: Spec) -> None:
    """Refuse several latents of a model of any size.

    Raises:
      UsageError: it is one.
    """
    if spec.input.any_size:
        raise UsageError(
            "several --latent need images of one size: give --input-shape H W C, or export a bundle for each latent"
        )


def check_grid(name: str, latent: Shape, image: Shape) -> None:
    """Check that a latent of a model of any size has a position for each square of pixels.

    Args:
      name: of the latent, for messages.
      latent: its shape.
      image: shape of the image that it is of.

    Raises:
      UsageError: it has not.
    """
    stride = image[0] // latent[0]
    if len(latent) != 3 or image[:2] != (latent[0] * stride, latent[1] * stride) or stride & (stride - 1):
        raise UsageError(
            f"--latent {name}: its output is {format_shape(latent)} for an image of {format_shape(image)}, no grid "
            f"whose sides are the image's divided by 1, 2, 4, ...; give --input-shape H W C to take images of one size"
        )
