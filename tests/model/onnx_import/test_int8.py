"""ONNX files in 8 bits, against the bare file in float32."""

import numpy as np
import pytest

from lake.core.errors import UsageError
from model.bundle import Bundle
from model.check import check_bundle
from model.cli.main import main
from model.export import export
from model.parts import Parts
from model.preprocessing import Preprocessing
from model.runtime import choose_executor
from model.runtime.runtime import Runtime
from tests.model.onnx_import import networks
from tests.model.onnx_import.networks import decoder, encoder, first, last, run


def chain(sides=("n", 3, 12, 10), latent: bool = True, **options) -> networks.Graph:
    """Four convolutions; with a latent ``z``, or the image with something taken off it."""
    graph = networks.Graph(**options)
    x = given = graph.take("x", sides)
    for width, channels in ((16, sides[1]), (16, 16), (16, 16)):
        x = graph.node("Relu", graph.node("Conv", x, graph.weight(width, channels, 3, 3), pads=[1] * 4))
    if latent:
        graph.node("Gemm", graph.node("Flatten", x), graph.weight(16 * 120, 6, scale=0.02), name="z")
        return graph.give("z")
    noise = graph.node("Conv", x, graph.weight(sides[1], 16, 3, 3, scale=0.01), pads=[1] * 4)
    graph.node("Sub", given, noise, name="y")
    return graph.give("y")


def test_an_encoder(tmp_path, pictures):
    path = chain().save(tmp_path / "net.onnx")
    words = ["export", str(path), "--latent", "z", "--precision", "int8", "--calibrate", str(pictures)]
    assert main([*words, "--output", str(tmp_path / "b")]) == 0
    bundle = Bundle.open(str(tmp_path / "b"))
    assert set(bundle.spec.files) == {"golden.npz", "encode.onnx"} and choose_executor(bundle) == "onnx"
    assert bundle.spec.quantization.layers["int8"] >= 1
    images = np.load(pictures / "stack.npy")
    (want,) = run(path.read_bytes(), ["z"], x=first(images))
    got = Runtime.load(bundle).encode(images)
    cosines = (got * want).sum(axis=1) / np.linalg.norm(got, axis=1) / np.linalg.norm(want, axis=1)
    assert cosines.min() > 0.99 and not np.array_equal(got, want)
    assert cosines.mean() == pytest.approx(bundle.spec.quantization.cost["cosine"], abs=1e-3)
    assert "int8    int8 in" in check_bundle(bundle.uri).describe()


def test_a_denoiser_of_any_size(tmp_path, photographs):
    path = chain(("n", 1, "h", "w"), latent=False).save(tmp_path / "net.onnx")
    bundle = export(path, None, str(tmp_path / "b"), precision="int8", calibrate=str(photographs))
    assert set(bundle.spec.files) == {"golden.npz", "restore.onnx"} and bundle.spec.input.any_size
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 24, 1), np.uint8)
    (want,) = run(path.read_bytes(), ["y"], x=first(images))
    got = Runtime.load(bundle).restore(images, None)
    assert 0 < np.abs(got - last(want)).max() < 0.05


def test_parts_become_an_encoder(tmp_path, pictures):
    """As a Keras model with a latent does."""
    graph = networks.Graph()
    y = graph.node("Gemm", graph.take("z", ("n", 6)), graph.weight(6, 360))
    graph.node("Reshape", y, graph.constant(np.array([-1, 3, 12, 10])), name="y")
    files = Parts(encoder=chain().save(tmp_path / "e.onnx"), decoder=graph.give("y").save(tmp_path / "d.onnx"))
    bundle = export(files, None, str(tmp_path / "b"), precision="int8", calibrate=str(pictures))
    assert (bundle.spec.kind, bundle.spec.functions) == ("encoder", ("encode",))


def test_equal_files_and_images_make_equal_bundles(tmp_path, pictures):
    path = chain().save(tmp_path / "net.onnx")
    made = [export(path, "z", str(tmp_path / name), precision="int8", calibrate=str(pictures)).digest for name in "ab"]
    assert made[0] == made[1]


def test_what_has_no_8_bits(tmp_path, pictures):
    for graph, options, message in (
        (chain(opset=11), {}, "needs opset 13 or later, and the file is of 11"),
        (chain(dtype=10), {}, "this model is in 16 bits"),
        (
            encoder(("n", 3, 12, 8), "mean"),
            {"precision": "bfloat16", "calibrate": None},
            "--precision bfloat16 is for K",
        ),
    ):
        options = {"precision": "int8", "calibrate": str(pictures), **options}
        latent = graph.outputs[0].name
        with pytest.raises(UsageError, match=message):
            export(graph.save(tmp_path / "net.onnx"), latent, str(tmp_path / "b"), Preprocessing(), **options)
    with pytest.raises(UsageError, match="not for a decoder"):
        parts = Parts(decoder=decoder().save(tmp_path / "d.onnx"))
        export(parts, None, str(tmp_path / "b"), precision="int8", calibrate=str(pictures))
