"""Bundles in 8 bits, from a trained model to a job's runtime."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lake.core.errors import BundleError, OutputError, UsageError
from lake.core.tensorflow import keras
from model import export_int8
from model.bundle import Bundle
from model.check import check_bundle
from model.cli.main import main
from model.denoiser import Denoiser
from model.export import export
from model.export_graphs import export_again
from model.golden import golden_levels, unpack
from model.graphs import graph_file
from model.preprocessing import Preprocessing
from model.runtime import choose_executor, executors_of
from model.runtime.runtime import Runtime
from model.training.networks import build_autoencoder, build_vae
from tests.model import nets
from tests.model.bundles import describe, description, put_file


@pytest.fixture(scope="module")
def denoiser_file(layers, tmp_path_factory) -> Path:
    keras().utils.set_random_seed(5)
    path = tmp_path_factory.mktemp("denoiser") / "unet.keras"
    nets.unet(depth=1, width=8).save(path)
    return path


_TOLD = Preprocessing(noise_input="noise_level")


@pytest.fixture(scope="module")
def denoiser(denoiser_file, photographs) -> Bundle:
    output = str(denoiser_file.parent / "bundle")
    return export(denoiser_file, None, output, _TOLD, precision="int8", calibrate=str(photographs))


@pytest.fixture(scope="module")
def encoder(saved, pictures, tmp_path_factory) -> Bundle:
    output = tmp_path_factory.mktemp("encoder") / "bundle"
    options = ["--latent", "encoded", "--any-output", "--precision", "int8"]
    assert main(["export", str(saved), *options, "--calibrate", str(pictures), "--output", str(output)]) == 0
    return Bundle.open(str(output))


def test_what_a_denoiser_loses_is_what_its_description_says(denoiser, denoiser_file, photographs, tmp_path):
    """On other noise, of the level in the middle, against Keras's own outputs."""
    model = keras().models.load_model(denoiser_file)
    images = [np.asarray(Image.open(path))[:128, :128, None] for path in sorted(photographs.glob("*.png"))]
    rng, level = np.random.default_rng(9), np.float32(25 / 255)
    clean = np.stack(images) / np.float32(255)
    noisy = (clean + rng.normal(0, level, clean.shape)).clip(0, 1).astype(np.float32)
    want = np.asarray(model.predict([noisy, np.full((*noisy.shape[:3], 1), level)], verbose=0)).clip(0, 1)
    got = Runtime.load(denoiser).restore(noisy, np.full(len(noisy), level)).clip(0, 1)
    cost = denoiser.spec.quantization.cost
    assert -10 * np.log10(np.mean((got - want) ** 2)) == pytest.approx(cost["psnr_to_float32_db"], abs=3)
    ratios = [-10 * np.log10(np.mean((made - clean) ** 2, axis=(1, 2, 3))).mean() for made in (want, got)]
    assert ratios[0] - ratios[1] == pytest.approx(cost["loss_db"]["25"], abs=0.1)
    assert cost["images"] == 10 and set(cost["loss_db"]) == {"15", "25", "50"}


