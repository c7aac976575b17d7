"""Join an encoder and a decoder to one model, and cut models of several outputs down to what is bundled."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from lake.core.errors import BundleError, UsageError
from lake.core.printable import printable
from lake.core.tensorflow import keras
from model.keras.layout import to_images
from model.keras.outputs import LISTED, output_named
from model.keras.second_input import pack_inputs, second_input
from model.keras.signature import format_shape

_LOG = logging.getLogger(__name__)
_ONE_IMAGE = "save keras.Model(model.input, [image, latent]) of one of them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A model of one output tensor, made of others.

    Attributes:
      model: a Keras model.
      latent: name of the layer whose output is the latent; of a decoder alone, of its input.
      variance: name of the layer that gives the logarithm of each latent's variance; None without one.
      kind: one of ``model.spec.KINDS``; None where it follows from the outputs.
      further: names of the layers whose outputs are further latents.
    """

    model: Any
    latent: str | None
    variance: str | None = None
    kind: str | None = None
    further: tuple[str, ...] = ()


def assemble(
    parts: Mapping[str, Any],
    latent: str | None,
    variance: str | None,
    second: str | None = None,
    further: Sequence[str] = (),
) -> Joined:
    """Return an encoder and a decoder as one model, or what is bundled of one of them, or of a whole model.

    Args:
      parts: Keras models by 'encoder' and 'decoder', or one of them, or one as 'model'.
      latent: the encoder's output that is the latent, as in ``output_named``; None for its only one. Of a whole model
        also the path of a layer, or None for none.
      variance: likewise, what is the logarithm of each latent's variance; None without one.
      second: name of the input that takes a condition; None for models of one input.
      further: likewise, what the further latents are.

    Raises:
      BundleError: one of them cannot be bundled, or the decoder does not take the latent.
      UsageError: an output is named that is not there, or needs no name.
    """
    if "model" in parts:
        several = len(getattr(parts["model"], "outputs", None) or ()) > 1
        if several and latent is not None:
            return single_output(parts["model"], latent, variance, second, further)
        return Joined(model=parts["model"], latent=latent, variance=variance, further=tuple(further))
    if "encoder" not in parts:
        if latent or variance:
            raise UsageError("a decoder alone takes its latent as input; leave out --latent and --log-variance")
        return decoder_of(parts["decoder"], second)
    if "decoder" in parts:
        return join_parts(parts["encoder"], parts["decoder"], latent, variance, second, further)
    if variance:
        raise UsageError("--log-variance is for a whole variational autoencoder; add its decoder by --decoder")
    return encoder_of(parts["encoder"], latent, second, further)


def join_parts(
    encoder: Any,
    decoder: Any,
    latent: str | None,
    variance: str | None,
    second: str | None = None,
    further: Sequence[str] = (),
) -> Joined:
    """Return the model that decodes what an encoder gives. Its layers keep their names, below 'encoder' and 'decoder'.

    Args:
      encoder: a Keras model with one input, besides that of a condition.
      decoder: likewise, with one output. It takes the latent, flattened or not.
      latent: the encoder's output that is the latent, as in ``output_named``; None for its only one.
      variance: its output that is the logarithm of each latent's variance; None without one. The latent is the mean
        then, and what is decoded is a sample in training, the mean in inference.
      second: name of the input that takes a condition, of one of them or of both; None without one.
      further: outputs of the encoder that are further latents.

    Raises:
      BundleError: one of them takes or gives more than one tensor, or the decoder does not take the latent.
      UsageError: the encoder has several outputs, and none is named, or it has none of this name.
    """
    from model.keras.layers import Sampling

    layers = keras().layers
    names = [latent, *([variance] if variance else []), *further]
    one, other = _second_inputs(encoder, decoder, second)
    image = _single_input(encoder, "encoder", one)
    taken = image if one is None else encoder.inputs
    part = keras().Model(taken, [output_named(encoder, name) for name in names], name="encoder")
    given = keras().Input(tuple(image.shape[1:]), dtype=image.dtype, name="image")
    told = _told(encoder, one) if one else _told(decoder, other) if other else None
    found = part(pack_inputs(part, given, one, told))
    code = layers.Identity(name="latent")(found[0])
    if variance:
        logarithm = layers.Identity(name="log_variance")(found[1])
        if logarithm.shape != code.shape:
            shapes = format_shape(tuple(logarithm.shape[1:])), format_shape(tuple(code.shape[1:]))
            raise UsageError(f"--log-variance {variance}: its output is {shapes[0]}, and the latent is {shapes[1]}")
        sample = Sampling(name="sampling")([code, logarithm])
    else:
        sample = code
    decodes = _decoder_part(decoder, other)
    output = decodes(pack_inputs(decodes, _as_taken(sample, decoder, other), other, told))
    others = [layers.Identity(name=f"latent_{n}")(one) for n, one in enumerate(found[len(names) - len(further) :], 1)]
    output = _with_others(output, others)
    return Joined(
        model=keras().Model(given if told is None else [given, told], output, name="joined"),
        latent="latent",
        variance="log_variance" if variance else None,
        further=tuple(f"latent_{n}" for n in range(1, 1 + len(further))),
    )


