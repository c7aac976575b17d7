"""Bundles that give several latents in one pass, against Keras and ONNX Runtime, and against a bundle for each."""

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
from model.golden import unpack
from model.keras.bundled import load_bundled
from model.names import read_requests
from model.parts import Parts
from model.runtime.runtime import Runtime
from model.spec_json import from_json
from tests.model import nets
from tests.model.onnx_import import networks


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (21, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def pyramid(layers, tmp_path_factory) -> Path:
    """An autoencoder with features at two resolutions and a code."""
    path = tmp_path_factory.mktemp("pyramid") / "pyramid.keras"
    nets.pyramid().save(path)
    return path


@pytest.fixture(scope="module")
def several(pyramid) -> Bundle:
    return export(pyramid, ["code", "fine=high", "low"], str(pyramid.parent / "several"))


def both_executors(bundle: Bundle) -> list[Runtime]:
    return [Runtime.load(bundle, name) for name in ("onnx", "tensorflow")]


def test_one_pass_gives_the_bits_of_a_bundle_for_each(pyramid, several, pixels, tmp_path):
    assert [*several.spec.latents] == ["code", "fine", "low"] and several.spec.kind == "autoencoder"
    alone = [export(pyramid, layer, str(tmp_path / layer)) for layer in ("code", "high", "low")]
    for number, executor in enumerate(("onnx", "tensorflow")):
        found = both_executors(several)[number].encode_all(pixels)
        for latents, bundle in zip(found, alone, strict=True):
            np.testing.assert_array_equal(latents, Runtime.load(bundle, executor).encode(pixels))
    assert [latents.shape for latents in found] == [(21, 5), (21, 64), (21, 24)]


def test_they_are_what_the_layers_give(pyramid, several, pixels):
    model = keras().models.load_model(pyramid)
    named = keras().Model(model.input, [model.get_layer(name).output for name in ("code", "high", "low")])
    want = named.predict(pixels / np.float32(255), verbose=0)
    for runtime in both_executors(several):
        for latents, values in zip(runtime.encode_all(pixels), want, strict=True):
            np.testing.assert_allclose(latents, values.reshape(21, -1), rtol=1e-5, atol=1e-6)


def test_the_first_is_the_model_s_own(several, pixels):
    """It decodes the first; what the others are for does not change that."""
    for runtime in both_executors(several):
        made = runtime.reconstruct(pixels)
        np.testing.assert_array_equal(made.latents, runtime.encode_all(pixels)[0])
        np.testing.assert_allclose(runtime.decode(made.latents), made.output, atol=1e-6)


def test_of_no_rows_there_are_none(several, pixels):
    nothing = np.empty((0, 8, 8, 1), np.uint8)
    for runtime in both_executors(several):
        assert [latents.shape for latents in runtime.encode_all(nothing)] == [(0, 5), (0, 64), (0, 24)]


def test_what_the_bundle_says_of_them(several):
    described = json.loads(Path(several.uri, "model.json").read_text())
    assert described["latent"]["name"] == "code"
    assert [(one["name"], one["layer"]) for one in described["further_latents"]] == [("fine", "high"), ("low", "low")]
    assert "encode_all.onnx" in described["files"]
    report = check_bundle(several.uri)
    assert {"latent_fine", "latent_low"} <= report.executors[0].differences.keys()
    assert "fine: 64 from 'high'; low: 24 from 'low'" in report.describe()


def test_a_further_latent_that_differs_is_told(several):
    golden = unpack(several.read("golden.npz"), several.spec, "golden.npz")
    for runtime in both_executors(several):
        runtime.check(golden, "it")
        with pytest.raises(BundleError, match="its latent_low for the golden inputs differs"):
            runtime.check({**golden, "latent_low": golden["latent_low"] + 1}, "it")


@pytest.fixture(scope="module")
def parts(layers, tmp_path_factory):
    """Files of an encoder whose projection is made of its mean, and of a decoder."""
    keras().utils.set_random_seed(2)
    image = layers.Input((8, 8, 1))
    x = layers.Dense(16, activation="relu")(layers.Flatten()(image))
    mean, logarithm = layers.Dense(4, name="z_mean")(x), layers.Dense(4, name="z_log_var")(x)
    encoder = keras().Model(image, [mean, logarithm, layers.Dense(3, name="projection")(mean)])
    code = layers.Input((4,))
    decoder = keras().Model(code, layers.Reshape((8, 8, 1))(layers.Dense(64, activation="sigmoid")(code)))
    folder = tmp_path_factory.mktemp("parts")
    encoder.save(folder / "e.keras")
    decoder.save(folder / "d.keras")
    return folder, encoder, decoder


def test_outputs_of_an_encoder(parts, pixels, tmp_path):
    """The projection is made of the latent, so a model that ends with the latent would leave it out."""
    folder, encoder, _ = parts
    mean, _, projection = encoder.predict(pixels / np.float32(255), verbose=0)
    bundle = export(folder / "e.keras", ["z_mean", "projection"], str(tmp_path / "b"))
    assert (bundle.spec.kind, bundle.spec.functions) == ("encoder", ("encode",))
    for runtime in both_executors(bundle):
        for latents, want in zip(runtime.encode_all(pixels), (mean, projection), strict=True):
            np.testing.assert_allclose(latents, want, rtol=1e-5, atol=1e-6)


def test_a_joined_vae_with_a_projection(parts, pixels, tmp_path):
    folder, encoder, decoder = parts
    files = Parts(encoder=folder / "e.keras", decoder=folder / "d.keras")
    bundle = export(files, ["z_mean", "projection"], str(tmp_path / "b"), variance="z_log_var")
    assert bundle.spec.kind == "vae" and {"decode", "generate"} <= {*bundle.spec.functions}
    mean, _, projection = encoder.predict(pixels / np.float32(255), verbose=0)
    for runtime in both_executors(bundle):
        for latents, want in zip(runtime.encode_all(pixels), (mean, projection), strict=True):
            np.testing.assert_allclose(latents, want, rtol=1e-5, atol=1e-6)
        image = decoder.predict(mean, verbose=0)
        np.testing.assert_allclose(runtime.reconstruct(pixels).output, image, rtol=1e-5, atol=1e-6)


def test_a_whole_model_whose_outputs_they_are(layers, pixels, save, tmp_path):
    """In bfloat16 the last layer of the image and those of the latents stay in float32."""
    keras().utils.set_random_seed(4)
    image = layers.Input((8, 8, 1))
    mean = layers.Dense(3, name="mean")(layers.Dense(9, activation="relu")(layers.Flatten()(image)))
    head = layers.Dense(2, name="head")(mean)
    x = layers.Reshape((8, 8, 1))(layers.Dense(64, activation="relu")(mean))
    output = layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="last")(x)
    model = keras().Model(image, [mean, output, head])
    want = model.predict(pixels / np.float32(255), verbose=0)
    saved = save(model)
    bundle = export(saved, ["mean", "head"], str(tmp_path / "b"))
    assert bundle.spec.kind == "autoencoder"
    for latents, values in zip(Runtime.load(bundle).encode_all(pixels), (want[0], want[2]), strict=True):
        np.testing.assert_allclose(latents, values, rtol=1e-5, atol=1e-6)
    half = export(saved, ["mean", "head"], str(tmp_path / "half"), precision="bfloat16")
    policies = {layer.name: layer.compute_dtype for layer in load_bundled(half).layers}
    assert {name for name, dtype in policies.items() if dtype == "float32"} >= {"mean", "head", "last"}
    assert "bfloat16" in policies.values()