@pytest.mark.slow
def test_one_that_loses_too_much_keeps_more_layers(denoiser_file, photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(export_int8, "SHARES", (0.0, 0.5, 1.0))
    found = []
    for lost in (100.0, -1.0):  # any loss is good enough, and none is
        monkeypatch.setattr(export_int8, "_LOST", lost)
        output = str(tmp_path / f"{lost}")
        bundle = export(denoiser_file, None, output, _TOLD, precision="int8", calibrate=str(photographs))
        found.append(bundle.spec.quantization)
    less, more = found
    assert more.layers["float32"] > less.layers["float32"]
    assert more.cost["psnr_to_float32_db"] > less.cost["psnr_to_float32_db"]


def test_latents_point_where_they_did(encoder, bundle, pictures):
    images = np.load(pictures / "stack.npy")
    one, other = Runtime.load(bundle).encode(images), Runtime.load(encoder).encode(images)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (one * other).sum(axis=1) / norms
    cost = encoder.spec.quantization.cost
    assert cosines.min() > 0.99 and not np.array_equal(one, other)
    assert cosines.mean() == pytest.approx(cost["cosine"], abs=1e-3)
    assert cost["least_cosine"] >= cosines.min() - 1e-6  # of these images


def test_images_have_the_same_bits_alone_and_together(denoiser):
    runtime = Runtime.load(denoiser)
    assert runtime.any_rows and runtime.executor == "onnx"
    made, rng = Denoiser(runtime), np.random.default_rng(1)
    for shape in [(5, 13, 21, 1), (3, 64, 40, 3)]:
        images = rng.integers(0, 256, shape, np.uint8)
        levels = np.linspace(0.02, 0.2, len(images), dtype=np.float32)
        together = made.denoise(images, levels)
        for i in range(len(images)):
            alone = made.denoise(images[i : i + 1], levels[i : i + 1])
            assert np.array_equal(alone.pixels[0], together.pixels[i])


@pytest.mark.parametrize("rows", [1, 7, 16])
def test_rows_have_the_bits_that_they_have_in_a_batch(encoder, images, rows):
    runtime = Runtime.load(encoder)
    assert runtime.any_rows
    latents = runtime.encode(images[:256])
    for start in (0, 3, 256 - rows):
        assert np.array_equal(runtime.encode(images[start : start + rows]), latents[start : start + rows])


def test_golden_outputs_are_those_in_8_bits(denoiser, denoiser_file):
    """Off from float32 by more than float32 is off from itself, and within what other processors may be off."""
    golden = unpack(denoiser.read("golden.npz"), denoiser.spec, "golden")
    runtime = Runtime.load(denoiser)
    assert np.array_equal(runtime.restore(golden["input"], golden_levels(4)), golden["output"])
    exact = export(denoiser_file, None, str(denoiser_file.parent / "exact"), _TOLD)
    want = unpack(exact.read("golden.npz"), exact.spec, "golden")["output"]
    assert np.abs(golden["output"] - want).max() / np.abs(want).max() > 1e-4
    assert 0.03 <= denoiser.spec.golden.tolerance < 0.1


def test_another_graph_is_refused(denoiser, tmp_path):
    """With the digest that belongs to it: only the golden outputs tell."""
    copy = Path(denoiser.copy(str(tmp_path / "copy")).uri)
    exact = Bundle.open("zoo:denoiser-gray")
    put_file(copy, "restore.onnx", exact.read("restore.onnx"))
    with pytest.raises(BundleError, match="the model is not the one that was bundled: its output"):
        Runtime.load(Bundle.open(str(copy)))


def test_a_model_with_a_latent_only_encodes(encoder, layers, pictures, save, tmp_path, capsys):
    assert encoder.spec.kind == "encoder" and encoder.spec.functions == ("encode",)
    assert set(encoder.spec.files) == {"model.keras", "golden.npz", "encode.onnx"}
    with pytest.raises(
        BundleError, match=r"cannot reconstruct: .* offers encode; use its bundle in float32, since in int8"
    ):
        encoder.spec.require("reconstruct")
    model = save(build_vae((12, 10, 3), 4))
    options = ["--latent", "z_mean", "--log-variance", "z_log_var", "--any-output"]
    options += ["--precision", "int8", "--calibrate", str(pictures)]
    assert main(["export", str(model), *options, "--output", str(tmp_path / "vae")]) == 0
    assert "in int8 it encodes and does nothing else" in capsys.readouterr().out
    runtime = Runtime.load(Bundle.open(str(tmp_path / "vae")))
    assert runtime.encode(np.load(pictures / "stack.npy")).shape == (40, 4)
    with pytest.raises(BundleError, match="no variance"):
        runtime.encode_variance(np.load(pictures / "stack.npy"))


def test_only_onnx_runs_it(denoiser):
    assert executors_of(denoiser) == ("onnx",) and choose_executor(denoiser) == "onnx"
    with pytest.raises(
        BundleError, match=r"'tensorflow' cannot run it, for it is in int8; leave out --executor, or exp"
    ):
        choose_executor(denoiser, "tensorflow")


def test_it_has_its_graphs(denoiser):
    with pytest.raises(OutputError, match="has its graphs already"):
        export_again(denoiser.uri)


def test_equal_models_and_images_make_equal_bundles(encoder, saved, pictures, tmp_path):
    again = export(saved, "encoded", str(tmp_path / "b"), precision="int8", calibrate=str(pictures / "*.npy"))
    assert again.digest == encoder.digest


def test_check_shows_what_it_costs(denoiser):
    report = check_bundle(denoiser.uri)
    cost = denoiser.spec.quantization.cost
    losses = ", ".join(f"{cost['loss_db'][level]} at noise {level}" for level in ("15", "25", "50"))
    assert f"on 10 others: loss db {losses}, psnr to float32 db" in report.describe()
    assert [one.name for one in report.executors] == ["onnx"] and not report.looks.doubts
    assert report.to_value()["model"]["quantization"]["calibration"]["samples"] == 10


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["precision"], "int4"),
        (["calibration", "samples"], 0),
        (["calibration", "sha256"], "x" * 64),
        (["layers", "int8"], -1),
        (["cost"], 3),
    ],
)
def test_a_description_that_no_bundle_has(denoiser, tmp_path, path, value):
    copy = Path(denoiser.copy(str(tmp_path / "copy")).uri)
    document = description(copy)
    place = document["quantization"]
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    describe(copy, document)
    with pytest.raises(BundleError, match=rf"quantization\.{'.'.join(path)} is "):
        Bundle.open(str(copy))


