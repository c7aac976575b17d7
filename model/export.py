"""From a trained Keras model to a bundle."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from model.backend import keras, tensorflow
from model.bundle import GOLDEN, MODEL, Bundle, refuse_existing, write_bundle
from model.golden import COUNT, golden_inputs, pack
from model.graph import find_latent, layer_shapes
from model.loading import load_model
from model.runtime import Runtime
from model.spec import CHANNELS, Golden, Input, Json, Latent, Shape, Spec
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
      input_shape: (H, W, C) or (d,); needed where the model leaves a side open.
    """

    value_range: tuple[float, float] = (0.0, 1.0)
    color: str | None = None
    input_shape: Shape | None = None

    def __post_init__(self) -> None:
        low, high = self.value_range
        if not (isfinite(low) and isfinite(high) and low < high):
            raise UsageError(f"--value-range {low:g} {high:g}: the first must be below the second, and both finite")


def export(
    path: Path,
    latent: str,
    output: str,
    preprocessing: Preprocessing | None = None,
    *,
    kind: str | None = None,
    training: Mapping[str, Json] | None = None,
) -> Bundle:
    """Make a bundle of a trained Keras model.

    Args:
      path: the ``.keras`` file: one input, one output.
      latent: name or path (``encoder/bottleneck``) of the layer whose output is the latent; a nested model's name is
        its output. Outputs of several dimensions are flattened.
      output: URI of the bundle's directory.
      preprocessing: how the model was trained.
      kind: kind of model; None for 'autoencoder', or 'encoder' where the output does not have the input's shape.
      training: provenance to keep in the bundle.

    Raises:
      BundleError: the file is unsafe or damaged, is no model of one input and one output, or has no such layer.
      OutputError: there is a bundle at ``output`` already.
      UsageError: the preprocessing does not fit the model.
    """
    refuse_existing(output)
    data = _content(path)
    model = load_model(data, str(path))
    spec = _describe(model, latent, str(path), preprocessing or Preprocessing(), kind, dict(training or {}))
    return write_bundle(output, spec, {MODEL: data, GOLDEN: _golden(Runtime(model, spec), str(path))})


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; name a file written by model.save()") from error


def _describe(
    model: Any, latent: str, where: str, given: Preprocessing, kind: str | None, training: dict[str, Json]
) -> Spec:
    shape = _input_shape(model, where, given.input_shape)
    _check_single_output(model, where)
    try:
        shapes = layer_shapes(model, shape)
        layer, latent_shape = find_latent(shapes, latent)
    except BundleError as error:
        raise BundleError(f"{where}: {error}") from error
    return Spec(
        kind=kind or ("autoencoder" if _output_shape(model, shape) == shape else "encoder"),
        input=Input(
            shape=shape,
            dtype="uint8" if len(shape) == 3 else "float32",
            value_range=given.value_range,
            color=_color(shape, given.color),
        ),
        latent=Latent(layer=layer, shape=latent_shape),
        golden=Golden(count=COUNT, seed=_SEED, tolerance=_tolerance(model)),
        files={},
        training={**training, "versions": _versions()},
    )


def _input_shape(model: Any, where: str, given: Shape | None) -> Shape:
    inputs = model.inputs or []
    if len(inputs) != 1:
        raise BundleError(f"{where}: the model has {len(inputs)} inputs; only models of one input can be bundled")
    declared = tuple(inputs[0].shape[1:])
    shape = given or declared
    if len(declared) != len(shape) or any(d not in (None, s) for d, s in zip(declared, shape, strict=True)):
        raise UsageError(f"{where}: --input-shape {_sides(shape)} does not fit the model's input {_sides(declared)}")
    if None in shape:
        raise UsageError(f"{where}: the model's input {_sides(shape)} is open; give --input-shape H W C")
    if len(shape) not in (1, 3):
        raise BundleError(f"{where}: the model's input {_sides(shape)} is neither an image H W C nor a vector d")
    return shape


def _sides(shape: tuple[int | None, ...]) -> str:
    return " ".join("?" if side is None else str(side) for side in shape)


def _check_single_output(model: Any, where: str) -> None:
    structure = getattr(model, "output", None)
    if isinstance(structure, (list, tuple, dict)):
        raise BundleError(
            f"{where}: the model puts out a {type(structure).__name__} of {len(structure)}; only models of one output "
            f"tensor can be bundled: save keras.Model(model.input, model.outputs[0])"
        )


def _output_shape(model: Any, shape: Shape) -> Shape:
    return tuple(model.compute_output_shape((1, *shape))[1:])


def _color(shape: Shape, given: str | None) -> str | None:
    usual = {channels: color for color, channels in CHANNELS.items()}
    color = given or (usual.get(shape[-1]) if len(shape) == 3 else None)
    if color is not None and (len(shape) != 3 or CHANNELS.get(color) != shape[-1]):
        raise UsageError(f"--color {color} does not fit the model's input {_sides(shape)}")
    return color


def _tolerance(model: Any) -> float:
    half = any("16" in str(layer.compute_dtype) or "8" in str(layer.compute_dtype) for layer in model._flatten_layers())
    return _HALF_TOLERANCE if half else _TOLERANCE


def _golden(runtime: Runtime, where: str) -> bytes:
    inputs = golden_inputs(runtime.spec.input, _SEED)
    outputs, again = runtime.outputs(inputs), runtime.outputs(inputs)
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise BundleError(f"{where}: its {name} for a plain input is not finite; train the model again")
        if not np.array_equal(values, again[name]):
            raise BundleError(f"{where}: its {name} changes from call to call; take the random layer out")
    return pack({"input": inputs, **outputs})


def _versions() -> dict[str, str]:
    return {"keras": keras().__version__, "tensorflow": tensorflow().__version__, "numpy": np.__version__}
