"""Networks that have been run as their files have them: what is known of one before a bundle is made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from lake.core.errors import BundleError, UsageError
from lake.core.onnxruntime import onnxruntime
from lake.core.printable import printable
from model.decoder_spec import decoder_spec, latent_sides
from model.export_parts import (
    HALF_TOLERANCE,
    SEED,
    TOLERANCE,
    check_grid,
    input_of,
    other_output_range,
    refuse_any_size,
)
from model.golden import COUNT, golden_latents
from model.keras.signature import InputSignature, format_shape
from model.names import LatentRequest
from model.onnx_import.bare import run_rows, shown_condition
from model.onnx_import.bare_network import Bare, not_run
from model.onnx_import.functions import Ends, Tensor
from model.onnx_import.join import join_networks, latent_input
from model.onnx_import.network import Network, Value
from model.onnx_import.network_signature import (
    VECTOR,
    NetworkSignature,
    condition_sides,
    image_layout,
    read_condition,
    read_network_signature,
)
from model.onnx_import.package import onnx
from model.onnx_import.sizes import check_sizes, grid_layout, refuse_large
from model.onnx_import.tensors import find_ends, find_tensor, latent_of_encoder, only_image
from model.pixels import Pixels
from model.preprocessing import Preprocessing
from model.spec import Golden, Json, Latent, Spec, default_functions

_BYTES = (0.0, 255.0)  # the range of a network that takes integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a user says of a network's tensors.

    Attributes:
      latent: name of the latent; None for a denoiser, and for the only output of an encoder.
      variance: name of the logarithm of its variance; None without one.
      further: latents besides.
      first_name: what the latent is called then.
    """

    latent: str | None
    variance: str | None = None
    further: tuple[LatentRequest, ...] = ()
    first_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A network that has been run.

    Attributes:
      network: of an encoder and a decoder both as one.
      ends: where its values are.
      spec: its description, but for what trying the bundle's graphs shows.
      made: its tensors by name, for the golden inputs.
      bare: runs its files again; None of a decoder alone, which takes no images.
    """

    network: Network
    ends: Ends
    spec: Spec
    made: Mapping[str, Pixels]
    bare: Bare | None


def try_network(
    network: Network,
    decoder: Network | None,
    given: Preprocessing,
    named: Named,
    training: Mapping[str, Json],
    where: str,
    *,
    part: bool = False,
) -> Tried:
    """Run a whole network, or an encoder, alone or with its decoder.

    Args:
      network: the whole network, or the encoder.
      decoder: the decoder; None without one.
      given: how the training data was preprocessed.
      named: which of its tensors are latents.
      training: provenance.
      where: name of the files, for messages.
      part: it is an encoder, whose only output is the latent where none is named.

    Raises:
      BundleError: it cannot be bundled, or would fill memory.
      UsageError: the preprocessing or the names do not fit it.
    """
    has_latent = named.latent is not None or part
    own, told = _split_condition(network, decoder, given)
    takes = read_network_signature(network, own, latent=has_latent)
    if takes.image.dtype == "uint8" and given.value_range is None:
        given = replace(given, value_range=_BYTES)
    check_sizes(network, takes, where, latent=has_latent)
    latent = latent_of_encoder(network, named.latent) if has_latent else None
    variance = find_tensor(network, named.variance) if named.variance else None
    further = [find_tensor(network, request.layer) for request in named.further]
    asked = [name for name in (latent, variance, *further) if name]
    bare = Bare(network, takes, [*asked, *(network.outputs if decoder is None else ())])
    if told is not None and takes.told is None and given.condition_request is not None:
        takes = replace(takes, record=replace(takes.record, condition=read_condition(told, given.condition_request)))
    spec = _described(network, takes, given, training)
    made = bare.run(spec.input)
    if decoder is not None and latent is not None:
        second = None if told is None else told.name
        network, prefix = join_networks(network, decoder, latent, _row(made, latent).shape[1:], second)
        if told is not None and takes.told is None:
            takes = replace(takes, told=replace(told, name=prefix + told.name))
        check_sizes(network, takes, where, latent=True)
        bare.decoded_by(decoder, latent, prefix, told)
        made = bare.run(spec.input)
    grid = grid_layout(network, takes, latent) if latent and takes.record.any_size else None
    ends = find_ends(network, takes, made, latent, variance, grid, further)
    if decoder is not None and ends.output is None:
        shown = ", ".join(format_shape(made[name].shape[1:]) for name in network.outputs if name in made)
        raise BundleError(
            f"the decoder gives {shown}, not images {format_shape(takes.record.shape)}, as the encoder takes"
        )
    spec = _with_further(_with_ends(spec, ends), ends, named)
    return Tried(network=network, ends=ends, spec=spec, made=made, bare=bare)


def _split_condition(
    network: Network, decoder: Network | None, given: Preprocessing
) -> tuple[Preprocessing, Value | None]:
    """What is said of a network itself, without a condition that only its decoder is told; and the decoder's input."""
    request = given.condition_request
    if request is None or decoder is None:
        return given, None
    told = decoder.inputs.get(request.input)
    only_there = told is not None and request.input not in network.inputs
    return replace(given, condition=None, condition_classes=None) if only_there else given, told