def test_options_that_do_not_go_together(saved, pictures, layers, save, tmp_path, capsys):
    output = str(tmp_path / "out")
    for options, text in [
        (["--precision", "int8"], "--precision int8 needs --calibrate DIR"),
        (["--calibrate", str(pictures)], "--calibrate is for --precision int8"),
        (["--precision", "bfloat16", "--calibrate", str(pictures)], "--calibrate is for --precision int8"),
    ]:
        assert main(["export", str(saved), "--latent", "encoded", *options, "--output", output]) == 2
        assert text in capsys.readouterr().err
    assert main(["export", "zoo:mnist-vae", "--again", "--calibrate", "x", "--output", output]) == 2
    assert "--calibrate does not go with --again" in capsys.readouterr().err


def test_a_model_without_a_layer_that_has_8_bits(layers, pictures, save, tmp_path):
    image = layers.Input((12, 10, 3))
    pooled = keras().Model(image, layers.GlobalAveragePooling2D(name="code")(layers.Activation("gelu")(image)))
    with pytest.raises(
        BundleError, match="has no layer worth changing between the first and the last one; leave it out"
    ):
        export(save(pooled), "code", str(tmp_path / "b"), precision="int8", calibrate=str(pictures))


@pytest.mark.slow
def test_models_that_have_no_8_bits(layers, pictures, photographs, save, tmp_path, caplog):
    """Vectors, half precision, nothing to quantise, nothing that converts."""
    vectors = keras().Sequential([layers.Input((8,)), layers.Dense(4, name="code"), layers.Dense(8)])
    half = build_autoencoder((12, 10, 3), 8)
    for layer in half.layers:
        layer.dtype_policy = "mixed_bfloat16"
    image = layers.Input((12, 10, 3))
    rows = layers.Reshape((12, 30))(image)
    looped = keras().Model(image, layers.Dense(4, name="code")(layers.GRU(4)(rows)))
    caplog.set_level(logging.ERROR)
    for model, latent, images, kind, text in [
        (vectors, "code", pictures, UsageError, "is for models of images, and this one takes vectors"),
        (keras().models.clone_model(half), "encoded", pictures, UsageError, "this model is in 16 bits"),
        (
            nets.plain(depth=1),
            None,
            photographs,
            BundleError,
            "no layer worth changing between the first and the last one",
        ),
        (looped, "code", pictures, BundleError, "does not convert to ONNX"),
    ]:
        with pytest.raises(kind, match=text):
            export(save(model), latent, str(tmp_path / "b"), precision="int8", calibrate=str(images))
    assert not (tmp_path / "b").exists()


def test_the_graph_is_the_only_one(denoiser):
    assert set(denoiser.spec.files) == {"model.keras", "golden.npz", graph_file("restore")}
