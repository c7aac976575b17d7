"""The proof that the graphs of a bundle give what the files of a network give."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np

from lake.core.errors import BundleError
from model.condition import golden_conditions
from model.export_parts import SEED, TOLERANCE
from model.golden import golden_inputs
from model.graphs import graph_file
from model.onnx_import.bare import as_image
from model.onnx_import.functions import Ends
from model.onnx_import.network import Network
from model.onnx_import.network_signature import FIRST
from model.onnx_import.tried import Tried
from model.pixels import Floats, Pixels
from model.runtime.executor import ModelError
from model.runtime.onnx import OnnxExecutor
from model.runtime.runtime import Runtime
from model.spec import Spec

_SAME = 1e-4  # largest difference of what the bundle gives and what the file gives, relative to the largest value
_SAME_HALF = 1e-2
_OTHER_SIZE = (1, 2)  # of images that a network of any size is tried with too, in multiples of 64 pixels
_SIDE = 64


def runtime_of(graphs: Mapping[str, bytes], spec: Spec) -> Runtime:
    """A runtime of graphs that are not in a bundle yet."""
    return Runtime(OnnxExecutor(graphs.__getitem__, spec), spec)


def decodes(graph: bytes, tried: Tried, spec: Spec) -> bool:
    """Whether the output depends on latent and condition alone: one without the image gives what the network gave.

    Args:
      graph: bytes of the function ``decode``.
      tried: the network.
      spec: its description.
    """
    want = _wanted(tried.made, tried.ends, spec)
    spec = replace(spec, functions=("encode", "reconstruct", "decode"))
    with suppress(ModelError):
        told, latents = spec.input.condition, want["latent"].astype(np.float32)
        condition = None if told is None else golden_conditions(told, len(latents), SEED)
        made = runtime_of({graph_file("decode"): graph}, spec).decode(latents, condition=condition)
        return _difference(made, want["output"]) <= _allowed(spec)
    return False


def check_golden(golden: Mapping[str, Pixels], tried: Tried, spec: Spec) -> None:
    """Compare what a bundle's graphs give for the golden inputs with what the files gave.

    Args:
      golden: golden outputs of the graphs.
      tried: the network.
      spec: its description.

    Raises:
      BundleError: they differ.
    """
    _compare(golden, _wanted(tried.made, tried.ends, spec), tried.network, spec)


def check_other_size(graphs: Mapping[str, bytes], tried: Tried, spec: Spec) -> None:
    """The same for images of another size, which are not square, of a network of any size with a latent.

    Args:
      graphs: of its functions.
      tried: the network.
      spec: its description.

    Raises:
      BundleError: they differ.
    """
    assert tried.bare is not None
    takes = replace(spec.input, shape=(*(_SIDE * n for n in _OTHER_SIZE), spec.input.shape[2]))
    want = _wanted(tried.bare.run(takes), tried.ends, replace(spec, input=takes))
    runtime = runtime_of(graphs, spec)
    made = runtime.outputs(golden_inputs(takes, SEED))
    if "decode" in spec.functions:
        made["output"] = runtime.decode(np.asarray(made["latent"], np.float32))
    _compare(made, want, tried.network, spec)


def _wanted(made: Mapping[str, Pixels], ends: Ends, spec: Spec) -> dict[str, Pixels]:
    """What the files gave, as a bundle gives it."""
    want: dict[str, Pixels] = {}
    if ends.latent is not None and spec.kind != "decoder":
        want["latent"] = _latents(made[ends.latent.name], ends)
    for one, tensor in zip(spec.further, ends.further, strict=True):
        want[f"latent_{one.name}"] = _latents(made[tensor.name], ends)
    if ends.variance is not None:
        want["variance"] = np.exp(_latents(made[ends.variance.name], ends))
    if ends.output is not None:
        want["output"] = as_image(made[ends.output.name], ends.layout, spec.input)
    return want


def _latents(values: Pixels, ends: Ends) -> Floats:
    floats = values.astype(np.float32)
    if ends.grid is None:
        return floats.reshape(len(floats), -1)
    return floats.transpose(0, 2, 3, 1) if ends.grid == FIRST else floats


def _compare(golden: Mapping[str, Pixels], want: Mapping[str, Pixels], network: Network, spec: Spec) -> None:
    for name, values in want.items():
        if not (worst := _difference(golden[name], values)) <= _allowed(spec):
            raise BundleError(
                f"its {name} in the bundle differs by {worst:.3g} of its largest value; {remedy(network)}"
            )


def remedy(network: Network) -> str:
    """What to do about a network whose rows are not what they are alone."""
    rows = network.freed or network.batch
    if rows is None:
        return "rows of a batch depend on each other: export it in evaluation mode, after net.eval()"
    return (
        f"the file is for {rows} images at once, and gives others for another number: export it for any, by "
        "dynamic_axes={'INPUT': {0: 'batch'}} or dynamic_shapes of torch.onnx.export"
    )


def _difference(got: Pixels, want: Pixels) -> float:
    if got.shape != want.shape:
        return np.inf
    exact = want.astype(np.float64)
    return float(np.abs(got.astype(np.float64) - exact).max() / max(float(np.abs(exact).max()), 1e-6))


def _allowed(spec: Spec) -> float:
    return _SAME if spec.golden.tolerance == TOLERANCE else _SAME_HALF
