"""Join an encoder and a decoder to one model, and cut models of several outputs down to what is bundled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from lake.core.errors import BundleError, UsageError
from lake.core.printable import printable
from lake.core.tensorflow import keras
from model.keras.layout import to_images
from model.keras.signature import format_shape

_LISTED = 500  # characters of the outputs that an error lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A model of one output tensor, made of others.

    Attributes:
      model: a Keras model.
      latent: name of the layer whose output is the latent; of a decoder alone, of its input.
      variance: name of the layer that gives the logarithm of each latent's variance; None without one.
      kind: one of ``model.spec.KINDS``; None where it follows from the outputs.
    """

    model: Any
    latent: str | None
    variance: str | None = None
    kind: str | None = None


def assemble(parts: Mapping[str, Any], latent: str | None, variance: str | None) -> Joined:
    """Return an encoder and a decoder as one model, or what is bundled of one of them, or of a whole model.

    Args:
      parts: Keras models by 'encoder' and 'decoder', or one of them, or one as 'model'.
      latent: the encoder's output that is the latent, as in ``output_named``; None for its only one. Of a whole model
        also the path of a layer, or None for none.
      variance: likewise, what is the logarithm of each latent's variance; None without one.

    Raises:
      BundleError: one of them cannot be bundled, or the decoder does not take the latent.
      UsageError: an output is named that is not there, or needs no name.
    """
    if "model" in parts:
        several = len(getattr(parts["model"], "outputs", None) or ()) > 1
        if several and latent is not None:
            return single_output(parts["model"], latent, variance)
        return Joined(model=parts["model"], latent=latent, variance=variance)
    if "encoder" not in parts:
        if latent or variance:
            raise UsageError("a decoder alone takes its latent as input; leave out --latent and --log-variance")
        return decoder_of(parts["decoder"])
    if "decoder" in parts:
        return join_parts(parts["encoder"], parts["decoder"], latent, variance)
    if variance:
        raise UsageError("--log-variance is for a whole variational autoencoder; add its decoder by --decoder")
    return encoder_of(parts["encoder"], latent)


def join_parts(encoder: Any, decoder: Any, latent: str | None, variance: str | None) -> Joined:
    """Return the model that decodes what an encoder gives. Its layers keep their names, below 'encoder' and 'decoder'.

    Args:
      encoder: a Keras model with one input.
      decoder: a Keras model with one input and one output. It takes the latent, flattened or not.
      latent: the encoder's output that is the latent, as in ``output_named``; None for its only one.
      variance: its output that is the logarithm of each latent's variance; None without one. The latent is the mean
        then, and what is decoded is a sample in training, the mean in inference.

    Raises:
      BundleError: one of them takes or gives more than one tensor, or the decoder does not take the latent.
      UsageError: the encoder has several outputs, and none is named, or it has none of this name.
    """
    from model.keras.layers import Sampling

    layers = keras().layers
    names = [latent, *([variance] if variance else [])]
    image = _single_input(encoder, "encoder")
    part = keras().Model(image, [output_named(encoder, name) for name in names], name="encoder")
    given = keras().Input(tuple(image.shape[1:]), dtype=image.dtype, name="image")
    found = part(given)
    code = layers.Identity(name="latent")(found[0])
    if variance:
        logarithm = layers.Identity(name="log_variance")(found[1])
        if logarithm.shape != code.shape:
            shapes = format_shape(tuple(logarithm.shape[1:])), format_shape(tuple(code.shape[1:]))
            raise UsageError(f"--log-variance {variance}: its output is {shapes[0]}, and the latent is {shapes[1]}")
        sample = Sampling(name="sampling")([code, logarithm])
    else:
        sample = code
    output = _decoder_part(decoder)(_as_taken(sample, decoder))
    return Joined(
        model=keras().Model(given, output, name="joined"),
        latent="latent",
        variance="log_variance" if variance else None,
    )


def single_output(model: Any, latent: str, variance: str | None) -> Joined:
    """Return a model of several outputs as one of one: the image if one output is an image, else the named latent.

    Args:
      model: a Keras model with one input.
      latent: the output or layer that is the latent, as in ``output_named``.
      variance: likewise, that which is the logarithm of each latent's variance; None without one.

    Raises:
      BundleError: it has several inputs.
      UsageError: it has no output or layer of these names.
    """
    image = _single_input(model, "model")
    named = [output_named(model, name) for name in (latent, variance) if name is not None]
    others = [tensor for tensor in model.outputs if not any(tensor is one for one in named)]
    images = [tensor for tensor in others if tuple(tensor.shape) == tuple(image.shape)]
    if len(images) != 1:
        return encoder_of(model, latent)
    layers = [tensor._keras_history.operation.name for tensor in named]
    whole = keras().Model(model.input, images[0], name=model.name)
    return Joined(model=whole, latent=layers[0], variance=layers[1] if variance else None)


