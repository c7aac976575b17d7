"""Encoder and decoder in ONNX files of their own, against ONNX Runtime on each file."""

import numpy as np
import pytest

from lake.core.errors import BundleError, UsageError
from model.check import check_bundle
from model.cli.main import main
from model.export import export
from model.parts import Parts
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from tests.model.onnx_import import networks
from tests.model.onnx_import.networks import SIDES, decoder, encoder, first, last, run


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (9, 12, 8, 3), np.uint8)


def parts(folder, one, other) -> Parts:
    return Parts(encoder=one and one.save(folder / "e.onnx"), decoder=other and other.save(folder / "d.onnx"))


def close(got: np.ndarray, want: np.ndarray) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * np.abs(want).max())


@pytest.mark.parametrize("taken", [("n", 8), ("n", 2, 2, 2), (None, None), (1, 8)], ids=str)
def test_a_variational_autoencoder_in_two_files(tmp_path, images, taken):
    """The decoder takes the mean, in whatever shape; both files have tensors of the same names."""
    files = parts(tmp_path, encoder(), decoder(taken))
    bundle = export(files, "mean", str(tmp_path / "b"), variance="log_variance")
    assert (bundle.spec.kind, bundle.spec.latent.layer, bundle.spec.dimension) == ("vae", "mean", 8)
    assert bundle.spec.functions == ("encode", "reconstruct", "decode", "denoise", "generate")
    assert not bundle.spec.has_keras_model
    mean, logarithm = run(files.encoder.read_bytes(), ["mean", "log_variance"], x=first(images))
    shaped = mean.reshape(-1, 2, 2, 2) if len(taken) == 4 else mean
    rows = [shaped[i : i + 1] for i in range(len(shaped))] if taken[0] == 1 else [shaped]
    want = np.concatenate([run(files.decoder.read_bytes(), ["x"], mean=some)[0] for some in rows])
    runtime = Runtime.load(bundle)
    for got, exact in zip(runtime.encode_variance(images), (mean, np.exp(logarithm)), strict=True):
        close(got, exact)
    close(runtime.reconstruct(images).output, last(want))
    close(runtime.decode(mean), last(want))
    assert "differences" in check_bundle(bundle.uri).describe()


def test_parts_for_one_image(tmp_path, images):
    files = parts(tmp_path, encoder((1, *SIDES[1:]), "z"), decoder((1, 8)))
    bundle = export(files, None, str(tmp_path / "b"))
    assert bundle.spec.kind == "autoencoder" and bundle.spec.latent.layer == "z"
    (mean,) = run(encoder().data(), ["mean"], x=first(images))
    close(Runtime.load(bundle).encode(images), mean)


def test_an_encoder_alone_needs_no_name(tmp_path, images):
    graph = encoder(SIDES, "mean")
    bundle = export(parts(tmp_path, graph, None), None, str(tmp_path / "b"))
    assert (bundle.spec.kind, bundle.spec.latent.layer) == ("encoder", "mean")
    (mean,) = run(graph.data(), ["mean"], x=first(images))
    close(Runtime.load(bundle).encode(images), mean)


@pytest.mark.parametrize(
    ("taken", "shape"), [(("n", 8), (12, 8, 3)), (("n", 8, 1, 1), (12, 8, 3)), ((1, 2, 2, 2), (12, 8, 3))]
)
def test_a_decoder_alone(tmp_path, taken, shape):
    graph = decoder(taken)
    files = Parts(decoder=graph.save(tmp_path / "d.onnx"), normal_prior=True)
    bundle = export(files, None, str(tmp_path / "b"), Preprocessing(value_range=(-1.0, 1.0)))
    spec = bundle.spec
    assert (spec.kind, spec.functions, spec.input.shape) == ("decoder", ("decode", "generate"), shape)
    assert (spec.output_range, spec.latent.layer, spec.latent.shape) == ((-1.0, 1.0), "mean", taken[1:])
    codes = np.random.default_rng(2).standard_normal((5, 8)).astype(np.float32)
    each = [run(graph.data(), ["x"], mean=code.reshape(1, *taken[1:]))[0] for code in codes]
    close(Runtime.load(bundle).decode(codes), last(np.concatenate(each)))
    assert f"to input {spec.latent.layer!r}" in check_bundle(bundle.uri).describe()
    with pytest.raises(BundleError, match="cannot encode"):
        spec.require("encode")


