"""From a trained Keras model to a bundle."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from model.backend import keras, tensorflow
from model.bundle import GOLDEN, MODEL, Bundle, refuse_existing, write_bundle
from model.calls import reason
from model.golden import COUNT, golden_inputs, pack
from model.graph import depends_on_latent_alone, find_latent, layer_shapes
from model.inputs import Takes, sides, what_it_takes
from model.loading import load_model
from model.pixels import unit
from model.precision import in_bfloat16
from model.probe import Probe
from model.runtime import Runtime
from model.saving import saved
from model.spec import CHANNELS, FUNCTIONS, Golden, Input, Json, Latent, Shape, Spec, usual_functions
from pipeline.errors import BundleError, UsageError

_SEED = 0
_TOLERANCE = 1e-3  # kinds of processor differ by about 1e-6 in float32
_HALF_TOLERANCE = 3e-2  # and by about 1e-2 where a layer computes in half precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How the model was trained, where its file does not say.

    Attributes:
      value_range: what black and white were; for vectors the range of the data.
      color: 'gray', 'rgb' or 'rgba'; None for what the number of channels says.
      input_shape: (H, W, C) or (d,); needed where the model leaves a side open and has a latent.
      noise_input: name of the second input, which takes the noise level; 'channel' where the last channel does.
      noise_scale: what that input was for a standard deviation of all of white: 1 for fractions, 255 for steps.
    """

    value_range: tuple[float, float] = (0.0, 1.0)
    color: str | None = None
    input_shape: Shape | None = None
    noise_input: str | None = None
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        low, high = self.value_range
        if not (isfinite(low) and isfinite(high) and low < high):
            raise UsageError(f"--value-range {low:g} {high:g}: the first must be below the second, and both finite")
        if not 0 < self.noise_scale < float("inf"):
            raise UsageError(f"--noise-scale {self.noise_scale:g}: must be above 0 and finite")


def export(
    path: Path,
    latent: str | None,
    output: str,
    preprocessing: Preprocessing | None = None,
    *,
    variance: str | None = None,
    kind: str | None = None,
    precision: str = "float32",
    training: Mapping[str, Json] | None = None,
) -> Bundle:
    """Make a bundle of a trained Keras model.

    Args:
      path: the ``.keras`` file: one input, or two where one takes a noise level; one output.
      latent: name or path (``encoder/bottleneck``) of the layer whose output is the latent; a nested model's name is
        its output. Outputs of several dimensions are flattened. None for a model that gives images of its input's
        shape, to denoise with.
      output: URI of the bundle's directory.
      preprocessing: how the model was trained.
      variance: name or path of the layer that puts out the logarithm of each latent's variance: the model is a
        variational autoencoder whose latents have a standard normal prior.
      kind: kind of model; None for 'denoiser' without a latent, 'vae' with a variance, else 'autoencoder', or
        'encoder' where the output does not have the input's shape.
      precision: 'bfloat16' for a model that computes its convolutions and dense layers in it, but for those that put
        out latents or images.
      training: provenance to keep in the bundle.

    Raises:
      BundleError: the file is unsafe or damaged, its inputs or outputs are others, it has no such layer, or fails for
        plain inputs; or its precision cannot be changed.
      OutputError: there is a bundle at ``output`` already.
      UsageError: the preprocessing does not fit the model.
    """
    refuse_existing(output)
    data, where = _content(path), str(path)
    model = load_model(data, where)
    try:
        if precision == "bfloat16":
            model = in_bfloat16(model, [name for name in (latent, variance) if name])
            data = saved(model)
        spec = _describe(model, latent, preprocessing or Preprocessing(), variance, kind, dict(training or {}))
        golden = _golden(Runtime(model, spec))
    except UsageError as error:
        raise type(error)(f"{where}: {error}") from error
    except tensorflow().errors.OpError as error:
        raise BundleError(
            f"{where}: the model fails for its golden inputs ({reason(error)}); see that it takes any image of its "
            f"--value-range, or train it again"
        ) from error
    return write_bundle(output, spec, {MODEL: data, GOLDEN: golden})


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; name a file written by model.save()") from error


