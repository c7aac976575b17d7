"""Encoder and decoder in files of their own, against what Keras gives for each."""

import json
from pathlib import Path

import numpy as np
import pytest

from lake.core.errors import BundleError, UsageError
from lake.core.tensorflow import keras
from model.bundle import Bundle
from model.check import check_bundle
from model.cli.main import main
from model.export import export
from model.likeness import Likeness
from model.parts import Parts
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from tests.model.bundles import describe, description


@pytest.fixture(scope="module")
def parts(layers, tmp_path_factory):
    """Files of an encoder that gives mean, logarithm and both, and of a decoder that takes the latent as a grid."""
    keras().utils.set_random_seed(2)
    image = layers.Input((8, 8, 1))
    x = layers.Dense(16, activation="relu")(layers.Flatten()(layers.Conv2D(2, 3)(image)))
    mean, logarithm = layers.Dense(4, name="z_mean")(x), layers.Dense(4, name="z_log_var")(x)
    encoder = keras().Model(image, [mean, logarithm, layers.Concatenate(name="both")([mean, logarithm])])
    grid = layers.Input((2, 2, 1))
    x = layers.Conv2DTranspose(3, 4, strides=4, padding="same", activation="relu")(grid)
    decoder = keras().Model(grid, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x))
    folder = tmp_path_factory.mktemp("parts")
    encoder.save(folder / "e.keras")
    decoder.save(folder / "d.keras")
    return folder, encoder, decoder


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)


def both(folder: Path) -> Parts:
    return Parts(encoder=folder / "e.keras", decoder=folder / "d.keras")


def both_executors(bundle: Bundle) -> list[Runtime]:
    return [Runtime.load(bundle, name) for name in ("onnx", "tensorflow")]


