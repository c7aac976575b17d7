"""The executor of ONNX Runtime against Keras itself, and what it promises of bits."""

import copy
import hashlib
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from lake.core.errors import BundleError, OutputError, UsageError
from lake.core.tensorflow import keras
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.export import export
from model.export_graphs import export_again
from model.golden import unpack
from model.graph_audit import audit_graph
from model.graphs import graph_file
from model.keras import convert as keras_convert
from model.preprocessing import Preprocessing
from model.runtime import choose_executor, executors_of
from model.runtime.onnx import OnnxExecutor, _model_error
from model.runtime.runtime import Runtime
from model.training.networks import build_vae
from tests.conftest import long_forms
from tests.model import nets
from tests.model.bundles import without_graphs

_ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def vae(layers, tmp_path_factory) -> Runtime:
    keras().utils.set_random_seed(5)
    model, place = build_vae((9, 7, 1), 3), tmp_path_factory.mktemp("vae")
    model.save(place / "vae.keras")
    return Runtime.load(export(place / "vae.keras", "z_mean", str(place / "b"), variance="z_log_var"), "onnx")


@pytest.mark.parametrize("rows", [1, 2, 7, 16, 64, 256])
@pytest.mark.parametrize("batch", [512, *long_forms(1024)])
def test_rows_have_the_bits_that_they_have_in_a_batch(bundle, images, rows, batch):
    """In calls of as many rows, wherever these stand in the batch."""
    runtime = Runtime.load(bundle, "onnx")
    assert runtime.any_rows
    whole, latents = runtime.reconstruct(images[:batch]), runtime.encode(images[:batch])
    assert np.array_equal(whole.latents, latents)
    for start in (0, 3, batch // 2 - 1, batch - rows):
        some = slice(start, start + rows)
        few = runtime.reconstruct(images[some])
        assert np.array_equal(few.latents, whole.latents[some])
        assert np.array_equal(few.output, whole.output[some])
        assert np.array_equal(few.mse, whole.mse[some])
        assert np.array_equal(runtime.encode(images[some]), latents[some])
        assert np.array_equal(runtime.decode(latents[some]), whole.output[some])


@pytest.mark.slow
def test_variances_in_odd_dimensions(vae):
    """An exponential of three numbers a row: what is left over of a vector is computed in another way."""
    images = np.random.default_rng(2).integers(0, 256, (512, 9, 7, 1), np.uint8)
    mean, variance = vae.encode_variance(images)
    assert np.array_equal(mean, vae.encode(images))
    for rows in (1, 2, 5, 16, 77):
        for start in (0, 1, 511 - rows):
            some = vae.encode_variance(images[start : start + rows])
            assert np.array_equal(some[0], mean[start : start + rows])
            assert np.array_equal(some[1], variance[start : start + rows])


@pytest.mark.parametrize("make", [nets.unet, *long_forms(nets.plain, nets.told_by_channel, lambda: nets.blur(5))])
def test_images_of_any_size_alone_and_together(layers, save, tmp_path, make):
    model = make()
    given = Preprocessing()
    if len(model.inputs) == 2:
        given = Preprocessing(noise_input="noise_level")
    elif make is nets.told_by_channel:
        given = Preprocessing(noise_input="channel")
    bundle = export(save(model), None, str(tmp_path / "b"), given)
    denoisers = {name: Denoiser(Runtime.load(bundle, name)) for name in executors_of(bundle)}
    assert list(denoisers) == ["onnx", "tensorflow"]
    rng = np.random.default_rng(0)
    for shape in [(3, 8, 8), (5, 13, 21), (2, 40, 33)]:
        images = rng.integers(0, 256, (*shape, bundle.spec.input.shape[2]), np.uint8)
        levels = rng.uniform(0, 0.3, len(images)).astype(np.float32) if bundle.spec.input.noise else None
        made = denoisers["onnx"].denoise(images, levels)
        for i in range(len(images)):
            alone = denoisers["onnx"].denoise(images[i : i + 1], None if levels is None else levels[i : i + 1])
            assert np.array_equal(alone.pixels[0], made.pixels[i]) and alone.mse[0] == made.mse[i]
        exact = images / np.float32(255)
        got, want = (denoisers[name].denoise(exact, levels).pixels for name in ("onnx", "tensorflow"))
        np.testing.assert_allclose(got, want, atol=2e-6)


def test_where_bits_depend_on_the_rows_calls_have_one_size(bundle, images, monkeypatch):
    """An executor that adds the number of its rows to the last bits: every call is padded to the largest batch."""
    sizes, compiled = [], OnnxExecutor.compile

    def compile_wrongly(self, *key):
        function = compiled(self, *key)

        def call(*arrays):
            sizes.append(len(arrays[0]))
            return [output * np.float32(1 + 1e-6 * len(arrays[0])) for output in function(*arrays)]

        return call

    monkeypatch.setattr(OnnxExecutor, "compile", compile_wrongly)
    runtime = Runtime.load(bundle, "onnx")
    assert not runtime.any_rows and {16, 64} <= set(sizes)
    sizes.clear()
    whole = runtime.encode(images)
    assert np.array_equal(runtime.encode(images[5:6])[0], whole[5])
    assert set(sizes) == {runtime.batch_size}


def test_inputs_are_told_by_name(layers, save, tmp_path):
    """Two inputs of one shape, of which the first by name is the second of the model."""
    level, image = layers.Input((None, None, 1), name="zero"), layers.Input((None, None, 1), name="alpha")
    model = keras().Model([image, level], layers.Subtract()([image, layers.Rescaling(0.25)(level)]))
    given = Preprocessing(noise_input="zero")
    runtime = Runtime.load(export(save(model), None, str(tmp_path / "b"), given), "onnx")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), np.uint8)
    made = runtime.restore(images, np.array([0.4, 0.8], np.float32))
    want = images / np.float32(255) - np.array([0.1, 0.2], np.float32).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(made, want, atol=1e-6)


