"""Export a network that comes as an ONNX file: wrapped, compared with itself, and written as a bundle of graphs."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np

from lake.core.errors import BundleError, UsageError
from lake.core.onnxruntime import onnxruntime
from lake.core.printable import printable
from model.bundle import GOLDEN_FILE, Bundle, write_bundle
from model.export_parts import (
    HALF_TOLERANCE,
    SEED,
    TOLERANCE,
    input_of,
    other_output_range,
    record_golden,
    stated_ranges,
)
from model.golden import COUNT, pack
from model.graph_audit import refused_graph
from model.graph_sizes.walk import Sizes
from model.graphs import graph_file, graph_functions
from model.likeness import Judge, likeness
from model.onnx_import.bare import as_image, run_bare
from model.onnx_import.functions import Ends, FunctionBuilder
from model.onnx_import.network import OURS, Network, read_network
from model.onnx_import.network_signature import NetworkSignature, input_shapes, read_network_signature
from model.onnx_import.outer import outer_operations
from model.onnx_import.package import onnx
from model.onnx_import.rows import free_rows
from model.onnx_import.tensors import find_ends, find_tensor
from model.pixels import Pixels
from model.preprocessing import Preprocessing
from model.probe import Probe
from model.runtime.executor import ModelError
from model.runtime.onnx import OnnxExecutor
from model.runtime.runtime import Runtime
from model.spec import FUNCTIONS, Golden, Json, Latent, Spec, default_functions

_LOG = logging.getLogger(__name__)
_BYTES = (0.0, 255.0)  # the range of a network that takes integers
_SAME = 1e-4  # largest difference of what the bundle gives and what the file gives, relative to the largest value
_SAME_HALF = 1e-2


def export_onnx(
    data: bytes,
    where: str,
    latent: str | None,
    output: str,
    given: Preprocessing,
    *,
    variance: str | None,
    training: Mapping[str, Json],
    judge: Judge,
) -> Bundle:
    """Write a bundle of an ONNX file. It has no Keras model, and neither TensorFlow nor Keras is imported.

    Args:
      data: bytes of the file.
      where: its name, for messages.
      latent: name of the tensor, or of the node that makes it, that is the latent; None for a denoiser.
      output: URI of the bundle's directory.
      given: how the training data was preprocessed.
      variance: name of the tensor with the logarithm of each latent's variance.
      training: provenance to keep in the bundle.
      judge: as in ``model.export.export``.

    Raises:
      BundleError: the file is unsafe or damaged, or the network cannot be bundled.
      UsageError: the package onnx is missing, or the preprocessing does not fit the network.
    """
    onnx()
    network = read_network(data, where)
    if network.sampled:
        _LOG.warning("%s: the random numbers that it draws are replaced by their mean, 0", where)
    with _named(where, network):
        takes = read_network_signature(network, given, latent=latent is not None)
        if takes.image.dtype == "uint8" and given.value_range is None:
            given = replace(given, value_range=_BYTES)
        spec = _described(network, takes, given, training)
        _check_sizes(network, takes, where)
        names = [find_tensor(network, name) if name else None for name in (latent, variance)]
        made = _run(network, takes, spec, [name for name in (*names, *network.outputs) if name])
        ends = find_ends(network, takes, made, *names)
        spec = _with_ends(spec, ends)
        graphs, spec = _graphs(network, ends, spec, made)
        golden = record_golden(_runtime(graphs, spec))
        _compare(golden, made, ends, spec, network)
        turned_back = spec.input.normalization is not None and spec.input.normalization.output
        layers = outer_operations(network, ends, turned_back=turned_back)
        looks = likeness(spec, golden, layers, stated_ranges(given))
        if looks is not None:
            judge(looks)
        _runtime(graphs, spec).check(golden, where)
    return write_bundle(output, spec, {GOLDEN_FILE: pack(golden), **graphs})


@contextmanager
def _named(where: str, network: Network) -> Iterator[None]:
    """Errors within this block begin with the name of the file."""
    try:
        yield
    except UsageError as error:
        # The subclass tells a bad bundle from a wrong option, and both have the same arguments.
        raise type(error)(f"{where}: {error}") from error
    except ModelError as error:
        raise BundleError(
            f"{where}: the network fails for several images at once: {error}; {_remedy(network)}"
        ) from error


def _described(network: Network, takes: NetworkSignature, given: Preprocessing, training: Mapping[str, Json]) -> Spec:
    versions = {"onnx": onnx().__version__, "onnxruntime": onnxruntime().__version__, "numpy": np.__version__}
    source = {"producer": printable(network.model.producer_name, 100), "opset": network.opset}
    return Spec(
        kind="denoiser",
        input=input_of(takes.record, given),
        latent=None,
        functions=("denoise",),
        golden=Golden(count=COUNT, seed=SEED, tolerance=HALF_TOLERANCE if network.half else TOLERANCE),
        files={},
        own_output_range=other_output_range(given),
        training={**training, "source": source, "versions": versions},
    )


def _check_sizes(network: Network, takes: NetworkSignature, where: str) -> None:
    """Refuse a network that would fill memory, before ONNX Runtime opens it."""
    shapes = {OURS + name: sides for name, sides in input_shapes(takes, network.batch or 1).items()}
    for problem in Sizes(network.model.graph, network.opset, shapes).problems():
        raise refused_graph(where, problem, "which is not run; export the network without it, or for smaller images")


def _run(network: Network, takes: NetworkSignature, spec: Spec, names: list[str]) -> Mapping[str, Pixels]:
    try:
        return run_bare(network, takes, spec.input, SEED, list(dict.fromkeys(names)))
    except Exception as error:  # its errors have no class in common
        reason = printable(" ".join(str(error).split()), 500)
        raise BundleError(f"ONNX Runtime does not run it: {reason}") from error


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
    kind = "encoder" if ends.output is None else "vae" if ends.variance is not None else "autoencoder"
    return replace(
        spec,
        kind=kind,
        latent=Latent(layer=ends.latent.name, shape=ends.latent.shape),
        variance=ends.variance.name if ends.variance else None,
        functions=default_functions(kind),
    )


def _graphs(network: Network, ends: Ends, spec: Spec, made: Mapping[str, Pixels]) -> tuple[dict[str, bytes], Spec]:
    """The graphs of all functions that the network has, and the description with what trying them shows."""
    builder = FunctionBuilder(free_rows(network), ends, spec)
    graphs = {graph_file(name): builder.build(name) for name in graph_functions(spec)}
    if spec.input.any_size:
        multiple, reach = Probe(_runtime(graphs, spec)).multiple_and_reach()
        return graphs, replace(spec, input=replace(spec.input, multiple=multiple, reach=reach))
    if spec.latent is None or ends.output is None or spec.numeric:
        return graphs, spec
    functions = {*spec.functions, "denoise"}
    decode = builder.build("decode")
    if _decodes(decode, replace(spec, functions=("encode", "reconstruct", "decode")), made, ends):
        graphs[graph_file("decode")] = decode
        functions |= {"decode", *(("generate",) if spec.variance else ())}
    return graphs, replace(spec, functions=tuple(name for name in FUNCTIONS if name in functions))


def _decodes(graph: bytes, spec: Spec, made: Mapping[str, Pixels], ends: Ends) -> bool:
    """Whether the output depends on the latent alone: a graph that sees nothing else gives what the network gave."""
    assert ends.latent is not None and ends.output is not None
    want = as_image(made[ends.output.name], ends.layout, spec.input)
    latents = made[ends.latent.name].astype(np.float32).reshape(len(want), -1)
    with suppress(ModelError):
        runtime = Runtime(OnnxExecutor({graph_file("decode"): graph}.__getitem__, spec), spec)
        return _difference(runtime.decode(latents), want) <= _allowed(spec)
    return False


def _compare(
    golden: Mapping[str, Pixels], made: Mapping[str, Pixels], ends: Ends, spec: Spec, network: Network
) -> None:
    """Compare what the bundle's graphs give with what the file gave.

    Raises:
      BundleError: they differ.
    """
    want: dict[str, Pixels] = {}
    if ends.latent is not None:
        want["latent"] = made[ends.latent.name].reshape(COUNT, -1)
    if ends.variance is not None:
        want["variance"] = np.exp(made[ends.variance.name].reshape(COUNT, -1))
    if ends.output is not None:
        want["output"] = as_image(made[ends.output.name], ends.layout, spec.input)
    for name, values in want.items():
        if not (worst := _difference(golden[name], values)) <= _allowed(spec):
            raise BundleError(
                f"its {name} in the bundle differs by {worst:.3g} of its largest value; {_remedy(network)}"
            )


def _remedy(network: Network) -> str:
    if network.batch is None:
        return "rows of a batch depend on each other: export it in evaluation mode, after net.eval()"
    return (
        f"the file is for {network.batch} images at once, and gives others for another number: export it for any, by "
        "dynamic_axes={'INPUT': {0: 'batch'}} or dynamic_shapes of torch.onnx.export"
    )


def _difference(got: Pixels, want: Pixels) -> float:
    if got.shape != want.shape:
        return np.inf
    exact = want.astype(np.float64)
    return float(np.abs(got.astype(np.float64) - exact).max() / max(float(np.abs(exact).max()), 1e-6))


def _allowed(spec: Spec) -> float:
    return _SAME if spec.golden.tolerance == TOLERANCE else _SAME_HALF


def _runtime(graphs: Mapping[str, bytes], spec: Spec) -> Runtime:
    return Runtime(OnnxExecutor(graphs.__getitem__, spec), spec)