def test_a_joined_vae_gives_what_its_parts_give(parts, pixels, tmp_path):
    folder, encoder, decoder = parts
    bundle = export(both(folder), "z_mean", str(tmp_path / "b"), variance="z_log_var")
    assert bundle.spec.kind == "vae" and bundle.spec.functions[-1] == "generate"
    mean, logarithm, _ = encoder.predict(pixels / np.float32(255), verbose=0)
    want = decoder.predict(mean.reshape(-1, 2, 2, 1), verbose=0)
    for runtime in both_executors(bundle):
        found, variance = runtime.encode_variance(pixels)
        np.testing.assert_allclose(found, mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(variance, np.exp(logarithm), rtol=1e-5)
        np.testing.assert_allclose(runtime.reconstruct(pixels).output, want, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(runtime.decode(mean), want, rtol=1e-5, atol=1e-6)


def test_an_encoder_gives_the_output_that_is_named(parts, pixels, tmp_path):
    folder, encoder, _ = parts
    want = encoder.predict(pixels / np.float32(255), verbose=0)
    for name, position in (("both", 2), ("1", 1)):
        bundle = export(folder / "e.keras", name, str(tmp_path / name))
        assert (bundle.spec.kind, bundle.spec.functions) == ("encoder", ("encode",))
        np.testing.assert_allclose(Runtime.load(bundle).encode(pixels), want[position], rtol=1e-5, atol=1e-6)


def test_outputs_of_a_dict_and_of_an_operation(layers, pixels, save, tmp_path):
    image = layers.Input((8, 8, 1))
    flat = layers.Flatten()(image)
    model = keras().Model(image, {"codes": layers.Dense(3)(flat) * 2.0, "latent": layers.Dense(5, name="latent")(flat)})
    want = model.predict(pixels / np.float32(255), verbose=0)
    bundle = export(save(model), "codes", str(tmp_path / "b"))
    np.testing.assert_allclose(Runtime.load(bundle).encode(pixels), want["codes"], rtol=1e-5, atol=1e-6)


def test_a_whole_model_with_its_latent_among_the_outputs(layers, pixels, save, tmp_path):
    image = layers.Input((8, 8, 1))
    mean = layers.Dense(3, name="mean")(layers.Flatten()(image))
    output = layers.Reshape((8, 8, 1))(layers.Dense(64, activation="sigmoid")(mean))
    model = keras().Model(image, [mean, output])
    want = model.predict(pixels / np.float32(255), verbose=0)
    bundle = export(save(model), "0", str(tmp_path / "b"))
    assert bundle.spec.kind == "autoencoder"
    found = Runtime.load(bundle).reconstruct(pixels)
    np.testing.assert_allclose(found.latents, want[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.output, want[1], rtol=1e-5, atol=1e-6)


def test_a_decoder_alone(parts, tmp_path):
    folder, _, decoder = parts
    latents = np.random.default_rng(1).normal(0, 1, (5, 4)).astype(np.float32)
    want = decoder.predict(latents.reshape(-1, 2, 2, 1), verbose=0)
    bundle = export(Parts(decoder=folder / "d.keras"), None, str(tmp_path / "b"), Preprocessing(output_range=(-1, 1)))
    assert (bundle.spec.kind, bundle.spec.functions, bundle.spec.output_range) == ("decoder", ("decode",), (-1, 1))
    for runtime in both_executors(bundle):
        np.testing.assert_allclose(runtime.decode(latents), want, rtol=1e-5, atol=1e-6)
    report = check_bundle(bundle.uri)
    assert "latent  4 numbers of shape 2 x 2 x 1 to input" in report.describe()
    assert sorted(report.to_value()["executors"]) == ["onnx", "tensorflow"]
    for function in ("encode", "reconstruct", "denoise"):
        with pytest.raises(
            BundleError, match=f"cannot {function}: a bundle of kind 'decoder' .*--encoder E.keras --de"
        ):
            bundle.spec.require(function)
    with pytest.raises(BundleError, match=r"cannot generate: .* export it with --normal-prior"):
        bundle.spec.require("generate")


def test_a_decoder_that_generates(parts, tmp_path):
    folder, *_ = parts
    bundle = export(Parts(decoder=folder / "d.keras", normal_prior=True), None, str(tmp_path / "b"))
    assert bundle.spec.functions == ("decode", "generate")
    document = description(tmp_path / "b")
    describe(tmp_path / "b", {**document, "functions": ["encode", "decode"]})
    with pytest.raises(BundleError, match="functions is"):
        Bundle.open(bundle.uri)


def test_a_decoder_of_channels_first(layers, save, tmp_path):
    code = layers.Input((6,))
    turned = layers.Reshape((3, 4, 5))(layers.Dense(60)(code))
    model = keras().Model(code, turned)
    bundle = export(Parts(decoder=save(model)), None, str(tmp_path / "b"))
    latents = np.random.default_rng(1).normal(0, 1, (2, 6)).astype(np.float32)
    want = model.predict(latents, verbose=0).transpose(0, 2, 3, 1)
    assert bundle.spec.input.shape == (4, 5, 3)
    np.testing.assert_allclose(Runtime.load(bundle).decode(latents), want, rtol=1e-5, atol=1e-6)


def test_a_wrong_range_of_a_decoder_is_seen(layers, save, tmp_path):
    code = layers.Input((6,))
    image = layers.Activation("tanh")(layers.Reshape((4, 4, 1))(layers.Dense(16)(code)))
    found: list[Likeness] = []
    export(Parts(decoder=save(keras().Model(code, image))), None, str(tmp_path / "b"), judge=found.append)
    assert "--value-range -1 1" in found[0].doubts[0].text and found[0].doubts[0].grave


def test_what_does_not_fit(parts, layers, save, tmp_path):
    folder, *_ = parts
    with pytest.raises(UsageError, match=r"it has 3 outputs; name its latent by --latent, one of: z_mean \(4\), z_log"):
        export(both(folder), None, str(tmp_path / "b"))
    with pytest.raises(UsageError, match="no output or layer 'mean'; name"):
        export(folder / "e.keras", "mean", str(tmp_path / "b"))
    with pytest.raises(BundleError, match="the decoder takes 2 2 1, and the latent is 8; see that both"):
        export(both(folder), "both", str(tmp_path / "b"))
    with pytest.raises(UsageError, match="--log-variance both: its output is 8, and the latent is 4"):
        export(both(folder), "z_mean", str(tmp_path / "b"), variance="both")
    with pytest.raises(UsageError, match="a decoder alone takes its latent as input; leave out --latent"):
        export(Parts(decoder=folder / "d.keras"), "z_mean", str(tmp_path / "b"))
    with pytest.raises(UsageError, match="--log-variance is for a whole variational autoencoder; add its decoder"):
        export(Parts(encoder=folder / "e.keras"), "z_mean", str(tmp_path / "b"), variance="z_log_var")
    with pytest.raises(BundleError, match="gives 3, not images H W C"):
        vector = layers.Input((4,))
        export(Parts(decoder=save(keras().Model(vector, layers.Dense(3)(vector)))), None, str(tmp_path / "b"))
    codes = layers.Input((4,), dtype="int32")
    embedded = layers.Reshape((4, 4, 1))(layers.Embedding(8, 4)(codes))
    with pytest.raises(BundleError, match="the decoder takes int32, not numbers of a latent"):
        export(Parts(decoder=save(keras().Model(codes, embedded), "i.keras")), None, str(tmp_path / "b"))
    for given in ({}, {"encoder": folder, "normal_prior": True}):
        with pytest.raises(UsageError, match=r"no model is named|--normal-prior is for --decoder alone"):
            Parts(**given)


def test_on_the_command_line(parts, tmp_path, capsys):
    folder, *_ = parts
    files = ["--encoder", str(folder / "e.keras"), "--decoder", str(folder / "d.keras")]
    named = ["--latent", "z_mean", "--log-variance", "z_log_var", "--any-output", "--output", str(tmp_path / "b")]
    assert main(["export", *files, *named, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "vae"
    assert main(["export", "--decoder", str(folder / "d.keras"), "--output", str(tmp_path / "d")]) == 0
    assert "it takes latents of 4 numbers and gives 8 x 8 x 1 gray" in capsys.readouterr().out
    for words, message in (
        (["my.keras", *files, "--output", "x"], "--encoder does not go with my.keras"),
        (["--output", "x"], "no model is named: give FILE.keras"),
        (["--again"], "--again needs the bundle"),
        (["--again", "b", *files[:2]], "--encoder does not go with --again"),
    ):
        assert main(["export", *words]) == 2
        assert message in capsys.readouterr().err