def try_decoder(
    decoder: Network, given: Preprocessing, training: Mapping[str, Json], where: str, *, generates: bool
) -> Tried:
    """Run a decoder alone.

    Args:
      decoder: the decoder.
      given: as of ``try_network``, like all that follow.
      training: provenance.
      where: its name.
      generates: its latents have a standard normal prior.

    Raises:
      BundleError: it does not give one image, or would fill memory.
      UsageError: the preprocessing does not fit it.
    """
    request = given.condition_request
    value = latent_input(decoder, None if request is None else request.input)
    latent, rows = latent_sides(value.dimensions[1:], given), decoder.batch or 1
    codes = golden_latents(prod(latent), SEED).reshape(-1, *latent).astype(value.dtype)
    told, shown, shapes = None, {value.name: codes}, {value.name: (rows, *latent)}
    condition = None
    if request is not None:
        told = _second(decoder, request.input)
        condition = read_condition(told, request)
        shown[told.name] = shown_condition(told, condition, len(codes), SEED)
        shapes[told.name] = condition_sides(told, rows)
    refuse_large(decoder, shapes, where)
    try:
        made = run_rows(decoder, shown, decoder.outputs, any_size=False)
    except Exception as error:  # its errors have no class in common
        raise not_run(error) from error
    layouts = {name: image_layout(decoder, name, values.shape[1:]) for name, values in made.items()}
    output = only_image([name for name, layout in layouts.items() if layout])
    if output is None:
        given_shapes = ", ".join(format_shape(values.shape[1:]) for values in made.values())
        raise BundleError(
            f"the decoder gives {given_shapes}, not images of channels, height and width; reshape them within "
            "the network, y.view(-1, C, H, W), and export it again"
        )
    layout, image = layouts[output] or ("", ())
    spec = decoder_spec(
        Latent(layer=value.name, shape=latent),
        image,
        given,
        condition,
        generates=generates,
        golden=_golden(decoder),
        training={**training, **_provenance(decoder)},
    )
    takes = NetworkSignature(image=value, layout=VECTOR, level=None, record=InputSignature(shape=latent), told=told)
    code, made_image = Tensor(name=value.name, shape=latent, dtype=value.dtype), made[output]
    end = Tensor(name=output, shape=made_image.shape[1:], dtype=made_image.dtype.name)
    ends = Ends(takes=takes, latent=code, variance=None, output=end, layout=layout)
    return Tried(network=decoder, ends=ends, spec=spec, made=made, bare=None)


def _second(decoder: Network, name: str) -> Value:
    """The input of a decoder that takes a condition."""
    if name not in decoder.inputs:
        raise UsageError(f"--condition {name!r}: the decoder's inputs are {printable(', '.join(decoder.inputs), 500)}")
    return decoder.inputs[name]


def _described(network: Network, takes: NetworkSignature, given: Preprocessing, training: Mapping[str, Json]) -> Spec:
    """The description of a denoiser, before its ends are known."""
    return Spec(
        kind="denoiser",
        input=input_of(takes.record, given),
        latent=None,
        functions=("denoise",),
        golden=_golden(network),
        files={},
        own_output_range=other_output_range(given),
        training={**training, **_provenance(network)},
    )


def _golden(network: Network) -> Golden:
    return Golden(count=COUNT, seed=SEED, tolerance=HALF_TOLERANCE if network.half else TOLERANCE)


def _provenance(network: Network) -> dict[str, Json]:
    versions = {"onnx": onnx().__version__, "onnxruntime": onnxruntime().__version__, "numpy": np.__version__}
    return {
        "source": {"producer": printable(network.model.producer_name, 100), "opset": network.opset},
        "versions": versions,
    }


def _with_ends(spec: Spec, ends: Ends) -> Spec:
    """The description with what the network puts out, but for what must be tried."""
    if ends.latent is None:
        if ends.output is None:
            raise BundleError(
                "its output does not have its input's shape; without --latent only a network that gives images of its "
                "input's size can be bundled"
            )
        return spec
    if ends.variance is not None and ends.output is None:
        raise UsageError("a variational autoencoder is whole, and this one puts out no image; leave out --log-variance")
    if spec.input.any_size:
        check_grid(ends.latent.name, ends.latent_shape, spec.input.shape)
    kind = "encoder" if ends.output is None else "vae" if ends.variance is not None else "autoencoder"
    return replace(
        spec,
        kind=kind,
        latent=Latent(layer=ends.latent.name, shape=ends.latent_shape),
        variance=ends.variance.name if ends.variance else None,
        functions=default_functions(kind),
    )


def _with_further(spec: Spec, ends: Ends, named: Named) -> Spec:
    """The description with latents that the same pass gives besides."""
    if not named.further or spec.latent is None:
        return spec
    refuse_any_size(spec)
    further = (
        Latent(layer=tensor.name, shape=tensor.shape, own_name=request.name)
        for tensor, request in zip(ends.further, named.further, strict=True)
    )
    return replace(spec, latent=replace(spec.latent, own_name=named.first_name), further=tuple(further))


def _row(made: Mapping[str, Pixels], name: str) -> Pixels:
    if name not in made or made[name].ndim < 2:
        raise BundleError(f"{printable(name)!r} does not have a row of numbers for each image; name another tensor")
    return made[name]