_EXPORT = """
import sys
from pathlib import Path
from model.export import export
print(export(Path(sys.argv[1]), "encoded", sys.argv[2]).digest)
"""


@pytest.mark.slow
def test_equal_models_have_equal_graphs(bundle, saved, tmp_path):
    """Also in another process, whose sets have other orders."""
    command = [sys.executable, "-c", _EXPORT, str(saved), str(tmp_path / "b")]
    environment = {"PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=_ROOT, env=environment)
    assert run.stdout.strip() == bundle.digest


def test_statistics_of_the_data_are_constants_of_the_graph(layers, tmp_path):
    """Few and many numbers, which TensorFlow captures in two ways."""
    rng = np.random.default_rng(0)
    for sides in (16, 300):
        given = keras().Input((sides,))
        normal = layers.Normalization(mean=rng.normal(size=sides), variance=rng.uniform(0.5, 2, sides))(given)
        output = layers.Dense(sides)(layers.Dense(3, name="code")(normal))
        model = keras().Model(given, output)
        model.save(tmp_path / f"{sides}.keras")
        bundle = export(tmp_path / f"{sides}.keras", "code", str(tmp_path / f"{sides}"))
        vectors = rng.normal(size=(5, sides)).astype(np.float32)
        found = Runtime.load(bundle, "onnx").reconstruct(vectors)
        np.testing.assert_allclose(found.output, model.predict(vectors, verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_model_that_does_not_convert(layers, save, tmp_path, caplog):
    """It says so in one line, and the bundle is what it was before there were graphs. A GRU becomes a loop."""
    image = layers.Input((8, 8, 1))
    x = layers.GRU(3, name="encoded", reset_after=True)(layers.Reshape((8, 8))(image))
    model = keras().Model(image, layers.Reshape((8, 8, 1))(layers.Dense(64)(x)))
    with caplog.at_level(logging.WARNING, "model.export_graphs"):
        bundle = export(save(model), "encoded", str(tmp_path / "b"))
    (record,) = [record for record in caplog.records if record.name == "model.export_graphs"]
    assert re.fullmatch(r"\S+\.keras: runs on TensorFlow only, .* convert to ONNX: .*operation Loop.*", record.message)
    assert sorted(bundle.files()) == ["golden.npz", "model.json", "model.keras"]
    assert executors_of(bundle) == ("tensorflow",)
    with pytest.raises(BundleError, match="does not convert to ONNX"):
        export_again(bundle.uri)


def test_graphs_are_added_to_an_old_bundle(bundle, tmp_path):
    old = without_graphs(bundle.uri, tmp_path / "old")
    before = Bundle.open(str(old))
    assert executors_of(before) == ("tensorflow",)
    other = export_again(str(old), str(tmp_path / "new"))
    assert Bundle.open(str(old)).digest == before.digest != other.digest == bundle.digest
    assert export_again(str(old)).digest == bundle.digest
    assert Runtime.load(Bundle.open(str(old))).executor == "onnx"
    with pytest.raises(OutputError, match="has its graphs already"):
        export_again(str(old))
    with pytest.raises(UsageError, match="give --output for a bundle of your own"):
        export_again("zoo:mnist-vae")


def _changed(change):
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor("w", 1, [1], [2.0])
    value = onnx.helper.make_tensor_value_info("x", 1, ["n", 4])
    graph = onnx.GraphProto(node=[node("Add", ["x", "w"], ["y"])], initializer=[tensor], input=[value])
    model = onnx.ModelProto(ir_version=8, graph=graph, opset_import=[onnx.helper.make_opsetid("", 18)])
    change(model, node)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda m, node: m.graph.node.append(node("RandomNormal", [], ["z"])), "the operation RandomNormal"),
        (lambda m, node: m.graph.node.append(node("Add", [], ["z"], domain="theirs")), "the operation theirs:Add"),
        (lambda m, node: m.functions.add(name="f"), "functions of its own"),
        (lambda m, node: m.graph.sparse_initializer.add(), "sparse weights"),
        (lambda m, node: m.graph.initializer[0].external_data.add(key="location", value="/etc/x"), "another file"),
        (lambda m, node: setattr(m.graph.initializer[0], "data_location", 1), "weights in another file"),
        (
            lambda m, node: m.graph.node.append(
                node("Constant", [], ["z"], value=onnx.TensorProto(dims=[9], data_type=1, data_location=1))
            ),
            "weights in another file",
        ),
        (
            lambda m, node: m.graph.node.append(node("Relu", ["x"], ["z"], body=onnx.GraphProto(name="inner"))),
            "a graph within an operation",
        ),
    ],
)
def test_what_is_not_opened(change, what):
    audit_graph(_changed(lambda m, node: None), "a.onnx")
    with pytest.raises(BundleError, match=rf"^a\.onnx: not opened: it has .*{what}"):
        audit_graph(_changed(change), "a.onnx")