def _with_others(output: Any, others: Sequence[Any]) -> Any:
    """The output of a model that computes other tensors, too."""
    from model.keras.layers import First

    return First(name="first")([output, *others]) if others else output


def _second_inputs(encoder: Any, decoder: Any, second: str | None) -> tuple[str | None, str | None]:
    """Names of the inputs of an encoder and a decoder that take the condition; None for one that takes none.

    In files of their own they may have other names. Of two inputs it is the one that takes the same then.
    """
    if second is None:
        return None, None
    named = next((tensor for part in (encoder, decoder) for tensor in part.inputs or [] if tensor.name == second), None)
    if named is None:
        raise UsageError(f"--condition {second!r}: neither the encoder nor the decoder has an input of this name")
    one, other = (_alike(part, named) for part in (encoder, decoder))
    return one, other


def _alike(model: Any, named: Any) -> str | None:
    inputs = model.inputs or []
    if any(tensor.name == named.name for tensor in inputs):
        return str(named.name)
    alike = [str(tensor.name) for tensor in inputs if (tensor.shape, tensor.dtype) == (named.shape, named.dtype)]
    return alike[0] if len(inputs) == 2 and len(alike) == 1 else None


def _told(model: Any, name: str) -> Any:
    """An input like that of a model with this name."""
    tensor = second_input(model, name)
    return keras().Input(tuple(tensor.shape[1:]), dtype=tensor.dtype, name=name)


def single_output(
    model: Any, latent: str, variance: str | None, second: str | None = None, further: Sequence[str] = ()
) -> Joined:
    """Return a model of several outputs as one of one: the image if one output is an image, else the named latent.

    Args:
      model: a Keras model with one input, besides that of a condition.
      latent: the output or layer that is the latent, as in ``output_named``.
      variance: likewise, that which is the logarithm of each latent's variance; None without one.
      second: name of the input that takes a condition; None without one.
      further: likewise, those that are further latents.

    Raises:
      BundleError: it has several inputs.
      UsageError: it has no output or layer of these names.
    """
    image = _single_input(model, "model", second)
    named = [output_named(model, name) for name in (latent, variance, *further) if name is not None]
    others = [tensor for tensor in model.outputs if not any(tensor is one for one in named)]
    images = [tensor for tensor in others if tuple(tensor.shape) == tuple(image.shape)]
    if len(images) > 1:
        names = printable(", ".join(tensor._keras_history.operation.name for tensor in images), LISTED)
        _LOG.warning("puts out several images, %s, so it becomes an encoder; to reconstruct, %s", names, _ONE_IMAGE)
    if len(images) != 1:
        return encoder_of(model, latent, second, further)
    first, *layers = (tensor._keras_history.operation.name for tensor in named)
    whole = keras().Model(model.input, _with_others(images[0], named[len(named) - len(further) :]), name=model.name)
    logarithm = layers.pop(0) if variance else None
    return Joined(model=whole, latent=first, variance=logarithm, further=tuple(layers))


