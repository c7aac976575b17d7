"""Export a model in 8 bits: its graph is quantised, and the golden outputs are what that gives."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from lake.core.errors import BundleError, UsageError
from model.bundle import GOLDEN_FILE, Bundle, write_bundle
from model.golden import pack
from model.graphs import graph_file, graph_functions, graph_outputs
from model.int8.layers import SHARES, GraphCall, gains_in_float32, layers_to_keep
from model.int8.measure import cost
from model.int8.quantizer import Quantizer
from model.int8.samples import CalibrationSample, load_calibration
from model.pixels import Floats, Pixels, to_unit
from model.runtime.onnx import OnnxExecutor
from model.runtime.runtime import Runtime
from model.spec import Quantization, Spec

_TOLERANCE = 3e-2  # at least
_MOST = 9e-2
# Layers in float32 round as the processor does, and then a step of 8 bits may fall otherwise, and others in the layers
# that follow. How far that goes is tried by inputs that differ by as much.
_ROUNDING, _TRIALS, _MARGIN = 1e-6, 4, 3
_LOST = 0.1  # dB at one of the noise levels, above which more layers stay in float32
_TRIED_WITH = 8  # samples, of those to calibrate with, that layers are chosen by


def check_precision(precision: str | None, calibrate: str | None) -> None:
    """Check that images to calibrate with are given where they are needed.

    Raises:
      UsageError: they are not, or are for nothing.
    """
    if precision == "int8" and calibrate is None:
        raise UsageError("--precision int8 needs --calibrate DIR: images like those that the model is for")
    if precision != "int8" and calibrate is not None:
        raise UsageError("--calibrate is for --precision int8; add that, or leave it out")


def export_int8(
    make: Callable[[Spec], Mapping[str, bytes]],
    files: Mapping[str, bytes],
    spec: Spec,
    golden: Mapping[str, Pixels],
    *,
    calibrate: str,
    output: str,
    where: str,
) -> Bundle:
    """Write a bundle of a model in 8 bits. One with a latent only encodes then.

    Args:
      make: gives the graphs of the model's functions in float32, of a description that has fewer of them.
      files: the Keras model's file, and that of its code if it has any; none of an ONNX file.
      spec: its description in float32.
      golden: its golden inputs and outputs in float32.
      calibrate: URI of images to calibrate with.
      output: URI of the bundle's directory.
      where: name of the model, for messages.

    Raises:
      BundleError: the model does not convert, or has nothing to quantise.
      UsageError: it takes vectors or computes in half precision, or there are too few images.
      InputError: the images cannot be read.
    """
    if spec.numeric:
        raise UsageError(f"{where}: --precision int8 is for models of images, and this one takes vectors; leave it out")
    if spec.input.condition is not None:
        raise UsageError(f"{where}: --precision int8 is for models without --condition; leave it out")
    if spec.kind == "decoder":
        raise UsageError(f"{where}: --precision int8 is for denoisers and encoders, not for a decoder; leave it out")
    if spec.golden.tolerance >= _TOLERANCE:
        raise UsageError(f"{where}: --precision int8 is made of float32, and this model is in 16 bits; leave it out")
    if spec.input.any_size and spec.latent:
        raise UsageError(f"{where}: --precision int8 with --latent needs images of one size; add --input-shape H W C")
    if spec.further:
        raise UsageError(f"{where}: --precision int8 gives one latent; leave all but one --latent out")
    spec = _reduced(spec)
    spec, graphs = _quantized(spec, make(spec), calibrate, where)
    runtime = Runtime(OnnxExecutor(graphs.__getitem__, spec), spec)
    made = {"input": golden["input"], **runtime.outputs(golden["input"])}
    runtime.check(made, where)
    spec = replace(spec, golden=replace(spec.golden, tolerance=_tolerance(runtime, made)))
    return write_bundle(output, spec, {**files, GOLDEN_FILE: pack(made), **graphs})


def _reduced(spec: Spec) -> Spec:
    """A model with a latent as an encoder: an image made of 8 bits twice would be a poor one, and is seldom wanted."""
    if spec.latent is None:
        return spec
    return replace(spec, kind="encoder", functions=("encode",), variance=None, own_output_range=None)


def _quantized(spec: Spec, graphs: Mapping[str, bytes], calibrate: str, where: str) -> tuple[Spec, dict[str, bytes]]:
    (function,) = graph_functions(spec)
    samples = load_calibration(calibrate, spec)
    feeds = [one.feed() for one in samples.calibrating]
    quantizer = Quantizer(graphs[graph_file(function)], graph_outputs(function, spec), feeds)

    def load(graph: bytes) -> GraphCall:
        return _run({graph_file(function): graph}, function, spec)

    exact, tried = load(graphs[graph_file(function)]), samples.calibrating[:: -(-len(feeds) // _TRIED_WITH)]
    gains = gains_in_float32(quantizer, load, exact, tried, spec)
    choices = [layers_to_keep(gains, quantizer.layers, share * quantizer.multiplications) for share in SHARES]
    choices = [kept for kept in choices if len(kept) < len(quantizer.layers)]
    if not choices:
        raise BundleError(
            f"{where}: --precision int8 has no layer worth changing between the first and the last one; leave it out"
        )
    for kept in choices:
        graph = quantizer.quantized(kept)
        found = cost(exact, load(graph), samples.held_out, spec)
        if max(found.get("loss_db", {}).values(), default=0) <= _LOST:
            break
    quantization = Quantization(
        precision="int8",
        samples=len(feeds),
        sha256=samples.sha256,
        layers={
            "int8": len(quantizer.layers) - len(kept),
            "float32": quantizer.count - len(quantizer.layers) + len(kept),
        },
        cost=found,
    )
    return replace(spec, quantization=quantization), {graph_file(function): graph}


def _tolerance(runtime: Runtime, golden: Mapping[str, Pixels]) -> float:
    """How far the golden outputs may be off on another processor, relative to the largest value of each."""
    rng, unit, worst = np.random.default_rng(0), to_unit(golden["input"]), 0.0
    for _ in range(_TRIALS):
        rounded = (unit * (1 + rng.uniform(-_ROUNDING, _ROUNDING, unit.shape))).astype(np.float32)
        for name, values in runtime.outputs(rounded).items():
            difference = np.abs(values - golden[name].astype(np.float32)).max()
            worst = max(worst, float(difference / max(np.abs(golden[name]).max(), 1e-6)))
    return min(max(_TOLERANCE, round(_MARGIN * worst, 3)), _MOST)


def _run(files: Mapping[str, bytes], function: str, spec: Spec) -> GraphCall:
    executor = OnnxExecutor(files.__getitem__, spec)

    def run(one: CalibrationSample) -> Floats:
        given = (one.pixels, one.level) if function == "restore" else (one.pixels,)
        return executor.compile(function, one.pixels.dtype.name, None)(*given)[0]

    return run
