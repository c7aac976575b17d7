"""Sizes told from shapes alone, against what ONNX Runtime gives; and bombs, which are refused before they go off."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lake.core.errors import BundleError
from model.graph_audit import audit_graph
from model.graph_sizes.walk import Sizes
from tests.model.onnx_import.networks import Graph, autoencoder, denoiser, vae

_ROOT = Path(__file__).parents[3]
_X = (1, 6, 8, 10)


def _weights(*arrays) -> dict[str, np.ndarray]:
    return {f"w{i}": np.asarray(array) for i, array in enumerate(arrays)}


def _graph(nodes, weights, opset, sides=_X) -> onnx.ModelProto:
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, sides)]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", given, [onnx.ValueInfoProto(name=nodes[-1].output[0])], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


_F = np.float32
# operation, its inputs besides x, its attributes, opset
ONE = [
    (
        "Conv",
        [_F(np.zeros((4, 3, 3, 2)))],
        {"group": 2, "strides": [2, 1], "pads": [1, 0, 1, 1], "dilations": [2, 1]},
        17,
    ),
    ("Conv", [_F(np.zeros((4, 6, 3, 3)))], {"auto_pad": "SAME_UPPER", "strides": [2, 3]}, 11),
    (
        "ConvTranspose",
        [_F(np.zeros((6, 2, 3, 3)))],
        {"strides": [2, 3], "output_padding": [1, 1], "pads": [1, 0, 0, 1]},
        17,
    ),
    ("ConvTranspose", [_F(np.zeros((6, 2, 3, 3)))], {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, 11),
    ("MaxPool", [], {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}, 17),
    ("AveragePool", [], {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0]}, 11),
    ("GlobalAveragePool", [], {}, 17),
    ("ReduceMean", [], {"axes": [1, -1], "keepdims": 0}, 13),
    ("ReduceMean", [np.array([2, 3])], {}, 18),
    ("ReduceSum", [], {"keepdims": 0}, 13),
    ("ArgMax", [], {"axis": -1, "keepdims": 0}, 17),
    ("ArgMax", [], {"axis": 1}, 17),
    ("Reshape", [np.array([0, -1, 20])], {}, 17),
    ("Flatten", [], {"axis": 2}, 17),
    ("Squeeze", [np.array([0])], {}, 17),
    ("Unsqueeze", [np.array([0, -1])], {}, 13),
    ("Unsqueeze", [], {"axes": [1]}, 11),
    ("Transpose", [], {"perm": [0, 2, 3, 1]}, 17),
    ("Transpose", [], {}, 17),
    ("Concat", [_F(np.zeros((1, 2, 8, 10)))], {"axis": 1}, 17),
    ("Slice", [np.array([1, 9]), np.array([100, -100]), np.array([2, 3]), np.array([3, -2])], {}, 17),
    ("Slice", [np.array([-1]), np.array([np.iinfo(np.int64).min]), np.array([3]), np.array([-1])], {}, 11),
    ("Gather", [np.array([[0, 1, 2]])], {"axis": -1}, 17),
    ("GatherND", [np.array([[0, 1], [0, 2]])], {}, 17),
    ("Expand", [np.array([3, 1, 8, 10])], {}, 17),
    ("Tile", [np.array([1, 2, 1, 3])], {}, 17),
    ("Pad", [np.array([0, 0, 1, 2, 0, 0, 3, -1])], {}, 17),
    ("Pad", [np.array([1, 2, 3, 4]), _F(0), np.array([-1, 2])], {}, 18),
    ("Resize", [_F([]), _F([1, 1, 1.6, 0.55])], {}, 17),
    ("Resize", [_F([]), _F([]), np.array([1, 6, 5, 7])], {}, 13),
    ("Upsample", [_F([1, 1, 2, 2.5])], {}, 9),
    ("DepthToSpace", [], {"blocksize": 1}, 17),
    ("SpaceToDepth", [], {"blocksize": 2}, 17),
    ("MatMul", [_F(np.zeros((10, 3)))], {}, 17),
    ("MatMul", [_F(np.zeros(10))], {}, 17),
    ("Einsum", [_F(np.zeros((6, 5)))], {"equation": "bchw,cd->bdhw"}, 17),
    ("TopK", [np.array([3])], {"axis": 2}, 17),
    ("Add", [_F(np.zeros((4, 6, 1, 10)))], {}, 17),
    ("PRelu", [_F(np.zeros((6, 1, 1)))], {}, 17),
    ("LayerNormalization", [_F(np.zeros(10))], {}, 17),
    ("Gelu", [], {}, 20),
    ("InstanceNormalization", [_F(np.ones(6)), _F(np.zeros(6))], {}, 17),
    ("DynamicQuantizeLinear", [], {}, 17),
    ("GridSample", [_F(np.zeros((1, 4, 5, 2)))], {}, 17),
]


@pytest.mark.parametrize(("kind", "others", "attributes", "opset"), ONE, ids=lambda v: str(v)[:20])
def test_the_shape_of_each_operation(kind, others, attributes, opset):
    weights = _weights(*others)
    node = helper.make_node(
        kind,
        ["x", *weights],
        ["y"] if kind not in ("TopK", "DynamicQuantizeLinear") else ["y", "z", "s"][: 2 + (kind[0] == "D")],
        **attributes,
    )
    model = _graph([node], weights, opset)
    model.graph.output[0].name = "y"
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (want,) = session.run(["y"], {"x": np.ones(_X, np.float32)})
    sizes = Sizes(model.graph, opset, {"x": _X})
    assert list(sizes.problems()) == []
    assert sizes.shapes["y"] == want.shape


def _dynamic() -> Graph:
    """What exporters write for view(n, -1), interpolate(size=…) and padding to a multiple: shapes that are computed."""
    graph = Graph()
    x = graph.take("x", ("n", 3, "h", "w"))
    shape = graph.node("Shape", x)
    height = graph.node("Gather", shape, graph.constant(np.array(2)))
    rest = graph.node("Sub", graph.constant(np.array(8)), graph.node("Mod", height, graph.constant(np.array(8))))
    more = graph.node("Unsqueeze", graph.node("Mod", rest, graph.constant(np.array(8))), graph.constant(np.array([0])))
    none = graph.node("ConstantOfShape", graph.constant(np.array([6])), value=helper.make_tensor("v", 7, [1], [0]))
    pads = graph.node("Concat", none, more, graph.constant(np.array([0])), axis=0)
    padded = graph.node("Pad", x, pads, mode="reflect")
    half = graph.node(
        "Slice", graph.node("Shape", padded), graph.constant(np.array([2])), graph.constant(np.array([4]))
    )
    side = graph.node(
        "Cast", graph.node("Floor", graph.node("Div", graph.node("Cast", half, to=1), graph.constant(_F(2)))), to=7
    )
    start = graph.node("Slice", shape, graph.constant(np.array([0])), graph.constant(np.array([2])))
    small = graph.node("Resize", padded, "", "", graph.node("Concat", start, side, axis=0))
    one, other = graph.nodes.append(helper.make_node("Split", [small], ["a", "b"], axis=2)) or ("a", "b")
    count = graph.node("ReduceProd", graph.node("Shape", one), keepdims=1)
    graph.node(
        "Reshape",
        graph.node("Add", one, other),
        graph.node("Concat", graph.constant(np.array([1])), count, axis=0),
        name="y",
    )
    return graph.give("y")


def test_shapes_that_are_computed():
    model = onnx.load_from_string(_dynamic().data())
    sizes = Sizes(model.graph, 17, {"x": (1, 3, 13, 20)})
    assert list(sizes.problems()) == []
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (want,) = session.run(["y"], {"x": np.ones((1, 3, 13, 20), np.float32)})
    assert sizes.shapes["y"] == want.shape == (1, 3 * 4 * 10)


@pytest.mark.parametrize("net", [autoencoder, denoiser, lambda: vae("mean")], ids=["autoencoder", "denoiser", "vae"])
def test_every_value_of_a_network(net):
    """The shape of each value is what ONNX Runtime gives it."""
    model = onnx.load_from_string(net().data())
    kept = [node for node in model.graph.node if node.op_type != "RandomNormalLike"]
    model.graph.output.extend(onnx.ValueInfoProto(name=node.output[0]) for node in kept)
    del model.graph.output[: len(model.graph.output) - len(kept)]
    sides = [
        side.dim_value or 1 if i == 0 else side.dim_value or 16
        for i, side in enumerate(model.graph.input[0].type.tensor_type.shape.dim)
    ]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    made = dict(zip(names, session.run(None, {"x": np.ones(sides, np.float32)}), strict=True))
    for node in model.graph.node:
        if node.op_type == "RandomNormalLike":
            node.op_type = "Identity"
    sizes = Sizes(model.graph, 17, {"x": tuple(sides)})
    assert list(sizes.problems()) == []
    assert {name: sizes.shapes[name] for name in names} == {name: value.shape for name, value in made.items()}


def _bomb(build) -> bytes:
    graph = Graph()
    build(graph, graph.take("x", ("n", 4)))
    return graph.give(graph.nodes[-1].output[0]).data()


def _chain(graph, x):
    for _ in range(12):
        x = graph.node("Concat", *[x] * 8, axis=1)


def _outer(graph, x):
    column = graph.node("Reshape", x, graph.constant(np.array([4, 1])))
    for _ in range(5):
        row = graph.node("Transpose", column, perm=[1, 0])
        column = graph.node("Reshape", graph.node("Add", column, row), graph.constant(np.array([-1, 1])))


def _reshaped(graph, x, *sides):
    return graph.node("Reshape", x, graph.constant(np.array(sides)))


def _one_hot(graph, x):
    graph.node("OneHot", graph.node("Cast", x, to=7), graph.constant(np.array(1 << 35)), graph.constant(_F([0, 1])))


def _product(graph, x):
    column = graph.node("Tile", _reshaped(graph, x, 4, 1), graph.constant(np.array([1 << 22, 1])))
    graph.node("MatMul", column, graph.constant(_F(np.zeros((1, 1 << 12)))))


BOMBS = {
    "ConstantOfShape": lambda g, x: g.node("ConstantOfShape", g.constant(np.array([1 << 20, 1 << 14]))),
    "Expand": lambda g, x: g.node("Expand", x, g.constant(np.array([1 << 33, 4]))),
    "Tile": lambda g, x: g.node("Tile", x, g.constant(np.array([1 << 40, 1]))),
    "Range": lambda g, x: g.node("Range", *(g.constant(np.array(v)) for v in (0, 1 << 40, 1))),
    "Pad": lambda g, x: g.node("Pad", x, g.constant(np.array([0, 0, 0, 1 << 36]))),
    "Concat": _chain,
    "Add": _outer,
    "OneHot": _one_hot,
    "Resize": lambda g, x: g.node("Resize", _reshaped(g, x, 1, 1, 2, 2), "", g.constant(_F([1, 1, 1e6, 1e6]))),
    "MatMul": _product,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_by_name(kind):
    """Within 2 s and 500 MB, which the next test measures in a process of its own."""
    data, start = _bomb(BOMBS[kind]), time.monotonic()
    with pytest.raises(BundleError, match=rf"a\.onnx: not opened: it has the operation {kind}, which "):
        audit_graph(data, "a.onnx")
    assert time.monotonic() - start < 2


_MEASURED = """
import resource, sys
from pathlib import Path
from lake.core.errors import BundleError
from model.onnx_import.export import export_onnx
from model.onnx_import.source import GraphFile
from model.preprocessing import Preprocessing
import onnxruntime
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    try:
        files, given = {"model": GraphFile(data=Path(name).read_bytes(), where=name)}, Preprocessing()
        export_onnx(files, name, "z", "/nowhere", given, variance=None, training={}, judge=print)
    except BundleError as error:
        assert "not opened" in str(error), error
    else:
        raise SystemExit(name)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_bombs_take_no_memory(tmp_path):
    names = []
    for kind, build in BOMBS.items():
        (tmp_path / f"{kind}.onnx").write_bytes(_bomb(build))
        names.append(str(tmp_path / f"{kind}.onnx"))
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *names], capture_output=True, text=True, check=False, cwd=_ROOT
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 500 << 10  # KiB


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda g: g.node[0].input.__setitem__(0, "later"), "takes 'later', that nothing before it makes"),
        (
            lambda g: g.initializer[0].dims.__setitem__(0, 1 << 40),
            "a weight of .* numbers, of which the file has fewer",
        ),
        (lambda g: g.node.extend([g.node[0]] * 50_001), "operations, more than 50000"),
        (lambda g: g.initializer[0].dims.__setitem__(0, -5), "."),
    ],
)
def test_what_else_is_refused(change, what):
    model = onnx.load_from_string(_bomb(lambda g, x: g.node("Add", x, g.constant(_F([1, 2, 3, 4])))))
    audit_graph(model.SerializeToString(), "a.onnx")
    change(model.graph)
    with pytest.raises(BundleError, match=what):
        audit_graph(model.SerializeToString(), "a.onnx")


def test_large_weights_may_be_cast():
    """Weights of 16 bits become larger, not more."""
    graph = Graph()
    x, weight = graph.take("x", ("n", 4)), graph.constant(np.zeros((4, 1 << 23), np.float16))
    graph.node("MatMul", x, graph.node("Cast", weight, to=1), name="y")
    audit_graph(graph.give("y").data(), "a.onnx")