def encoder_of(model: Any, latent: str | None, second: str | None = None, further: Sequence[str] = ()) -> Joined:
    """Return the part of a model that gives one of its outputs, as an encoder.

    Args:
      model: a Keras model with one input, besides that of a condition.
      latent: the output, as in ``output_named``; None for its only one.
      second: name of the input that takes a condition; None without one.
      further: likewise, those that are further latents.

    Raises:
      BundleError: it has several other inputs.
      UsageError: it has several outputs, and none is named, or it has none of this name.
    """
    image = _single_input(model, "encoder", second)
    named = [output_named(model, latent), *(output_named(model, name) for name in further)]
    codes = [_of_layer(model, code, "latent" if not n else f"latent_{n}") for n, code in enumerate(named)]
    name, *others = (code._keras_history.operation.name for code in codes)
    taken = image if second is None else model.inputs
    whole = keras().Model(taken, _with_others(codes[0], codes[1:]), name=model.name)
    return Joined(model=whole, latent=name, kind="encoder", further=tuple(others))


def _of_layer(model: Any, code: Any, name: str) -> Any:
    """The tensor, as a layer gives it that is called once; another layer of this name where none does."""
    source = code._keras_history.operation
    if not any(layer is source for layer in model.layers) or len(source._inbound_nodes) != 1:
        return keras().layers.Identity(name=_free(name, model))(code)
    return code


def _free(name: str, model: Any) -> str:
    """The name, with underscores where a layer of the model has it already."""
    while any(layer.name == name for layer in model.layers):
        name += "_"
    return name


def decoder_of(model: Any, second: str | None = None) -> Joined:
    """Return a decoder that takes its latent as input and gives images ``H W C``.

    Args:
      model: a Keras model with one input, besides that of a condition, and one output.
      second: name of the input that takes a condition; None without one.

    Raises:
      BundleError: it has others, or takes integers.
    """
    decoder, code = _decoder_part(model, second), _single_input(model, "decoder", second)
    if "float" not in code.dtype:
        raise BundleError(
            f"the decoder takes {code.dtype}, not numbers of a latent; save the part behind its embedding or lookup"
        )
    return Joined(model=to_images(decoder), latent=code.name, kind="decoder")


def _single_input(model: Any, role: str, second: str | None) -> Any:
    """The input of a model that takes one, besides that of a condition."""
    if not getattr(model, "inputs", None):
        raise BundleError(
            f"the {role} has no input of known shape, for it is a class of its own or was never built: call it once "
            f"before it is saved, or save keras.Model(x, {role}(x)) of an x = keras.Input(...)"
        )
    others = [tensor for tensor in model.inputs if tensor.name != second]
    if len(others) != 1 or len(model.inputs) != 1 + (second is not None):
        names = printable(", ".join(tensor.name for tensor in model.inputs), LISTED)
        raise BundleError(
            f"the {role} takes {len(model.inputs)} inputs, {names}; only one of one input can be bundled, and of two "
            f"where --condition names the one that takes a class or other numbers of a record"
        )
    return others[0]


def _decoder_part(decoder: Any, second: str | None) -> Any:
    taken = _single_input(decoder, "decoder", second)
    if len(decoder.outputs) != 1:
        raise BundleError(
            f"the decoder puts out {len(decoder.outputs)} tensors; save keras.Model(decoder.input, "
            f"decoder.outputs[i]) of the one that is the image"
        )
    return keras().Model(taken if second is None else decoder.inputs, decoder.outputs[0], name="decoder")


def _as_taken(code: Any, decoder: Any, second: str | None) -> Any:
    """The latent in the shape that the decoder takes."""
    given, taken = tuple(code.shape[1:]), tuple(_single_input(decoder, "decoder", second).shape[1:])
    if _fits(given, taken):
        return code
    if None not in (*given, *taken) and prod(given) == prod(taken):
        return keras().layers.Reshape(taken, name="as_taken")(code)
    raise BundleError(
        f"the decoder takes {format_shape(taken)}, and the latent is {format_shape(given)}; see that both files are of "
        f"one model, and name another output of the encoder by --latent"
    )


def _fits(given: Sequence[int | None], taken: Sequence[int | None]) -> bool:
    sides = zip(given, taken, strict=False)
    return len(given) == len(taken) and all(one is None or other is None or one == other for one, other in sides)