def test_tensors_of_an_onnx_file(tmp_path):
    files = networks.encoder().save(tmp_path / "e.onnx")
    images = np.random.default_rng(1).integers(0, 256, (9, 12, 8, 3), np.uint8)
    want = networks.run(files.read_bytes(), ["mean", "log_variance"], x=networks.first(images))
    bundle = export(files, ["mean", "spread=log_variance"], str(tmp_path / "b"))
    assert [*bundle.spec.latents] == ["mean", "spread"] and not bundle.spec.has_keras_model
    found = Runtime.load(bundle).encode_all(images)
    alone = [Runtime.load(export(files, name, str(tmp_path / name))) for name in ("mean", "log_variance")]
    for latents, values, one in zip(found, want, alone, strict=True):
        np.testing.assert_allclose(latents, values, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(latents, one.encode(images))


def test_what_is_refused(pyramid, parts, save, tmp_path):
    output = str(tmp_path / "b")
    with pytest.raises(BundleError, match="no layer 'hihg'; the nearest is 'high'"):
        export(pyramid, ["code", "hihg"], output)
    with pytest.raises(UsageError, match=r"two latents would be called 'code'.*--latent NAME=code"):
        export(pyramid, ["code", "CODE=low", "code"], output)
    with pytest.raises(UsageError, match="'flip' is no name of a latent"):
        export(pyramid, ["code", "flip=low"], output)
    with pytest.raises(UsageError, match="--precision int8 gives one latent"):
        export(pyramid, ["code", "low"], output, precision="int8", calibrate=str(tmp_path))
    with pytest.raises(UsageError, match="several --latent need images of one size"):
        export(save(nets.open_autoencoder()), ["code", "up"], output)
    with pytest.raises(UsageError, match="a decoder alone"):
        export(Parts(decoder=parts[0] / "d.keras"), ["a", "b"], output)
    with pytest.raises(UsageError, match="17 latents"):
        read_requests([f"l{n}" for n in range(17)])
    assert not (tmp_path / "b").exists()


def test_a_bundle_of_one_latent_is_what_it_was(pyramid, tmp_path):
    """A name would be in its digest."""
    one, listed = (export(pyramid, latent, str(tmp_path / str(n))) for n, latent in enumerate(("code", ["code"])))
    assert one.digest == listed.digest and "name" not in json.loads(Path(one.uri, "model.json").read_text())["latent"]
    assert [*one.spec.latents] == ["code"]


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["further_latents"].clear(),
        lambda found: found["further_latents"].append({"name": "x"}),
        lambda found: found["further_latents"][0].update(name="CODE"),
        lambda found: found["further_latents"][0].update(name="a/b"),
        lambda found: found["further_latents"][0].update(name="flip"),
        lambda found: found["further_latents"][0].pop("name"),
        lambda found: found["latent"].pop("name"),
        lambda found: found["further_latents"][0].update(dimension=3),
        lambda found: found.update(further_latents={}),
    ],
)
def test_a_description_that_no_bundle_has(several, change):
    found = json.loads(Path(several.uri, "model.json").read_text())
    change(found)
    with pytest.raises(BundleError, match="export the model again"):
        from_json(found, "model.json")


def test_the_command_says_how_to_use_them(pyramid, tmp_path, capsys):
    words = ["export", "--latent", "code", "--latent", "low", str(pyramid), "--output", str(tmp_path / "b")]
    assert main(words) == 0
    assert "latents in one pass: latentlake encode --latent code --latent low" in capsys.readouterr().out
