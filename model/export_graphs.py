"""The graphs of a model that is exported: converted, and proven to give what the model gives."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from lake.core.errors import BundleError, OutputError, UsageError
from model.bundle import GOLDEN_FILE, MODEL_FILE, Bundle, add_files, write_bundle
from model.golden import unpack
from model.graphs import graph_file, has_graphs
from model.keras.load import keras_reason, load_model
from model.pixels import Pixels
from model.runtime.onnx import OnnxExecutor
from model.runtime.runtime import Runtime
from model.runtime.tensorflow import TensorFlowExecutor
from model.spec import Spec
from model.zoo import in_zoo

_LOG = logging.getLogger(__name__)
# Conversions of one model: tf2onnx goes through sets, whose order changes, and at times leaves out an operation.
_ATTEMPTS = 4
_BUILT_BY_SIZE = (
    "a layer is built for each size of images, as UpSampling2D is that interpolates; interpolation='nearest' and "
    "Conv2DTranspose are not"
)
_SIDES = ((1, 3), (5, 2))  # of images that a model of any size is tried with, in multiples of what it takes


def graphs_or_none(model: Any, spec: Spec, golden: Mapping[str, Pixels], where: str) -> dict[str, bytes]:
    """Files of the graphs; none, and a warning in one line, where the model does not convert.

    Args:
      model: the Keras model.
      spec: its description.
      golden: its golden inputs and outputs.
      where: name of the model, for messages.
    """
    try:
        return make_graphs(model, spec, golden, where)
    except BundleError as error:
        _LOG.warning("%s", error)
        return {}


def make_graphs(model: Any, spec: Spec, golden: Mapping[str, Pixels], where: str) -> dict[str, bytes]:
    """Files of the graphs, by name. Equal models give equal bytes.

    Args:
      model: as in ``graphs_or_none``, like all that follow.
      spec: its description.
      golden: its golden inputs and outputs.
      where: name of the model, for messages.

    Raises:
      BundleError: the model does not convert, or the graphs do not give what it gives.
    """
    try:
        for _ in range(_ATTEMPTS - 1):
            with suppress(BundleError):
                return _graphs(model, spec, golden)
        return _graphs(model, spec, golden)
    except Exception as error:  # the converter and ONNX Runtime raise errors of any class
        by_size = spec.input.any_size and isinstance(error, TypeError)
        reason = _BUILT_BY_SIZE if by_size else keras_reason(error).partition("; export")[0]
        raise BundleError(f"{where}: runs on TensorFlow only, for it does not convert to ONNX: {reason}") from error


def _graphs(model: Any, spec: Spec, golden: Mapping[str, Pixels]) -> dict[str, bytes]:
    """Convert a model, and prove the graphs.

    Raises:
      BundleError: they do not give what the model gives.
      Exception: of any class; the model does not convert, or ONNX Runtime does not run the graphs.
    """
    from model.keras.convert import to_onnx

    files = {graph_file(name): data for name, data in to_onnx(model, spec).items()}
    runtime = Runtime(OnnxExecutor(files.__getitem__, spec), spec)
    runtime.check(dict(golden), "converted")
    if spec.input.any_size:
        _check_sizes(runtime, Runtime(TensorFlowExecutor(model, spec), spec))
    return files


def export_again(uri: str, output: str | None = None) -> Bundle:
    """Add the graphs to a bundle that has none. It has another digest then.

    Args:
      uri: of the bundle, or ``zoo:NAME``.
      output: URI of the directory of a new bundle; None to add them to this one.

    Raises:
      BundleError: the bundle is damaged, has them already, or its model does not convert.
      OutputError: ``output`` holds a bundle already.
      UsageError: the bundle is of the zoo, and no ``output`` is given.
    """
    if in_zoo(uri) and output is None:
        raise UsageError(f"{uri} comes with the package and stays as it is; give --output for a bundle of your own")
    bundle = Bundle.open(uri)
    if has_graphs(bundle.spec):
        raise OutputError(f"{bundle.uri}: has its graphs already; use it as it is")
    if bundle.spec.code is not None:
        raise UsageError(f"{bundle.uri}: has code of its own; export the model again, with --code")
    names = bundle.files()
    model = load_model(bundle.read(MODEL_FILE), names[MODEL_FILE])
    golden = unpack(bundle.read(GOLDEN_FILE), bundle.spec, names[GOLDEN_FILE])
    graphs = make_graphs(model, bundle.spec, golden, bundle.uri)
    if output is None:
        return add_files(bundle, graphs)
    kept = {name: bundle.read(name) for name in (MODEL_FILE, GOLDEN_FILE)}
    return write_bundle(output, bundle.spec, {**kept, **graphs})


def _check_sizes(one: Runtime, other: Runtime) -> None:
    """Compare what two executors make of images of other sizes, and of other numbers of them, than the golden ones."""
    takes, rng = one.spec.input, np.random.default_rng(0)
    for n, sides in enumerate(_SIDES, 1):
        shape = (n, *(side * takes.multiple for side in sides), takes.shape[2])
        images = rng.integers(0, 256, shape, np.uint8)
        for name, want in other.outputs(images).items():
            got = one.outputs(images)[name]
            same = got.shape == want.shape
            worst = float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-6)) if same else np.inf
            if not worst <= one.spec.golden.tolerance:
                raise BundleError(f"{name}s of {shape[1]}x{shape[2]} differ by {worst:.3g} of their largest value")
