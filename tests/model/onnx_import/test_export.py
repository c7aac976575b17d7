"""ONNX files as bundles, against ONNX Runtime on the bare file with pixels prepared by NumPy."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from lake.core.errors import BundleError, UsageError
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.export import export
from model.preprocessing import Preprocessing
from model.runtime import choose_executor, executors_of
from model.runtime.runtime import Runtime
from tests.conftest import long_forms
from tests.model.onnx_import import networks
from tests.model.onnx_import.networks import autoencoder, denoiser, first, last, run, vae

_ROOT = Path(__file__).parents[3]
ANY_OUTPUT = {"judge": lambda looks: None}


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (20, 12, 8, 3), np.uint8)


def close(got: np.ndarray, want: np.ndarray, rtol: float = 1e-6) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=rtol * np.abs(want).max())


@pytest.mark.parametrize("opset", [13, 20, *long_forms(11, 14, 17, 18)])
def test_an_autoencoder_with_channels_first(tmp_path, images, opset):
    path = autoencoder(opset=opset).save(tmp_path / "net.onnx")
    bundle = export(path, "z", str(tmp_path / "b"))
    assert sorted(bundle.files()) == ["decode.onnx", "encode.onnx", "golden.npz", "model.json", "reconstruct.onnx"]
    assert (bundle.spec.kind, bundle.spec.functions) == ("autoencoder", ("encode", "reconstruct", "decode", "denoise"))
    assert (bundle.spec.input.shape, bundle.spec.latent.layer, bundle.spec.dimension) == ((12, 8, 3), "z", 5)
    runtime = Runtime.load(bundle)
    z, y = run(path.read_bytes(), ["z", "y"], x=first(images))
    made = runtime.reconstruct(images)
    close(runtime.encode(images), z)
    close(made.output, last(y))
    close(made.mse, np.square(last(y) - images / 255).mean(axis=(1, 2, 3)), 1e-5)
    assert np.array_equal(runtime.decode(made.latents), made.output)
    assert np.array_equal(runtime.encode(images[:1]), made.latents[:1])


@pytest.mark.parametrize("sides", [("batch", 3, 12, 8), ("batch", 12, 8, 3)], ids=["first", "last"])
def test_what_training_did_to_images_is_in_the_bundle(tmp_path, images, sides):
    """Range, mean, deviation and blue first; the output of an autoencoder is turned back."""
    graph = networks.Graph()
    x = graph.take("x", sides)
    graph.node("Mul", x, graph.constant(np.float32(0.5)), name="z")
    path = graph.give("z").save(tmp_path / "net.onnx")
    given = Preprocessing(value_range=(0.0, 255.0), mean=(120.0, 110.0, 100.0), std=(50.0, 60.0, 70.0), bgr=True)
    bundle = export(path, None, str(tmp_path / "b"), given, **ANY_OUTPUT)
    mean, std = np.float32([120, 110, 100]), np.float32([50, 60, 70])
    shown = ((images.astype(np.float32) - mean) / std)[..., ::-1]
    first_ = sides[1] == 3
    (half,) = run(path.read_bytes(), ["z"], x=np.ascontiguousarray(shown.transpose(0, 3, 1, 2) if first_ else shown))
    want = (last(half) if first_ else half)[..., ::-1] * std + mean
    close(Runtime.load(bundle).restore(images, None), want)


def test_a_variational_autoencoder_gives_its_mean(tmp_path, images, caplog):
    """What is drawn is replaced by its mean, so that the output is that of the mean, and decodes alone."""
    path = vae("y", "mean", "log_variance").save(tmp_path / "net.onnx")
    bundle = export(path, "mean", str(tmp_path / "b"), variance="log_variance")
    assert bundle.spec.kind == "vae" and bundle.spec.functions[-1] == "generate"
    assert "net.onnx: the random numbers that it draws are replaced by their mean" in caplog.text
    runtime = Runtime.load(bundle)
    mean, logarithm = run(path.read_bytes(), ["mean", "log_variance"], x=first(images))
    for got, want in zip(runtime.encode_variance(images), (mean, np.exp(logarithm)), strict=True):
        close(got, want)
    graph = onnx.load_from_string(path.read_bytes())  # the bare file, with the mean where the drawn latent was
    for node in graph.graph.node:
        node.input[:] = ["mean" if name == "z" else name for name in node.input]
    (y,) = run(graph.SerializeToString(), ["y"], x=first(images))
    close(runtime.reconstruct(images).output, last(y))
    close(runtime.decode(mean), last(y))
    decoder = onnx.load_from_string(bundle.read("decode.onnx"))
    assert not any("pixels" in node.input for node in decoder.graph.node)
    assert [node.op_type for node in decoder.graph.node].count("Gemm") == 1  # nothing of the encoder


def test_an_encoder_of_several_outputs(tmp_path, images):
    path = vae("mean", "log_variance", "z").save(tmp_path / "net.onnx")
    for latent in ("mean", "log_variance"):
        bundle = export(path, latent, str(tmp_path / latent))
        assert bundle.spec.kind == "encoder"
        (want,) = run(path.read_bytes(), [latent], x=first(images))
        close(Runtime.load(bundle).encode(images), want)
    with pytest.raises(UsageError, match="variational autoencoder is whole"):
        export(path, "mean", str(tmp_path / "b"), variance="log_variance")


@pytest.mark.parametrize(("batch", "rows"), [(1, 1), (4, 4), ("batch", -1)])
def test_a_fixed_number_of_rows_is_made_free(tmp_path, images, batch, rows):
    path = autoencoder((batch, 3, 12, 8), rows).save(tmp_path / "net.onnx")
    runtime = Runtime.load(export(path, "z", str(tmp_path / "b")))
    parts = [first(images[i : i + abs(rows) or 1]) for i in range(0, 20, abs(rows))]
    close(runtime.encode(images), np.concatenate([run(path.read_bytes(), ["z"], x=part)[0] for part in parts]))


def test_rows_that_depend_on_each_other_are_refused(tmp_path):
    """Statistics of the batch, as in training mode."""
    graph = networks.Graph()
    x = graph.take("x", ("batch", 3, 12, 8))
    graph.node("Sub", x, graph.node("ReduceMean", x, axes=[0], keepdims=1), name="z")
    with pytest.raises(BundleError, match=r"its latent .*differs .*after net\.eval\(\)"):
        export(graph.give("z").save(tmp_path / "net.onnx"), "z", str(tmp_path / "b"), **ANY_OUTPUT)
    graph = networks.Graph()
    x = graph.node("Reshape", graph.take("x", (1, 3, 12, 8)), graph.constant(np.array([12, 1, 24])))
    graph.node("ReduceMean", x, axes=[2], keepdims=0, name="z0")
    graph.node("Transpose", "z0", perm=[1, 0], name="z")
    with pytest.raises(BundleError, match=r"the file is for 1 images at once.*dynamic_axes"):
        export(graph.give("z").save(tmp_path / "net.onnx"), "z", str(tmp_path / "b"))


@pytest.mark.parametrize(
    ("sides", "given", "shape"),
    [
        (("n", 28, 28), Preprocessing(), (28, 28, 1)),
        (("n", 784), Preprocessing(input_shape=(28, 28, 1)), (28, 28, 1)),
        (("n", 784), Preprocessing(), (784,)),
        (("n", 3, None, None), Preprocessing(input_shape=(6, 5, 3)), (6, 5, 3)),
        (("n", 3, 3, 3), Preprocessing(), (3, 3, 3)),
    ],
)
def test_how_an_image_lies_in_an_input(tmp_path, sides, given, shape):
    graph = networks.Graph()
    graph.node("Mul", graph.take("x", sides), graph.constant(np.float32(2)), name="z")
    path = graph.give("z").save(tmp_path / "net.onnx")
    bundle = export(path, "z", str(tmp_path / "b"), given, **ANY_OUTPUT)
    assert bundle.spec.input.shape == shape
    records = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
    if len(shape) == 1:
        records = records.astype(np.float32)
        want = records * 2
    else:
        want = records / np.float32(255) * 2
        want = want.transpose(0, 3, 1, 2) if len(sides) == 4 else want
    close(Runtime.load(bundle).encode(records), want.reshape(3, -1))


def test_a_network_of_16_bits(tmp_path, images):
    path = autoencoder(dtype=TensorProto.FLOAT16).save(tmp_path / "net.onnx")
    bundle = export(path, "z", str(tmp_path / "b"))
    assert bundle.spec.golden.tolerance == 0.03
    runtime = Runtime.load(bundle)
    z, y = run(path.read_bytes(), ["z", "y"], x=first(images).astype(np.float16))
    for got, want in ((runtime.encode(images), z), (runtime.reconstruct(images).output, last(y))):
        close(got, want.astype(np.float32), 1e-2)


def test_a_network_of_64_bits(tmp_path, images):
    graph = networks.Graph(dtype=TensorProto.DOUBLE)
    flat = graph.node("Flatten", graph.take("x", ("n", 3, 12, 8)))
    graph.node("Gemm", flat, graph.weight(288, 4), name="z")
    path = graph.give("z").save(tmp_path / "net.onnx")
    (want,) = run(path.read_bytes(), ["z"], x=first(images).astype(np.float64))
    close(Runtime.load(export(path, "z", str(tmp_path / "b"))).encode(images), want.astype(np.float32))


def test_a_network_of_integers(tmp_path, images):
    """It takes 0 to 255 without being told."""
    graph = networks.Graph(dtype=TensorProto.UINT8)
    graph.node("Cast", graph.take("x", ("n", 12, 8, 3)), to=TensorProto.FLOAT, name="z")
    bundle = export(graph.give("z").save(tmp_path / "net.onnx"), None, str(tmp_path / "b"))
    assert bundle.spec.input.value_range == (0.0, 255.0)
    assert np.array_equal(Runtime.load(bundle).restore(images, None), images)


@pytest.mark.parametrize("opset", [17, *long_forms(11, 20)])
def test_a_denoiser_of_any_size(tmp_path, opset):
    path = denoiser(opset=opset).save(tmp_path / "net.onnx")
    bundle = export(path, None, str(tmp_path / "b"))
    takes = bundle.spec.input
    assert (takes.any_size, takes.multiple, takes.reach) == (True, 1, 8)
    photos = np.random.default_rng(2).integers(0, 256, (3, 21, 34, 1), np.uint8)
    (want,) = run(path.read_bytes(), ["y"], x=first(photos))
    exact = photos / np.float32(255)
    close(Denoiser(Runtime.load(bundle)).denoise(exact).pixels, last(want))


@pytest.mark.parametrize(
    ("level", "told", "name"),
    [((None, 1, 1, 1), 0, "sigma"), ((None, 1, "h", "w"), 0, "sigma"), (None, 1, "channel")],
    ids=["scalar", "map", "channel"],
)
def test_a_denoiser_that_is_told_the_level(tmp_path, level, told, name):
    path = denoiser(("batch", 1 + told, "h", "w"), level, told).save(tmp_path / "net.onnx")
    given = Preprocessing(noise_input=name, noise_scale=255.0)
    runtime = Runtime.load(export(path, None, str(tmp_path / "b"), given, **ANY_OUTPUT))
    photos = np.random.default_rng(2).integers(0, 256, (2, 16, 24, 1), np.uint8)
    levels, x = np.float32([0.1, 0.2]), first(photos)
    each = (levels * 255).reshape(2, 1, 1, 1)
    feed = {"x": x, "sigma": each} if level == (None, 1, 1, 1) else {"x": x, "sigma": np.broadcast_to(each, x.shape)}
    if told:
        feed = {"x": np.concatenate([x, np.broadcast_to(each, x.shape)], axis=1)}
    (want,) = run(path.read_bytes(), ["y"], **feed)
    close(runtime.restore(photos, levels), last(want))


def test_a_network_that_puts_out_the_noise_is_refused(tmp_path):
    graph = networks.Graph()
    x = graph.take("x", ("batch", 1, "h", "w"))
    blurred = graph.node("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
    graph.node("Mul", graph.node("Sub", x, blurred), graph.constant(np.float32(0.3)), name="y")
    with pytest.raises(UsageError, match="it seems to put out the noise, not the image"):
        export(
            graph.give("y").save(tmp_path / "net.onnx"),
            None,
            str(tmp_path / "b"),
            judge=lambda looks: looks.refuse_grave(),
        )


def test_a_skip_around_the_latent_cannot_decode(tmp_path, images):
    graph = autoencoder()
    graph.outputs.clear()
    graph.node("Add", "y", "x", name="sum")
    path = graph.give("sum").save(tmp_path / "net.onnx")
    bundle = export(path, "z", str(tmp_path / "b"), **ANY_OUTPUT)
    assert bundle.spec.functions == ("encode", "reconstruct", "denoise")
    (want,) = run(path.read_bytes(), ["sum"], x=first(images))
    close(Runtime.load(bundle).reconstruct(images).output, last(want))


@pytest.mark.parametrize(
    ("latent", "given", "message"),
    [
        ("zz", Preprocessing(), r"net\.onnx: no tensor 'zz'; its outputs are y, z"),
        ("z", Preprocessing(input_shape=(12, 9, 3)), r"--input-shape 12 9 3 does not fit the network's input .*C H W"),
        ("z", Preprocessing(noise_input="x"), "--noise-input is for a network without --latent"),
        (None, Preprocessing(noise_input="x"), "the network has 1 inputs"),
        ("z", Preprocessing(color="gray"), "--color gray does not fit"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, latent, given, message):
    with pytest.raises(UsageError, match=message):
        export(autoencoder().save(tmp_path / "net.onnx"), latent, str(tmp_path / "b"), given)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sides": None},
            "the network's input 'x' is without a shape, so neither an image nor a vector; export .* again",
        ),
        (
            {"dtype": TensorProto.DOUBLE},
            "does not run it: .*Conv.*; see that it runs the file by itself: .* in 32 bits only",
        ),
    ],
)
def test_what_cannot_be_run_is_said_with_a_remedy(tmp_path, options, message):
    with pytest.raises(BundleError, match=message):
        export(autoencoder(**options).save(tmp_path / "net.onnx"), "z", str(tmp_path / "b"))


def test_a_tensor_within_is_named_by_its_node_too(tmp_path):
    path = autoencoder().save(tmp_path / "net.onnx")
    digests = {export(path, name, str(tmp_path / f"b{i}")).digest for i, name in enumerate(["Relu 1", "/Relu 1"])}
    assert len(digests) == 1


def test_a_bundle_without_a_keras_model(tmp_path):
    bundle = export(autoencoder().save(tmp_path / "net.onnx"), "z", str(tmp_path / "b"))
    assert executors_of(bundle) == ("onnx",)
    with pytest.raises(BundleError, match="was made of an ONNX file and has no Keras model; leave out --executor"):
        choose_executor(bundle, "tensorflow")
    document = json.loads(Path(bundle.uri, "model.json").read_text())
    del document["files"]["decode.onnx"]
    Path(bundle.uri, "model.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match=r"files is .*which no bundle has"):
        Bundle.open(bundle.uri)


_PROGRAM = """
import sys
sys.modules |= dict.fromkeys(("tensorflow", "keras", "h5py", "tf2onnx"))
from model.cli.main import main
assert main(["export", sys.argv[1], "--latent", "z", "--output", sys.argv[2]]) == 0
sys.modules["onnx"] = None
assert main(["check", sys.argv[2]]) == 0
assert main(["export", sys.argv[1], "--latent", "z", "--output", sys.argv[2] + "2"]) == 2
"""


def test_neither_export_nor_check_needs_tensorflow(tmp_path):
    """They are not there, and for the check the package onnx is not either."""
    path = autoencoder().save(tmp_path / "net.onnx")
    command = [sys.executable, "-c", _PROGRAM, str(path), str(tmp_path / "b")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT)
    assert done.returncode == 0, done.stderr
    assert "only operations of the ONNX standard" in done.stdout
    assert done.stderr.splitlines()[-1].endswith("not installed here: pip install 'latentlake[onnx]'")


def _ends(first_operation=None, last_operation=None):
    """A network that multiplies what it takes first, and bounds what it puts out last."""
    graph = networks.Graph()
    x = graph.take("x", ("n", 1, 16, 16))
    if first_operation:
        x = graph.node(first_operation[0], x, graph.constant(np.float32(first_operation[1])))
    x = graph.node("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])
    x = graph.node("Mul", x, graph.constant(np.float32(0.9)))
    graph.node("Identity", graph.node(last_operation, x) if last_operation else x, name="y")
    return graph.give("y")


@pytest.mark.parametrize(
    ("net", "given", "message"),
    [
        (_ends(("Div", 255)), Preprocessing(), "scale the input to .* give --value-range 0 255"),
        (_ends(("Mul", 1 / 255)), Preprocessing(), "scale the input to .* give --value-range 0 255"),
        (_ends(None, "Tanh"), Preprocessing(), "its last layer is a tanh, .* give --value-range -1 1"),
        (
            _ends(None, "Sigmoid"),
            Preprocessing(mean=(0.5,), std=(0.2,)),
            "its last layer is a sigmoid, .* where normalised images have .* give --output-range 0 1",
        ),
    ],
    ids=["divided", "multiplied", "tanh", "sigmoid"],
)
def test_a_range_that_is_not_the_networks_is_refused(tmp_path, net, given, message):
    with pytest.raises(UsageError, match=message):
        path = net.save(tmp_path / "net.onnx")
        export(path, None, str(tmp_path / "b"), given, judge=lambda looks: looks.refuse_grave())


def test_random_numbers_of_a_given_shape(tmp_path):
    """As torch.randn(n, d) of a file for one row; and a Dropout that is not active."""
    graph = networks.Graph()
    flat = graph.node("Flatten", graph.take("x", ("n", 3, 12, 8)))
    drawn = graph.node("RandomNormal", shape=[1, 288])
    z = graph.node("Add", flat, graph.node("Mul", drawn, graph.constant(np.float32(3))))
    graph.node("Dropout", z, name="z")
    bundle = export(graph.give("z").save(tmp_path / "net.onnx"), "z", str(tmp_path / "b"))
    images = np.random.default_rng(1).integers(0, 256, (3, 12, 8, 3), np.uint8)
    close(Runtime.load(bundle).encode(images), first(images).reshape(3, -1))


@pytest.mark.parametrize(
    ("kind", "further", "attributes", "message"),
    [
        ("Dropout", [np.float32(0.5), np.bool_(True)], {}, "active Dropout"),
        ("RandomNormalLike", [], {"mean": 0.5}, "random numbers whose mean is not 0"),
        ("RandomUniformLike", [], {}, r"operation RandomUniformLike, random numbers: .*after net\.eval\(\)"),
        ("Loop", [], {}, r"operation Loop, a loop: .*dynamo=True"),
        ("NonZero", [], {}, r"operation NonZero, which is not on the list"),
    ],
)
def test_what_is_refused_with_advice(tmp_path, kind, further, attributes, message):
    graph = networks.Graph()
    x = graph.take("x", ("n", 3, 12, 8))
    graph.node(kind, x, *map(graph.constant, further), name="z", **attributes)
    with pytest.raises(BundleError, match=message):
        export(graph.give("z").save(tmp_path / "net.onnx"), "z", str(tmp_path / "b"))
