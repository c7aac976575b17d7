"""Describe a Keras model for its bundle: what it takes and gives, and what trying it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lake.core.errors import BundleError, UsageError
from model.export_parts import (
    HALF_TOLERANCE,
    SEED,
    TOLERANCE,
    check_grid,
    input_of,
    other_output_range,
    refuse_any_size,
)
from model.golden import COUNT, golden_inputs
from model.input_spec import Shape
from model.keras.layer_graph import depends_on_latent_alone, find_latent, layer_shapes
from model.keras.second_input import output_shape
from model.keras.signature import format_shape, read_signature
from model.names import LatentRequest
from model.pixels import to_unit
from model.preprocessing import Preprocessing
from model.probe import Probe
from model.runtime.runtime import Runtime
from model.runtime.tensorflow import TensorFlowExecutor
from model.spec import FUNCTIONS, Golden, Json, Latent, Spec, default_functions


def keras_runtime(model: Any, spec: Spec) -> Runtime:
    """What runs a Keras model by TensorFlow.

    Args:
      model: the model.
      spec: its description.
    """
    return Runtime(TensorFlowExecutor(model, spec), spec)


def describe_model(
    model: Any,
    latent: str | None,
    given: Preprocessing,
    variance: str | None,
    kind: str | None,
    training: Json,
    *,
    several: bool,
) -> Spec:
    """The description of a whole model or an encoder.

    Args:
      model: a Keras model of one output tensor.
      latent: path of the layer that gives the latent; None for a denoiser.
      given: what its user says of its images.
      variance: path of the layer that gives the logarithm of the latent's variance; None without one.
      kind: one of ``model.spec.KINDS``; None where it follows from the outputs.
      training: what is known of its training.
      several: further latents follow.

    Raises:
      BundleError: it cannot be bundled.
      UsageError: it does not go with what its user says.
    """
    _check_single_output(model)
    signature = read_signature(
        model,
        latent=latent is not None,
        input_shape=given.input_shape,
        noise_input=given.noise_input,
        noise_scale=given.noise_scale,
        condition=given.condition_request,
    )
    spec = Spec(
        kind="denoiser",
        input=input_of(signature, given),
        latent=None,
        functions=("denoise",),
        golden=Golden(count=COUNT, seed=SEED, tolerance=tolerance_of(model)),
        files={},
        own_output_range=other_output_range(given),
        training=training,
    )
    if several:
        refuse_any_size(spec)  # before it is tried at many sizes
    return _probed(model, spec if latent is None else _with_latent(model, spec, latent, variance, kind))


def _probed(model: Any, spec: Spec) -> Spec:
    """Complete the description with what trying the model shows."""
    if not spec.input.any_size and spec.latent:
        return spec
    probe = Probe(keras_runtime(model, spec))
    if not spec.input.any_size:
        probe.check_shape()
        return spec
    multiple, reach = probe.multiple_and_reach()
    return replace(spec, input=replace(spec.input, multiple=multiple, reach=reach))


def _with_latent(model: Any, spec: Spec, latent: str, variance: str | None, kind: str | None) -> Spec:
    shape, condition = spec.input.shape, spec.input.condition
    shapes = layer_shapes(model, shape, condition)
    layer, latent_shape = find_latent(shapes, latent)
    if spec.input.any_size:
        check_grid(latent, latent_shape, shape)
    known = kind or ("vae" if variance else "autoencoder")
    # An output of another shape cannot be compared with the input, so the model only encodes.
    whole = output_shape(model, shape, condition) == shape
    if bool(variance) != (known == "vae") or (variance and not whole):
        raise UsageError("a variational autoencoder is whole, and --log-variance names a layer of it")
    spec = replace(
        spec,
        kind=known if whole else "encoder",
        latent=Latent(layer=layer, shape=latent_shape),
        variance=_variance(shapes, variance, latent_shape) if variance else None,
    )
    return replace(spec, functions=_functions(model, spec, layer))


def with_further(model: Any, spec: Spec, further: Sequence[LatentRequest], first_name: str | None) -> Spec:
    """The description with latents that the same pass gives besides.

    Args:
      model: the Keras model.
      spec: its description.
      further: those latents.
      first_name: what the latent is called beside them.
    """
    if not further or spec.latent is None:
        return spec
    shapes = layer_shapes(model, spec.input.shape, spec.input.condition)
    found = [(one.name, *find_latent(shapes, one.layer)) for one in further]
    latents = tuple(Latent(layer=layer, shape=shape, own_name=name) for name, layer, shape in found)
    return replace(spec, latent=replace(spec.latent, own_name=first_name), further=latents)


def _variance(shapes: Mapping[str, list[Shape | None]], name: str, latent: Shape) -> str:
    layer, shape = find_latent(shapes, name)
    if shape != latent:
        raise UsageError(
            f"--log-variance {name}: its output is {format_shape(shape)}, and the latent is {format_shape(latent)}"
        )
    return layer


def _functions(model: Any, spec: Spec, layer: str) -> tuple[str, ...]:
    found = {*default_functions(spec.kind)}
    # A skip connection around the latent lets the input through, so that the latent alone does not give the image.
    # Whether there is one is tried, not read from the graph, because the layers are arbitrary.
    if "reconstruct" in found and not spec.numeric:
        low, high = spec.input.value_range
        values = to_unit(golden_inputs(spec.input, SEED)) * np.float32(high - low) + np.float32(low)
        alone = depends_on_latent_alone(model, layer, values, spec.input.condition)
        # What is sampled has a size.
        samples = alone and spec.variance and not spec.input.any_size
        found |= {*(("decode",) if alone else ()), *(("generate",) if samples else ())}
        found |= {"denoise"} if spec.input.condition is None else set()
    return tuple(name for name in FUNCTIONS if name in found)


def _check_single_output(model: Any) -> None:
    structure = getattr(model, "output", None)
    if isinstance(structure, (list, tuple, dict)):
        raise BundleError(
            f"the model puts out a {type(structure).__name__} of {len(structure)}; only models of one output "
            f"tensor can be bundled: save keras.Model(model.input, model.outputs[0])"
        )


def tolerance_of(model: Any) -> float:
    """How far golden outputs may be off.

    Args:
      model: a Keras model.
    """
    half = any("16" in str(layer.compute_dtype) or "8" in str(layer.compute_dtype) for layer in model._flatten_layers())
    return HALF_TOLERANCE if half else TOLERANCE