@pytest.mark.parametrize(
    ("perm", "sides", "shape"),
    [
        (None, (2, 6, 8), (6, 8, 2)),
        (None, (6, 8, 3), (6, 8, 3)),
        (None, (6, 5, 1), (6, 5, 1)),
        (None, (3, 3, 3), (3, 3, 3)),
        ([0, 2, 3, 1], (3, 3, 3), (3, 3, 3)),
        (None, (5, 6), (5, 6, 1)),
    ],
)
def test_how_a_decoder_lays_out_its_images(tmp_path, perm, sides, shape):
    graph = networks.Graph()
    x = graph.node("Gemm", graph.take("z", ("n", 4)), graph.weight(4, int(np.prod(sides))))
    x = graph.node("Reshape", x, graph.constant(np.array([-1, *sides])))
    graph.node("Transpose", x, perm=perm, name="y") if perm else graph.node("Identity", x, name="y")
    bundle = export(parts(tmp_path, None, graph.give("y")), None, str(tmp_path / "b"))
    assert bundle.spec.input.shape == shape
    codes = np.random.default_rng(2).standard_normal((5, 4)).astype(np.float32)
    (want,) = run(graph.data(), ["y"], z=codes)
    firsts = len(sides) == 3 and perm is None and (sides[0] == 2 or sides == (3, 3, 3))
    close(Runtime.load(bundle).decode(codes), last(want) if firsts else want.reshape(5, *shape))


def _vectors():
    graph = networks.Graph()
    graph.node("Gemm", graph.take("z", ("n", 8)), graph.weight(8, 9), name="y")
    return graph.give("y")


def _two_inputs():
    graph = networks.Graph()
    graph.node("Add", graph.take("z", ("n", 8)), graph.take("label", ("n", 8)), name="y")
    return graph.give("y")


def _bomb():
    graph = networks.Graph()
    x = graph.node("Reshape", graph.take("z", ("n", 8)), graph.constant(np.array([-1, 2, 2, 2])))
    large = graph.constant(np.array([1, 1, 1e5, 1e5], np.float32))
    graph.node("Resize", x, "", large, name="y")
    return graph.give("y")


@pytest.mark.parametrize(
    ("one", "other", "latent", "message"),
    [
        (encoder(), decoder(), None, r"has 3 outputs; name its latent by --latent, one of: mean, log_variance, z"),
        (encoder(), decoder(("n", 9)), "mean", r"the decoder takes 9, and the latent is 8; see that both files"),
        (
            encoder(),
            decoder(opset=18),
            "mean",
            "the encoder is of opset 17, and the decoder of 18; export both with the",
        ),
        (encoder(), _vectors(), "mean", "the decoder gives 9, not images 12 8 3, as the encoder takes"),
        (encoder(), _two_inputs(), "mean", r"the decoder takes 2 inputs \(z, label\); only one of one input"),
        (encoder(), _bomb(), "mean", "not opened: it has the operation Resize, which puts out .* numbers"),
        (None, _bomb(), None, "not opened: it has the operation Resize, which puts out .* numbers"),
        (None, _vectors(), None, r"the decoder gives 9, not images of channels, .*; reshape them within the network"),
        (None, _two_inputs(), None, "the decoder takes 2 inputs"),
        (None, decoder(), "mean", "a decoder alone takes its latent as input; leave out --latent"),
        (None, decoder(("n", "h", 2, 2)), None, r"input \? 2 2 is open; give --input-shape"),
        (encoder(SIDES, "mean", "z"), None, None, "the encoder has 2 outputs"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, one, other, latent, message):
    with pytest.raises(UsageError, match=message) as raised:
        export(parts(tmp_path, one, other), latent, str(tmp_path / "b"))
    names = [str(tmp_path / name) for name, graph in (("e.onnx", one), ("d.onnx", other)) if graph]
    assert str(raised.value).count(" + ".join(names)) == 1
    assert not (tmp_path / "b").exists()


def test_names_of_the_encoder_that_look_like_the_decoders(tmp_path, images):
    graph = networks.Graph()
    x = graph.node("Flatten", graph.take("decoder/mean", SIDES))
    graph.node("Gemm", x, graph.weight(288, 8), name="decoder/x")
    files = parts(tmp_path, graph.give("decoder/x"), decoder())
    bundle = export(files, None, str(tmp_path / "b"))
    (z,) = run(graph.data(), ["decoder/x"], **{"decoder/mean": first(images)})
    (want,) = run(decoder().data(), ["x"], mean=z)
    close(Runtime.load(bundle).reconstruct(images).output, last(want))


def test_parts_of_two_kinds(tmp_path, saved, capsys):
    path = decoder().save(tmp_path / "d.onnx")
    words = ["export", "--encoder", str(saved), "--decoder", str(path), "--output", str(tmp_path / "b")]
    assert main(words) == 2
    printed = capsys.readouterr().err
    assert "network.keras is a .keras file" in printed and "d.onnx is an ONNX file" in printed
    assert "both parts have to be of one kind" in printed and "format='onnx'" in printed


def test_on_the_command_line(tmp_path, capsys):
    files = parts(tmp_path, encoder(), decoder())
    words = ["--encoder", str(files.encoder), "--decoder", str(files.decoder), "--latent", "mean", "--any-output"]
    assert main(["export", *words, "--log-variance", "log_variance", "--output", str(tmp_path / "b")]) == 0
    assert "vae, latent 'mean' of 8: encode, reconstruct, decode, denoise, generate" in capsys.readouterr().out
    assert main(["export", "--decoder", str(files.decoder), "--output", str(tmp_path / "d")]) == 0
    assert "it takes latents of 8 numbers and gives 12 x 8 x 3 rgb" in capsys.readouterr().out
