"""The description of a decoder alone, which takes latents and gives images."""

from dataclasses import replace
from typing import Any

from lake.core.errors import BundleError, UsageError
from model.condition import Condition
from model.export_parts import input_of
from model.input_spec import Shape
from model.keras.second_input import first_input, output_shape
from model.keras.signature import InputSignature, Sides, condition_of, fixed_shape, format_shape
from model.preprocessing import Preprocessing
from model.spec import Golden, Json, Latent, Spec


def describe_decoder(model: Any, given: Preprocessing, *, generates: bool, golden: Golden, training: Json) -> Spec:
    """Return the description of a decoder.

    Args:
      model: a Keras model that takes a latent, and perhaps a condition, and gives one image.
      given: how the training data was preprocessed. ``input_shape`` fixes the sides of the latent that are open.
      generates: its latents have a standard normal prior.
      golden: how the golden outputs are recorded.
      training: provenance.

    Raises:
      BundleError: it does not give images of one size.
      UsageError: the preprocessing does not fit it.
    """
    request = given.condition_request
    condition = None if request is None else condition_of(model, request)
    taken = first_input(model, None if condition is None else condition.input)
    latent = Latent(layer=taken.name, shape=latent_sides(tuple(taken.shape[1:]), given))
    image = output_shape(model, latent.shape, condition)
    return decoder_spec(latent, image, given, condition, generates=generates, golden=golden, training=training)


def latent_sides(declared: Sides, given: Preprocessing) -> Shape:
    """The shape of the latent that a decoder takes.

    Args:
      declared: as the decoder has it.
      given: as of ``describe_decoder``.

    Raises:
      UsageError: a side stays open, or an option is for what takes images.
    """
    if given.resize is not None or given.crop is not None:
        raise UsageError(
            "--resize and --crop are for images that a model takes, and a decoder takes latents; leave them out"
        )
    if given.noise_input is not None:
        raise UsageError("--noise-input is for a denoiser, and a decoder takes latents; leave it out")
    return fixed_shape(declared, given.input_shape)


def decoder_spec(
    latent: Latent,
    image: Sides,
    given: Preprocessing,
    condition: Condition | None,
    *,
    generates: bool,
    golden: Golden,
    training: Json,
) -> Spec:
    """The description of a decoder of which it is known what it takes and gives.

    Args:
      latent: what it takes.
      image: shape of what it gives.
      given: as of ``describe_decoder``, like all that follow.
      condition: what it is told besides; None for nothing.
      generates: its latents have a standard normal prior.
      golden: how the golden outputs are recorded.
      training: provenance.

    Raises:
      BundleError: it does not give images of one size.
      UsageError: the preprocessing does not fit it.
    """
    if len(image) != 3 or None in image:
        raise BundleError(f"the decoder gives {format_shape(image)}, not images H W C, which jobs write")
    # What a decoder gives is described as what a whole model takes.
    images = replace(given, value_range=given.output_range or given.value_range, output_range=None)
    if images.normalization(image[2]) is not None:
        raise UsageError("--mean, --std and --bgr are of what an encoder takes; leave them out, or add the encoder")
    return Spec(
        kind="decoder",
        input=input_of(
            InputSignature(shape=tuple(side for side in image if side is not None), condition=condition), images
        ),
        latent=latent,
        functions=("decode", "generate") if generates else ("decode",),
        golden=golden,
        files={},
        training=training,
    )