def test_what_is_no_graph():
    with pytest.raises(BundleError, match="not an ONNX file"):
        audit_graph(b"\x89PNG....", "a.onnx")


def test_a_conversion_that_leaves_out_an_operation_is_made_again(layers, save, tmp_path, monkeypatch):
    """As tf2onnx does now and then, though the golden outputs would fit by the rules of broadcasting."""
    convert, made = keras_convert.to_onnx, []

    def to_onnx(model, spec):
        made.append({name: onnx.load_from_string(data) for name, data in convert(model, spec).items()})
        graph = made[-1]["restore"].graph
        if len(made) == 1:
            last = next(node for node in graph.node if "output" in node.output)
            last.output[0] = "short"
            graph.node.add(op_type="Unsqueeze", input=["short", "first"], output=["output"])
            graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.int64), "first"))
        return {name: model.SerializeToString() for name, model in made[-1].items()}

    monkeypatch.setattr(keras_convert, "to_onnx", to_onnx)
    bundle = Bundle.open(export(save(nets.plain()), None, str(tmp_path / "b")).uri)
    assert choose_executor(bundle) == "onnx"
    assert len(made) >= 2


def test_a_conversion_copies_no_weights_but_for_an_optimizer_that_fails(layers, save, tmp_path, monkeypatch):
    """Each copy of a graph has all of its weights, and there would be one before each of a dozen optimizers."""
    copies = []

    def copied(graph, memo):
        copies.append(graph)
        plain = object.__new__(type(graph))
        memo[id(graph)] = plain
        plain.__dict__ = copy.deepcopy(graph.__dict__, memo)
        return plain

    def fails(*_):
        raise ValueError("the optimizer")

    monkeypatch.setattr("tf2onnx.graph.Graph.__deepcopy__", copied, raising=False)
    plain = Bundle.open(export(save(nets.plain()), None, str(tmp_path / "plain")).uri)
    assert choose_executor(plain) == "onnx"
    assert not copies
    monkeypatch.setattr("tf2onnx.optimizer.reshape_optimizer.ReshapeOptimizer.optimize", fails)
    other = Bundle.open(export(save(nets.plain()), None, str(tmp_path / "other")).uri)
    assert choose_executor(other) == "onnx"
    assert copies