def _describe(
    model: Any, latent: str | None, given: Preprocessing, variance: str | None, kind: str | None, training: Json
) -> Spec:
    _check_single_output(model)
    takes = what_it_takes(
        model,
        latent=latent is not None,
        input_shape=given.input_shape,
        noise_input=given.noise_input,
        noise_scale=given.noise_scale,
    )
    spec = Spec(
        kind="denoiser",
        input=_input(takes, given),
        latent=None,
        functions=("denoise",),
        golden=Golden(count=COUNT, seed=_SEED, tolerance=_tolerance(model)),
        files={},
        training={**training, "versions": _versions()},
    )
    return _probed(model, spec) if latent is None else _with_latent(model, spec, latent, variance, kind)


def _input(takes: Takes, given: Preprocessing) -> Input:
    return Input(
        shape=takes.shape,
        dtype="uint8" if len(takes.shape) == 3 else "float32",
        value_range=given.value_range,
        color=_color(takes.shape, given.color),
        noise=takes.noise,
        any_size=takes.any_size,
    )


def _probed(model: Any, spec: Spec) -> Spec:
    """The spec of a denoiser, with what was found by trying it."""
    probe = Probe(Runtime(model, spec))
    if not spec.input.any_size:
        probe.check_shape()
        return spec
    multiple, reach = probe.multiple_and_reach()
    return replace(spec, input=replace(spec.input, multiple=multiple, reach=reach))


def _with_latent(model: Any, spec: Spec, latent: str, variance: str | None, kind: str | None) -> Spec:
    shape = spec.input.shape
    shapes = layer_shapes(model, shape)
    layer, latent_shape = find_latent(shapes, latent)
    known = kind or ("vae" if variance else "autoencoder")
    whole = tuple(model.compute_output_shape((1, *shape))[1:]) == shape
    if bool(variance) != (known == "vae") or (variance and not whole):
        raise UsageError("a variational autoencoder is whole, and --log-variance names a layer of it")
    spec = replace(
        spec,
        kind=known if whole else "encoder",
        latent=Latent(layer=layer, shape=latent_shape),
        variance=_variance(shapes, variance, latent_shape) if variance else None,
    )
    return replace(spec, functions=_functions(model, spec, layer))


def _variance(shapes: Mapping[str, list[Shape | None]], name: str, latent: Shape) -> str:
    layer, shape = find_latent(shapes, name)
    if shape != latent:
        raise UsageError(f"--log-variance {name}: its output is {sides(shape)}, and the latent is {sides(latent)}")
    return layer


def _functions(model: Any, spec: Spec, layer: str) -> tuple[str, ...]:
    found = {*usual_functions(spec.kind)}
    if "reconstruct" in found and not spec.numeric:
        low, high = spec.input.value_range
        values = unit(golden_inputs(spec.input, _SEED)) * np.float32(high - low) + np.float32(low)
        alone = depends_on_latent_alone(model, layer, values)
        found |= {"denoise", *(("decode",) if alone else ()), *(("generate",) if alone and spec.variance else ())}
    return tuple(name for name in FUNCTIONS if name in found)


def _check_single_output(model: Any) -> None:
    structure = getattr(model, "output", None)
    if isinstance(structure, (list, tuple, dict)):
        raise BundleError(
            f"the model puts out a {type(structure).__name__} of {len(structure)}; only models of one output "
            f"tensor can be bundled: save keras.Model(model.input, model.outputs[0])"
        )


def _color(shape: Shape, given: str | None) -> str | None:
    usual = {channels: color for color, channels in CHANNELS.items()}
    color = given or (usual.get(shape[-1]) if len(shape) == 3 else None)
    if color is not None and (len(shape) != 3 or CHANNELS.get(color) != shape[-1]):
        raise UsageError(f"--color {color} does not fit the model's input {sides(shape)}")
    return color


def _tolerance(model: Any) -> float:
    half = any("16" in str(layer.compute_dtype) or "8" in str(layer.compute_dtype) for layer in model._flatten_layers())
    return _HALF_TOLERANCE if half else _TOLERANCE


def _golden(runtime: Runtime) -> bytes:
    inputs = golden_inputs(runtime.spec.input, _SEED)
    outputs, again = runtime.outputs(inputs), runtime.outputs(inputs)
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise BundleError(f"its {name} for a plain input is not finite; train the model again")
        if not np.array_equal(values, again[name]):
            raise BundleError(f"its {name} changes from call to call; take the random layer out")
    return pack({"input": inputs, **outputs})


def _versions() -> dict[str, str]:
    return {"keras": keras().__version__, "tensorflow": tensorflow().__version__, "numpy": np.__version__}
