"""Quantise an ONNX graph by the tools of ONNX Runtime: 8 bits for what layers take and give, 7 for their weights.

Static quantisation as in Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (2018): scales are found once, from samples, and a scale for each output channel of
the weights. Activations are unsigned and weights signed, for which processors have instructions. Those without VNNI add
two products in 16 bits, which saturate; with weights of 7 bits they cannot (2 x 255 x 64 < 2^15), so that integers are
exact, and the same, on every processor.
"""

import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from math import prod
from pathlib import Path
from typing import Any

from lake.core.onnxruntime import onnxruntime
from lake.core.temporary import temporary_space
from model.int8.even import evened
from model.int8.rounding import rounded
from model.keras.canonical import canonical
from model.pixels import Pixels
from model.runtime.onnx import open_session

_FLOAT = 1  # TensorProto.DataType
_QUANTISED = ("Conv", "Gemm", "MatMul")  # what processors compute in 8 bits
_LAYERS = (*_QUANTISED, "ConvTranspose")
_WITH_THEM = ("Clip", "MaxPool", "Relu")  # cost nothing behind a layer in 8 bits
# Of the values of a tensor; the rest, half on either side, is clipped. The largest ones are rare, and for them all
# others would have coarser steps: the zoo's denoiser would lose twice as much.
_PERCENTILE = 99.997


class Quantizer:
    """Quantises one graph, with one calibration, as often as asked.

    Args:
      graph: bytes of an ONNX file with one input of pixels, in float32.
      outputs: names of its outputs.
      feeds: inputs to calibrate with.

    Attributes:
      layers: name -> multiplications, for the first of ``feeds``, of every layer that may be quantised: all but the
        first and the last one.
      multiplications: of all layers.
      count: of all layers.
    """

    def __init__(self, graph: bytes, outputs: Sequence[str], feeds: Sequence[Mapping[str, Pixels]]) -> None:
        self._outputs = outputs
        # The tools work on files, and print what they do.
        with temporary_space(), tempfile.TemporaryDirectory() as directory, redirect_stdout(StringIO()):
            path = Path(directory, "graph.onnx")
            prepared = _prepared(graph, path)
            taken = {value.name for value in prepared.graph.input}
            some = [{name: feed[name] for name in feed.keys() & taken} for feed in feeds]
            self._model = _saved(evened(prepared, some), path)
            found = _multiplications(self._model, some[0])
            self.multiplications, self.count = sum(found.values()), len(found)
            kinds = {node.name: node.op_type for node in self._model.graph.node}
            self.layers = {name: found[name] for name in list(found)[1:-1] if kinds[name] in _QUANTISED}
            self._ranges = _ranges(path, some) if self.layers else None
        self._rounded = rounded(self._model, self.layers, some)

    def quantized(self, kept: Collection[str] = ()) -> bytes:
        """The graph in 8 bits, as bytes of an ONNX file. Equal graphs and feeds give equal bytes.

        Args:
          kept: names of layers that stay in float32, as the first and the last one do.
        """
        from onnxruntime.quantization import QDQQuantizer, QuantType

        model = type(self._model)()
        model.CopyFrom(self._model)
        self._round(model, kept)
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=True,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=[
                node.name
                for node in model.graph.node
                if node.op_type in _WITH_THEM or (node.name in self.layers and node.name not in kept)
            ],
            nodes_to_exclude=[],
            op_types_to_quantize=[*_QUANTISED, *_WITH_THEM],
            extra_options={},
        )
        quantizer.quantize_model()
        return canonical(quantizer.model.model, self._outputs)

    def _round(self, model: Any, kept: Collection[str]) -> None:
        from onnx import numpy_helper

        changed = {node.input[1] for node in model.graph.node if node.name in self.layers and node.name not in kept}
        for weight in model.graph.initializer:
            if weight.name in changed & self._rounded.keys():
                weight.CopyFrom(numpy_helper.from_array(self._rounded[weight.name], weight.name))


def _prepared(graph: bytes, path: Path) -> Any:
    """The graph with its constants folded and its shapes inferred, its nodes named; also written to ``path``."""
    import onnx

    onnxruntime()  # before its tools import it
    from onnxruntime.quantization.shape_inference import quant_pre_process

    given = path.with_name("given.onnx")
    given.write_bytes(graph)
    quant_pre_process(str(given), str(path), skip_symbolic_shape=True)
    model = onnx.load_model(str(path))
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type} {number}"
    return model


def _saved(model: Any, path: Path) -> Any:
    import onnx

    onnx.save_model(model, str(path))
    return model


def _multiplications(source: Any, feed: Mapping[str, Pixels]) -> dict[str, int]:
    """Layer -> multiplications, in the order of the graph."""
    model = type(source)()
    model.CopyFrom(source)
    weights = {weight.name: weight.dims for weight in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in _LAYERS and node.input[1] in weights]
    if not layers:
        return {}
    del model.graph.output[:]
    for node in layers:
        model.graph.output.add(name=node.output[0]).type.tensor_type.elem_type = _FLOAT
    session = open_session(model.SerializeToString(), any_size=True)
    made = session.run([node.output[0] for node in layers], feed)
    return {node.name: _of_layer(node, weights[node.input[1]], out) for node, out in zip(layers, made, strict=True)}


def _of_layer(node: Any, weights: Sequence[int], output: Pixels) -> int:
    """Multiplications of a layer: each number of a convolution's output takes as many as one of its kernels has."""
    if node.op_type == "Conv":
        return int(output.size) * prod(weights[1:])
    if node.op_type == "ConvTranspose":  # of which each takes one kernel's part for each channel, where none overlap
        return int(output.size) * weights[0]
    return int(output.size) * prod(weights) // int(output.shape[-1])


def _ranges(path: Path, feeds: Sequence[Mapping[str, Pixels]]) -> Any:
    """The ranges of all tensors that layers in 8 bits take or give."""
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    options = {"percentile": _PERCENTILE, "symmetric": False}
    augmented = path.with_name("augmented.onnx")
    calibrator = create_calibrator(
        str(path),
        [*_QUANTISED, *_WITH_THEM],
        str(augmented),
        calibrate_method=CalibrationMethod.Percentile,
        extra_options=options,
    )
    # Its own would not be optimised, and have a thread for each core.
    calibrator.infer_session = open_session(augmented.read_bytes(), any_size=True)
    for feed in feeds:  # one at a time: it keeps all tensors of what it is given at once
        calibrator.collect_data(_Reader(feed))
    return calibrator.compute_data()


class _Reader:
    """Gives one feed, and then none: what ONNX Runtime calls a ``CalibrationDataReader``."""

    def __init__(self, feed: Mapping[str, Pixels]) -> None:
        self._left = [dict(feed)]

    def get_next(self) -> dict[str, Pixels] | None:
        return self._left.pop() if self._left else None
