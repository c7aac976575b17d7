"""Channels that are evened out: the graph computes what it did, and 8 bits lose less."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from lake.core.onnxruntime import onnxruntime
from model.int8.even import evened
from model.int8.quantizer import Quantizer
from tests.model.int8.test_quantizer import run

_RNG = np.random.default_rng(4)
_UNEVEN = np.array([1, 0.9, 0.5, 0.4, 0.3, 0.3])  # within what is evened out
_WEIGHTS = {
    "first": _RNG.normal(0, 0.4, (6, 2, 3, 3)),
    "in": _RNG.normal(0, 0.3, (6, 6, 3, 3)),
    "out": _RNG.normal(0, 0.1, (6, 6, 3, 3)),
    "up": _RNG.normal(0, 0.2, (6, 2, 2, 2)),
}
_FEEDS = [{"pixels": _RNG.uniform(0, 1, (1, 2, 12, 16)).astype(np.float32)} for _ in range(4)]


def residual(inner="Relu", weights=_WEIGHTS):
    """A convolution, a block of two around which its input goes, and a transposed convolution."""
    arrays = {name: np.asarray(array, np.float32) for name, array in weights.items()}
    nodes = [
        ("Conv", ["pixels", "first"], "stream", {"pads": [1] * 4}),
        ("Conv", ["stream", "in"], "made", {"pads": [1] * 4}),
        (inner, ["made"], "hidden", {}),
        ("Conv", ["hidden", "out"], "change", {"pads": [1] * 4}),
        ("Add", ["stream", "change"], "sum", {}),
        ("ConvTranspose", ["sum", "up"], "output", {"strides": [2, 2]}),
    ]
    made = [helper.make_node(kind, given, [name], name=name, **more) for kind, given, name, more in nodes]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 2, None, None])
        for name in ("pixels", "output")
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(made, "residual", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def uneven():
    """The same network, with channels of the stream and within the block that are wider than others."""
    stream, hidden = _UNEVEN.reshape(-1, 1, 1, 1), _UNEVEN[::-1].reshape(-1, 1, 1, 1)
    across = {name: array.reshape(1, -1, 1, 1) for name, array in (("stream", stream), ("hidden", hidden))}
    return residual(
        weights={
            "first": _WEIGHTS["first"] * stream,
            "in": _WEIGHTS["in"] * hidden / across["stream"],
            "out": _WEIGHTS["out"] * stream / across["hidden"],
            "up": _WEIGHTS["up"] / stream,
        }
    )


def watched(model, name):
    """The largest magnitude of each channel of a tensor, the mean over the feeds."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output[0].name = name
    copy.graph.output[0].type.tensor_type.shape.dim[1].ClearField("dim_value")
    session = onnxruntime().InferenceSession(copy.SerializeToString())
    return np.mean([np.abs(session.run([name], feed)[0]).max(axis=(0, 2, 3)) for feed in _FEEDS], axis=0)


@pytest.mark.parametrize("names", [("stream", "sum"), ("hidden",)])
def test_channels_are_as_wide_as_each_other_up_to_four_times(names):
    before, after = (
        np.max([watched(model, name) for name in names], axis=0) for model in (uneven(), evened(uneven(), _FEEDS))
    )
    assert before.max() / before.min() > 3
    np.testing.assert_allclose(after, before.max() * np.minimum(1, 4 * before / before.max()), rtol=1e-4)


def test_the_graph_computes_what_it_did():
    pixels = _RNG.uniform(0, 1, (2, 2, 8, 8)).astype(np.float32)
    want = run(uneven().SerializeToString(), pixels)
    got = run(evened(uneven(), _FEEDS).SerializeToString(), pixels)
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())
    np.testing.assert_allclose(run(residual().SerializeToString(), pixels), want, atol=1e-5 * np.abs(want).max())


def test_uneven_channels_lose_no_more_in_8_bits_than_even_ones():
    def error(model):
        graph, pixels = model.SerializeToString(), _FEEDS[0]["pixels"]
        want = run(graph, pixels)
        return np.sqrt(np.mean((run(Quantizer(graph, ["output"], _FEEDS).quantized(), pixels) - want) ** 2))

    assert error(uneven()) < 1.2 * error(residual())


@pytest.mark.parametrize("inner", ["Sigmoid", "Neg"])
def test_what_a_factor_does_not_pass_is_left_alone(inner):
    """The block's inner channels here; those of the stream are evened out all the same."""
    before, made = residual(inner), evened(residual(inner), _FEEDS)
    kept, found = (
        {one.name: numpy_helper.to_array(one) for one in model.graph.initializer} for model in (before, made)
    )
    inner_scale = found["in"] / kept["in"]
    np.testing.assert_allclose(inner_scale, inner_scale[:1] + np.zeros_like(inner_scale), rtol=1e-5)
    assert not np.array_equal(kept["first"], found["first"])


def test_weights_that_two_layers_share_are_left_alone():
    model = residual()
    model.graph.node[3].input[1] = "in"  # its second convolution has those of its first
    before = model.SerializeToString(deterministic=True)
    assert evened(model, _FEEDS).SerializeToString(deterministic=True) == before


def test_a_channel_without_values_stays():
    weights = {**_WEIGHTS, "in": _WEIGHTS["in"] * (np.arange(6) != 2).reshape(-1, 1, 1, 1)}
    model = evened(residual(weights=weights), _FEEDS)
    assert all(np.isfinite(numpy_helper.to_array(one)).all() for one in model.graph.initializer)
    assert watched(model, "hidden")[2] == 0