def test_an_executor_that_is_not_there(layers, save, tmp_path):
    place = Path(export(save(nets.plain()), None, str(tmp_path / "b")).uri)
    whole = Bundle.open(str(place))
    assert choose_executor(whole) == "onnx" and choose_executor(whole, "tensorflow") == "tensorflow"
    old = Bundle.open(str(without_graphs("zoo:denoiser-gray", tmp_path / "old")))
    assert choose_executor(old) == "tensorflow"
    with pytest.raises(
        BundleError, match=r"'onnx' cannot run it; leave out --executor, or make .*--again \S+old --output"
    ):
        choose_executor(old, "onnx")


def test_what_the_graphs_give_is_proven_on_every_worker(bundle, tmp_path):
    """A graph of other weights under its right digest."""
    graphs = {name: bundle.read(graph_file(name)) for name in ("encode", "reconstruct", "decode")}
    other = {**graphs, "decode": _other_weights(graphs["decode"])}
    runtime = Runtime(OnnxExecutor(lambda name: other[name.removesuffix(".onnx")], bundle.spec), bundle.spec)
    golden = unpack(bundle.read("golden.npz"), bundle.spec, "golden")
    with pytest.raises(BundleError, match="is not the one that was bundled: its output for the golden inputs differs"):
        runtime.check(golden, "here")


def _other_weights(graph: bytes) -> bytes:
    model = onnx.load_from_string(graph)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = np.frombuffer(largest.raw_data, np.float32) * np.float32(1.5)
    largest.raw_data = values.tobytes()
    return model.SerializeToString()


_PREFIX = "[ONNXRuntimeError] : {} : Non-zero status code returned while running {} node. Name:'' Status Message: {}"
_ARENA = (
    "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal("
    "size_t, bool, onnxruntime::Stream*) Failed to allocate memory for requested buffer of size 419430400\n"
)


@pytest.mark.parametrize(
    ("parts", "reason", "short"),
    [
        (
            ("6 : RUNTIME_EXCEPTION", "Tile", _ARENA),
            "out of memory at Tile: Failed to allocate memory for requested buffer of size 419430400",
            True,
        ),
        (
            ("2 : INVALID_ARGUMENT", "Gather", "indices element out of data bounds, idx=9"),
            "invalid_argument at Gather: indices element out of data bounds, idx=9",
            False,
        ),
    ],
)
def test_an_error_in_one_line(parts, reason, short):
    error = _model_error(RuntimeError(_PREFIX.format(*parts)))
    assert (error.reason, error.out_of_memory) == (reason, short)


def test_graphs_are_files_of_the_bundle(bundle):
    data = Path(bundle.uri, "encode.onnx").read_bytes()
    assert bundle.spec.files["encode.onnx"].sha256 == hashlib.sha256(data).hexdigest()
    assert b"/" + Path.home().name.encode() not in data


def test_what_runs_slowly_is_not_in_a_graph(bundle):
    """Grey pixels are divided in one line, and nothing asks how many rows there are."""
    graph = onnx.load_from_string(bundle.read("encode.onnx")).graph
    makers = {name: node for node in graph.node for name in node.output}
    weights = {weight.name: onnx.numpy_helper.to_array(weight).tolist() for weight in graph.initializer}
    (division,) = [node for node in graph.node if node.op_type == "Div"]
    assert weights[makers[division.input[0]].input[1]] == [-1]
    assert "Shape" not in {node.op_type for node in graph.node}
