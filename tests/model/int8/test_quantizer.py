"""Graphs in 8 bits, against the standard's own meaning of their operations and against arithmetic by hand."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from model.graph_audit import audit_graph
from model.int8.quantizer import Quantizer

_RNG = np.random.default_rng(0)
_WEIGHTS = {
    "first": _RNG.normal(0, 0.5, (6, 2, 3, 3)),
    "second": _RNG.normal(0, 0.2, (8, 6, 3, 3)),
    "third": _RNG.normal(0, 0.2, (6, 8, 1, 1)) * np.geomspace(0.01, 1, 6).reshape(6, 1, 1, 1),
    "up": _RNG.normal(0, 0.3, (6, 4, 2, 2)),
    "last": _RNG.normal(0, 0.3, (1, 4, 3, 3)),
}


def network(*names: str, tensors=_WEIGHTS) -> bytes:
    """Convolutions one after another, with a ReLU behind each but the last one."""
    nodes, value = [], "pixels"
    for name in names:
        kind, further = ("ConvTranspose", {"strides": [2, 2]}) if name == "up" else ("Conv", {})
        pads = [tensors[name].shape[2] // 2 if kind == "Conv" else 0] * 4
        nodes.append(helper.make_node(kind, [value, name], [f"{name} made"], pads=pads, **further))
        value = f"{name} made"
        if name != names[-1]:
            nodes.append(helper.make_node("Relu", [value], [f"{name} positive"]))
            value = f"{name} positive"
    nodes.append(helper.make_node("Identity", [value], ["output"]))
    weights = [numpy_helper.from_array(tensors[name].astype(np.float32), name) for name in names]
    given = helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, [None, 2, None, None])
    made = helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [None, None, None, None])
    graph = helper.make_graph(nodes, "network", [given], [made], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


def feeds(count: int = 6):
    return [{"pixels": _RNG.uniform(0, 1, (1, 2, 12, 16)).astype(np.float32), "levels": None} for _ in range(count)]


def run(graph: bytes, pixels):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"pixels": pixels})[0]


@pytest.fixture(scope="module")
def quantizer() -> Quantizer:
    return Quantizer(network("first", "second", "third", "up", "last"), ["output"], feeds())


def weights_of(graph: bytes):
    """The weights in 8 bits."""
    found = map(numpy_helper.to_array, onnx.load_model_from_string(graph).graph.initializer)
    return [array for array in found if array.dtype == np.int8 and array.ndim == 4]


def test_multiplications_are_counted(quantizer):
    """12 x 16 pixels; the transposed convolution doubles both sides, and is never in 8 bits."""
    sites = 12 * 16
    assert list(quantizer.layers.values()) == [sites * 8 * 6 * 9, sites * 6 * 8]
    assert quantizer.multiplications == sites * (6 * 2 * 9 + 8 * 6 * 9 + 6 * 8 + 6 * 4 * 4 + 4 * 4 * 9)
    assert quantizer.count == 5


def test_a_graph_is_near_to_its_like_in_float32(quantizer):
    pixels = feeds(1)[0]["pixels"]
    graph = quantizer.quantized()
    audit_graph(graph, "quantized")
    assert len(weights_of(graph)) == 2
    got, want = run(graph, pixels), run(network("first", "second", "third", "up", "last"), pixels)
    error = np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2))
    assert 1e-4 < error < 0.06


def test_kernels_compute_what_the_operations_mean(quantizer):
    """The standard's own evaluator goes from 8 bits to float32 and back at each layer, the kernels stay in integers."""
    graph, pixels = quantizer.quantized(), feeds(1)[0]["pixels"]
    got = run(graph, pixels)
    model = onnx.load_model_from_string(graph)
    model.opset_import[0].version = 21  # of which the evaluator has these operations; they mean the same
    (want,) = ReferenceEvaluator(model).run(["output"], {"pixels": pixels})
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()  # a step may fall otherwise
    assert np.median(np.abs(got - want)) < 1e-6


def test_sums_of_two_products_fit_16_bits(quantizer):
    """Processors without VNNI add them so; with weights of 8 bits they would be cut off there."""
    for weights in weights_of(quantizer.quantized()):
        assert 2 * 255 * np.abs(weights.astype(int)).max() < 1 << 15
        largest = np.abs(weights.astype(int)).max(axis=(1, 2, 3))
        assert (largest >= 63).all()  # a scale for each channel, also where one is a hundredth of the other


def test_integers_are_exact_where_they_are_largest():
    """White images and weights of one sign: every pair of products is as large as can be."""
    plain = network("first", "second", "third", tensors={name: np.abs(array) for name, array in _WEIGHTS.items()})
    white = np.ones((1, 2, 12, 16), np.float32)
    got, want = run(Quantizer(plain, ["output"], [{"pixels": white}]).quantized(), white), run(plain, white)
    np.testing.assert_allclose(got[..., 3:-3, 3:-3], want[..., 3:-3, 3:-3], rtol=0.02)


def test_layers_stay_in_float32(quantizer):
    second, third = quantizer.layers
    (weights,) = weights_of(quantizer.quantized([second]))
    assert weights.shape == (6, 8, 1, 1)
    (weights,) = weights_of(quantizer.quantized([third]))
    assert weights.shape == (8, 6, 3, 3)


def test_equal_graphs_give_equal_bytes(quantizer):
    again = quantizer.quantized()
    assert again == quantizer.quantized()


def test_nothing_between_the_first_and_the_last_layer():
    assert not Quantizer(network("first", "second"), ["output"], feeds(1)).layers
