"""Sides of a ``Reshape`` that follow from the others, and those that do not."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from model.keras.known_sides import with_known_sides
from model.runtime.onnx import open_session


def _graph(*, edges=(0, 1), rest=(24,), first=True, gathered=True):
    """Flatten as tf2onnx converts it: x [n, 4, 3, 2], transposed, reshaped to as many rows as x has."""
    node = helper.make_node
    nodes = [
        node("Transpose", ["x"], ["moved"], perm=[0, 2, 3, 1]),
        node("Shape", ["x"], ["shape"]),
        *([node("Gather", ["shape", "perm"], ["turned"])] if gathered else []),
        node("Cast", ["turned" if gathered else "shape"], ["small"], to=onnx.TensorProto.INT32),
        node("Slice", ["small", "start", "end", "zero"], ["asked"]),
        node("Concat", ["asked", "rest"] if first else ["rest", "asked"], ["joined"], axis=0),
        node("Cast", ["joined"], ["sides"], to=onnx.TensorProto.INT64),
        node("Reshape", ["moved", "sides"], ["y"]),
    ]
    constants = {"perm": [0, 2, 3, 1], "zero": [0], "start": [edges[0]], "end": [edges[1]]}
    weights = [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 4, 3, 2])],
        [helper.make_tensor_value_info("y", 1, None)],
        [*weights, numpy_helper.from_array(np.array(rest, np.int32), "rest")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize(
    ("given", "sides"),
    [
        ({}, [-1, 24]),
        ({"gathered": False}, [-1, 24]),
        ({"rest": (2, 12)}, [-1, 2, 12]),
        ({"rest": (24,), "first": False}, [24, -1]),
    ],
)
def test_one_side_follows_from_the_others(given, sides):
    """The graph gives what it gave, for any number of rows."""
    after = with_known_sides(_graph(**given))
    weights = {weight.name: numpy_helper.to_array(weight).tolist() for weight in after.graph.initializer}
    assert weights[after.graph.node[-1].input[1]] == sides
    sessions = [open_session(model.SerializeToString(), any_size=False) for model in (_graph(**given), after)]
    for rows in (1, 5):
        x = np.random.default_rng(rows).normal(size=(rows, 4, 3, 2)).astype(np.float32)
        one, other = (session.run(None, {"x": x})[0] for session in sessions)
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "given",
    [
        {"rest": (-1,)},  # two would follow
        {"rest": (0, 6)},  # as a side of the input by its place
        {"edges": (0, 2), "rest": (6,)},  # two are asked for
        {"edges": (-2, -1)},
    ],
)
def test_sides_that_do_not(given):
    model = _graph(**given)
    assert with_known_sides(model) == model
