"""Weights of 7 bits whose errors cancel, against rounding to the nearest and against the best of all."""

import itertools

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from model.int8 import rounding
from model.int8.quantizer import Quantizer
from model.int8.rounding import on_grid
from tests.model.int8.test_quantizer import feeds, network, run, weights_of

_RNG = np.random.default_rng(6)


def _alike(count, size):
    """Inputs of which neighbours are much alike, ``[count, size]``."""
    return _RNG.normal(0, 0.2, (count, size)) + _RNG.normal(1, 0.5, (count, 1))


def _nearest(weights):
    step = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 64
    return (weights / step).round() * step


def test_weights_are_on_the_grid_of_their_channel():
    weights = _RNG.normal(0, 1, (5, 4, 3, 3)).astype(np.float32) * np.geomspace(0.01, 1, 5).reshape(-1, 1, 1, 1)
    inputs = _alike(500, 36)
    steps = on_grid(weights, inputs.T @ inputs) * 64 / np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(steps, steps.round(), atol=1e-4)
    # so that the grid is found again
    np.testing.assert_allclose(np.abs(steps).max(axis=(1, 2, 3)), 64, rtol=1e-6)


def test_what_the_layer_gives_is_nearer():
    weights = _RNG.normal(0, 1, (8, 6, 3, 3)).astype(np.float32)
    seen, unseen = _alike(2000, 54), _alike(500, 54)

    def error(made):
        return np.mean((unseen @ (made - weights).reshape(8, -1).T) ** 2)

    assert error(on_grid(weights, seen.T @ seen)) < 0.5 * error(_nearest(weights))


def test_a_few_weights_are_nearly_as_good_as_can_be():
    """Against all combinations of the five nearest steps of each."""
    ratios = []
    for _ in range(20):
        weights, inputs = _RNG.normal(0, 1, (1, 3, 1, 1)).astype(np.float32), _alike(50, 3)
        step, moments = np.abs(weights).max() / 64, inputs.T @ inputs

        def error(made, weights=weights, moments=moments):
            apart = (np.asarray(made).reshape(-1) - weights.reshape(-1)).astype(np.float64)
            return apart @ moments @ apart

        around = [[one * step for one in (w / step).round() + np.arange(-2, 3)] for w in weights.reshape(-1)]
        best = min(error(one) for one in itertools.product(*around))
        ratios.append([error(on_grid(weights, moments)), error(_nearest(weights)), best])
    made, nearest, best = np.mean(ratios, axis=0)
    assert best - 1e-9 <= made < nearest
    assert made < 3 * best


def test_weights_for_inputs_that_are_always_0_are_the_nearest():
    weights = _RNG.normal(0, 1, (3, 2, 3, 3)).astype(np.float32)
    np.testing.assert_allclose(on_grid(weights, np.zeros((18, 18))), _nearest(weights), atol=1e-6)


@pytest.mark.parametrize("further", [{"pads": [1, 0, 1, 1]}, {"pads": [1, 0, 1, 1], "strides": [2, 1]}])
def test_windows_are_what_the_convolution_sees(further):
    """Against what ONNX Runtime gives at the same places."""
    node = helper.make_node("Conv", ["pixels", "w"], ["output"], **further)
    weights, pixels = _RNG.normal(0, 1, (4, 2, 3, 2)).astype(np.float32), feeds(1)[0]["pixels"]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 4) for name in ("pixels", "output")]
    graph = helper.make_graph([node], "one", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    want = run(model.SerializeToString(), pixels)[0]
    windows = rounding._windows(pixels[0], (3, 2), node, np.random.default_rng(1))
    rng = np.random.default_rng(1)
    rows, columns = (rng.integers(side, size=len(windows)) for side in want.shape[1:])
    np.testing.assert_allclose(windows @ weights.reshape(4, -1).T, want[:, rows, columns].T, atol=1e-5)


def test_a_graph_has_the_weights_that_were_rounded_and_the_others_as_they_were():
    quantizer = Quantizer(network("first", "second", "third", "up", "last"), ["output"], feeds())
    second, third = quantizer.layers
    (weights,) = weights_of(quantizer.quantized([third]))
    (found,) = (made for made in quantizer._rounded.values() if made.shape == weights.shape)
    steps = found * 64 / np.abs(found).max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(weights, steps, atol=1e-3)
    kept = onnx.load_model_from_string(quantizer.quantized([second])).graph.initializer
    floats = [array for array in map(numpy_helper.to_array, kept) if array.dtype == np.float32 and array.ndim == 4]
    assert len(floats) == 4
    assert not any(np.array_equal(array, found) for array in floats)


@pytest.mark.parametrize("further", [{"dilations": [2, 2]}, {"group": 2}])
def test_other_convolutions_are_rounded_as_before(further):
    assert not rounding._is_plain(helper.make_node("Conv", ["x", "w"], ["y"], **further))
    assert rounding._is_plain(helper.make_node("Conv", ["x", "w"], ["y"], group=1, pads=[1] * 4, dilations=[1, 1]))