def encoder_of(model: Any, latent: str | None) -> Joined:
    """Return the part of a model that gives one of its outputs, as an encoder.

    Args:
      model: a Keras model with one input.
      latent: the output, as in ``output_named``; None for its only one.

    Raises:
      BundleError: it has several inputs.
      UsageError: it has several outputs, and none is named, or it has none of this name.
    """
    image, code = _single_input(model, "encoder"), output_named(model, latent)
    source = code._keras_history.operation
    if not any(layer is source for layer in model.layers) or len(source._inbound_nodes) != 1:
        code = keras().layers.Identity(name=_free("latent", model))(code)
    name = code._keras_history.operation.name
    return Joined(model=keras().Model(image, code, name=model.name), latent=name, kind="encoder")


def _free(name: str, model: Any) -> str:
    """The name, with underscores where a layer of the model has it already."""
    while any(layer.name == name for layer in model.layers):
        name += "_"
    return name


def decoder_of(model: Any) -> Joined:
    """Return a decoder that takes its latent as input and gives images ``H W C``.

    Args:
      model: a Keras model with one input and one output.

    Raises:
      BundleError: it has others, or takes integers.
    """
    decoder = _decoder_part(model)
    (code,) = decoder.inputs
    if "float" not in code.dtype:
        raise BundleError(
            f"the decoder takes {code.dtype}, not numbers of a latent; save the part behind its embedding or lookup"
        )
    return Joined(model=to_images(decoder), latent=code.name, kind="decoder")


def output_named(model: Any, name: str | None) -> Any:
    """The tensor of a model's output.

    Args:
      model: a functional or sequential Keras model.
      name: of the output, its position as Keras counts (0 is the first), or the name of a layer; None for the only one.

    Raises:
      UsageError: there are several, and none is named, or there is none of this name.
    """
    outputs = named_outputs(model)
    if name is None and len(outputs) == 1:
        return model.outputs[0]
    if name is not None and name in outputs:
        return outputs[name]
    if name is not None and name.isdecimal() and int(name) < len(model.outputs):
        return model.outputs[int(name)]
    layer = next((layer for layer in model.layers if layer.name == name), None)
    if layer is not None and len(layer._inbound_nodes) == 1 and len(layer._inbound_nodes[0].output_tensors) == 1:
        return layer.output
    what = f"it has no output or layer {name!r}" if name is not None else f"it has {len(model.outputs)} outputs"
    raise UsageError(f"{what}; name its latent by --latent, one of: {_listing(model)}")


def named_outputs(model: Any) -> Mapping[str, Any]:
    """The output tensors of a model by their names: keys where it gives a dict, else the layers that give them."""
    structure = getattr(model, "output", None)  # a sequential model that was loaded has none
    if isinstance(structure, dict):
        return dict(structure)
    return {tensor._keras_history.operation.name: tensor for tensor in model.outputs}


def _listing(model: Any) -> str:
    shapes = (f"{name} ({format_shape(tuple(tensor.shape[1:]))})" for name, tensor in named_outputs(model).items())
    return printable(", ".join(shapes), _LISTED)


def _single_input(model: Any, role: str) -> Any:
    if not getattr(model, "inputs", None):
        raise BundleError(
            f"the {role} has no input of known shape, for it is a class of its own or was never built: call it once "
            f"before it is saved, or save keras.Model(x, {role}(x)) of an x = keras.Input(...)"
        )
    if len(model.inputs) != 1:
        raise BundleError(
            f"the {role} takes {len(model.inputs)} inputs; only one of one input can be joined: save the whole model "
            f"as one of one input"
        )
    return model.inputs[0]


def _decoder_part(decoder: Any) -> Any:
    taken = _single_input(decoder, "decoder")
    if len(decoder.outputs) != 1:
        raise BundleError(
            f"the decoder puts out {len(decoder.outputs)} tensors; save keras.Model(decoder.input, "
            f"decoder.outputs[i]) of the one that is the image"
        )
    return keras().Model(taken, decoder.outputs[0], name="decoder")


def _as_taken(code: Any, decoder: Any) -> Any:
    """The latent in the shape that the decoder takes."""
    given, taken = tuple(code.shape[1:]), tuple(_single_input(decoder, "decoder").shape[1:])
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
