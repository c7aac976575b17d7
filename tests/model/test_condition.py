"""Bundles of conditional models, against what Keras and ONNX Runtime give for the files themselves."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from lake.core.errors import BundleError, UsageError
from lake.core.tensorflow import keras
from model.bundle import Bundle
from model.check import check_bundle
from model.cli.main import main
from model.condition import Condition
from model.export import export
from model.golden import unpack
from model.parts import Parts
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from model.spec_json import from_json, to_json
from tests.conftest import long_forms
from tests.model.conditional import CLASSES, SHAPE, as_given, classes_of, halves, onnx_cvae, onnx_halves, whole

CLASS = Preprocessing(condition="label", condition_classes=(str(CLASSES),))
GIVEN = {"one_hot": CLASS, "number": CLASS, "numbers": Preprocessing(condition="label=hue")}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, *SHAPE), np.uint8)


def executors(bundle: Bundle) -> list[Runtime]:
    return [Runtime.load(bundle, name) for name in ("onnx", "tensorflow")]


def conditions(form: str, count: int) -> np.ndarray:
    classes = classes_of(count)
    return as_given(form, classes) if form == "numbers" else classes


@pytest.mark.parametrize(
    ("form", "structure"),
    [("one_hot", "list"), *long_forms(("number", "dict"), ("numbers", "turned"), ("one_hot", "dict"))],
)
def test_a_whole_model_gives_what_keras_gives(form, structure, pixels, save, tmp_path):
    model = whole(form, structure)
    bundle = export(save(model), "code", str(tmp_path / "b"), GIVEN[form])
    assert bundle.spec.functions == ("encode", "reconstruct", "decode")
    told = conditions(form, len(pixels))
    given = {"image": pixels / np.float32(255), "label": as_given(form, classes_of(len(pixels)))}
    inputs = given if structure == "dict" else [given[tensor.name] for tensor in model.inputs]
    want = model.predict(inputs, verbose=0)
    encoder, _ = halves(form)
    mean = encoder.predict([given["image"], given["label"]], verbose=0)[0]
    for runtime in executors(bundle):
        found = runtime.reconstruct(pixels, condition=told)
        np.testing.assert_allclose(found.output, want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.latents, mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(runtime.encode(pixels, condition=told), found.latents)
        np.testing.assert_allclose(runtime.decode(found.latents, condition=told), want, rtol=1e-5, atol=1e-5)
        assert np.abs(runtime.encode(pixels, condition=np.roll(told, 1, 0)) - found.latents).max() > 1e-3


@pytest.mark.slow
def test_a_row_alone_has_the_bits_that_it_has_in_a_batch(pixels, save, tmp_path):
    bundle = export(save(whole("number")), "code", str(tmp_path / "b"), CLASS)
    told = classes_of(len(pixels))
    for runtime in executors(bundle):
        together = runtime.encode(pixels, condition=told)
        alone = [runtime.encode(pixels[i : i + 1], condition=told[i : i + 1]) for i in range(len(pixels))]
        np.testing.assert_array_equal(np.concatenate(alone), together)


@pytest.mark.slow
def test_halves_in_files_of_their_own(pixels, tmp_path):
    encoder, decoder = halves()
    encoder.save(tmp_path / "e.keras")
    decoder.save(tmp_path / "d.keras")
    parts = Parts(encoder=tmp_path / "e.keras", decoder=tmp_path / "d.keras")
    bundle = export(parts, "z_mean", str(tmp_path / "b"), CLASS, variance="z_log_var")
    assert (bundle.spec.kind, bundle.spec.functions[-1]) == ("vae", "generate")
    told, row = classes_of(len(pixels)), as_given("one_hot", classes_of(len(pixels)))
    mean, logarithm = encoder.predict([pixels / np.float32(255), row], verbose=0)
    want = decoder.predict([mean, row], verbose=0)
    for runtime in executors(bundle):
        found, variance = runtime.encode_variance(pixels, condition=told)
        np.testing.assert_allclose(found, mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(variance, np.exp(logarithm), rtol=1e-5)
        np.testing.assert_allclose(runtime.decode(mean, condition=told), want, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_decoder_alone_that_is_told_the_class(tmp_path):
    _, decoder = halves("number")
    decoder.save(tmp_path / "d.keras")
    parts = Parts(decoder=tmp_path / "d.keras", normal_prior=True)
    bundle = export(parts, None, str(tmp_path / "b"), CLASS)
    assert bundle.spec.functions == ("decode", "generate")
    latents = np.random.default_rng(1).standard_normal((7, 4), np.float32)
    want = decoder.predict([latents, as_given("number", classes_of(7))], verbose=0)
    for runtime in executors(bundle):
        np.testing.assert_allclose(runtime.decode(latents, condition=classes_of(7)), want, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_only_the_decoder_is_told_and_calls_it_otherwise(pixels, layers, tmp_path):
    image = layers.Input(SHAPE)
    encoder = keras().Model(image, layers.Dense(4, name="z")(layers.Flatten()(image)))
    encoder.save(tmp_path / "e.keras")
    halves()[1].save(tmp_path / "d.keras")
    parts = Parts(encoder=tmp_path / "e.keras", decoder=tmp_path / "d.keras")
    runtime = Runtime.load(export(parts, None, str(tmp_path / "b"), CLASS))
    want = halves()[1].predict(
        [encoder.predict(pixels / np.float32(255), verbose=0), as_given("one_hot", classes_of(20))], verbose=0
    )
    found = runtime.reconstruct(pixels, condition=classes_of(20))
    np.testing.assert_allclose(found.output, want, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_numbers_in_one_line_with_the_class_beside_them(layers, pixels, save, tmp_path):
    """As in the blog of Keras: 784 numbers and ten for the class."""
    line, told = layers.Input((48,), name="x"), layers.Input((CLASSES,), name="y")
    code = layers.Dense(3, name="code")(layers.Concatenate()([line, told]))
    output = layers.Dense(48, activation="sigmoid")(layers.Concatenate()([code, told]))
    model = keras().Model([line, told], output)
    given = Preprocessing(condition="y=label", condition_classes=("a", "b", "c", "d", "e"), input_shape=SHAPE)
    bundle = export(save(model), "code", str(tmp_path / "b"), given)
    assert bundle.spec.input.condition == Condition(
        input="y", column="label", length=CLASSES, classes=CLASSES, names=("a", "b", "c", "d", "e")
    )
    flat = pixels.reshape(len(pixels), -1) / np.float32(255)
    want = model.predict([flat, as_given("one_hot", classes_of(20))], verbose=0)
    for runtime in executors(bundle):
        found = runtime.reconstruct(pixels, condition=classes_of(20)).output
        np.testing.assert_allclose(found.reshape(20, -1), want, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_channels_first_and_normalised(layers, save, tmp_path):
    image, told = layers.Input((3, 8, 6), name="x"), layers.Input((2,), name="hue")
    code = layers.Dense(3, name="code")(layers.Concatenate()([layers.Flatten()(image), told]))
    output = layers.Reshape((3, 8, 6))(layers.Dense(144)(layers.Concatenate()([code, told])))
    model = keras().Model([image, told], output)
    given = Preprocessing(condition="hue", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    bundle = export(save(model), "code", str(tmp_path / "b"), given)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), np.uint8)
    told = np.random.default_rng(1).standard_normal((5, 2), np.float32)
    mean, std = np.array(given.mean, np.float32), np.array(given.std, np.float32)
    values = (pixels / np.float32(255) - mean) / std
    want = model.predict([values.transpose(0, 3, 1, 2), told], verbose=0).transpose(0, 2, 3, 1) * std + mean
    for runtime in executors(bundle):
        found = runtime.reconstruct(pixels, condition=told).output
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [TensorProto.INT64, *long_forms(TensorProto.FLOAT)])
def test_an_onnx_file_of_two_inputs(dtype, pixels, tmp_path):
    file = onnx_cvae(tmp_path / "net.onnx", dtype)
    given = replace(CLASS, condition="label=digit")
    bundle = export(file, "z", str(tmp_path / "b"), given)
    assert bundle.spec.functions == ("encode", "reconstruct", "decode")
    told, session = classes_of(20), onnxruntime.InferenceSession(file)
    kind = np.int64 if dtype == TensorProto.INT64 else np.float32
    feed = {"x": (pixels / np.float32(255)).transpose(0, 3, 1, 2), "label": told.astype(kind)}
    output, latents = session.run(["y", "z"], feed)
    runtime = Runtime.load(bundle)
    found = runtime.reconstruct(pixels, condition=told)
    np.testing.assert_allclose(found.latents, latents, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.output, output.transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(runtime.decode(latents, condition=told), found.output, rtol=1e-5, atol=1e-5)
    alone = np.concatenate([runtime.encode(pixels[i : i + 1], condition=told[i : i + 1]) for i in range(20)])
    np.testing.assert_array_equal(alone, found.latents)


@pytest.mark.parametrize("told", ["both", "decoder"])
def test_onnx_files_of_both_halves(told, pixels, tmp_path):
    files = onnx_halves(tmp_path, told=told)
    bundle = export(Parts(encoder=files[0], decoder=files[1]), None, str(tmp_path / "b"), CLASS)
    assert bundle.spec.functions == ("encode", "reconstruct", "decode")
    first, second = map(onnxruntime.InferenceSession, files)
    values, classes = (pixels / np.float32(255)).transpose(0, 3, 1, 2), classes_of(20)
    (latents,) = first.run(["z"], {"x": values, **({"label": classes} if told == "both" else {})})
    (images,) = second.run(["y"], {"z": latents, "label": classes[:, None].astype(np.float32)})
    runtime = Runtime.load(bundle)
    found = runtime.reconstruct(pixels, condition=classes)
    np.testing.assert_allclose(found.latents, latents, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.output, images.transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(runtime.decode(latents, condition=classes), found.output, rtol=1e-5, atol=1e-5)


def test_a_decoder_alone_as_onnx_file(tmp_path):
    _, file = onnx_halves(tmp_path)
    bundle = export(Parts(decoder=file, normal_prior=True), None, str(tmp_path / "b"), CLASS)
    assert bundle.spec.functions == ("decode", "generate")
    latents, classes = np.random.default_rng(0).standard_normal((9, 4), np.float32), classes_of(9)
    feed = {"z": latents, "label": classes[:, None].astype(np.float32)}
    (images,) = onnxruntime.InferenceSession(file).run(["y"], feed)
    found = Runtime.load(bundle).decode(latents, condition=classes)
    np.testing.assert_allclose(found, images.transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5)
    for given, text in ((Preprocessing(), "--condition names"), (replace(CLASS, condition="c"), "takes 2 inputs")):
        with pytest.raises(UsageError, match=text):
            export(Parts(decoder=file), None, str(tmp_path / "c"), given)


@pytest.mark.slow
def test_a_saved_model_of_two_inputs(pixels, tmp_path):
    """Keras names the tensors of a signature after its outputs."""
    encoder, decoder = halves("number")
    image, told = (keras().Input(tuple(one.shape[1:]), dtype=one.dtype, name=one.name) for one in encoder.inputs)
    code = encoder([image, told])[0]
    model = keras().Model({"image": image, "label": told}, {"y": decoder([code, told]), "z": code})
    model.export(str(tmp_path / "saved"), verbose=False)
    bundle = export(tmp_path / "saved", "z", str(tmp_path / "b"), CLASS, allow_graph=True)
    given = {"image": pixels / np.float32(255), "label": as_given("number", classes_of(20))}
    want, found = model.predict(given, verbose=0), Runtime.load(bundle).reconstruct(pixels, condition=classes_of(20))
    np.testing.assert_allclose(found.latents, want["z"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.output, want["y"], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    folder = tmp_path_factory.mktemp("conditional")
    whole().save(folder / "cvae.keras")
    return export(folder / "cvae.keras", "code", str(folder / "bundle"), CLASS)


def test_the_bundle_says_what_it_is_told(bundle):
    said = json.loads(Path(bundle.uri, "model.json").read_text())
    assert said["input"]["condition"] == {
        "input": "label",
        "column": "label",
        "dtype": "int64",
        "shape": [],
        "range": [0, CLASSES - 1],
        "one_hot": True,
    }
    golden = unpack(Path(bundle.uri, "golden.npz").read_bytes(), bundle.spec, "golden.npz")
    assert golden["condition"].tolist() == [0, 1, 2, 4]
    assert from_json(to_json(bundle.spec), "model.json") == bundle.spec
    assert "one of 5 classes, by input 'label' (one-hot), of the column 'label'" in check_bundle(bundle.uri).describe()


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "int32"},
        {"shape": [1]},
        {"range": None},
        {"range": [0, 0]},
        {"range": [1, 4]},
        {"range": [0, 1 << 21]},
        {"names": ["a"]},
        {"names": ["a", "a", "b", "c", "d"]},
        {"one_hot": 1},
        {"input": ""},
        {"dtype": "float32"},
        {"dtype": "float32", "range": None, "one_hot": False, "shape": [1 << 40]},
    ],
)
def test_a_forged_condition_is_refused(bundle, change):
    document = to_json(bundle.spec)
    document["input"]["condition"] |= change
    with pytest.raises(BundleError, match=r"model\.json: input\.condition"):
        from_json(document, "model.json")


def test_conditions_of_another_shape_and_none_are_errors(bundle, pixels):
    runtime = Runtime.load(bundle)
    with pytest.raises(ValueError, match="takes a condition"):
        runtime.encode(pixels)
    with pytest.raises(ValueError, match=r"conditions of shape \(20, 1\)"):
        runtime.encode(pixels, condition=classes_of(20)[:, None])


@pytest.mark.parametrize(
    ("form", "given", "text"),
    [
        ("one_hot", Preprocessing(), "2 inputs.*--condition names"),
        (
            "one_hot",
            Preprocessing(condition="lable", condition_classes=("5",)),
            "--condition names one of two, of: image",
        ),
        ("one_hot", Preprocessing(condition="label", condition_classes=("4",)), "neither a class nor one number"),
        ("number", Preprocessing(condition="label"), "integers; give their number with --condition-classes"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(form, given, text, save, tmp_path):
    with pytest.raises(UsageError, match=text):
        export(save(whole(form)), "code", str(tmp_path / "b"), given)


@pytest.mark.slow
def test_models_of_any_size_and_int8_are_refused(layers, pixels, save, tmp_path):
    image, told = layers.Input((None, None, 1), name="x"), layers.Input((1,), dtype="int32", name="y")
    scale = layers.Reshape((1, 1, 2))(layers.Embedding(CLASSES, 2)(told))
    code = layers.Multiply(name="code")([layers.Conv2D(2, 2, strides=2)(image), scale])
    file = save(keras().Model([image, told], layers.Conv2DTranspose(1, 2, strides=2)(code)))
    given = replace(CLASS, condition="y")
    with pytest.raises(UsageError, match="is open; give --input-shape H W C"):
        export(file, "code", str(tmp_path / "b"), given)
    fixed = replace(given, input_shape=(*SHAPE,))
    with pytest.raises(UsageError, match="int8 is for models without --condition"):
        export(file, "code", str(tmp_path / "b"), fixed, precision="int8", calibrate=str(tmp_path))
    bundle = export(file, "code", str(tmp_path / "c"), fixed)
    assert len(executors(bundle)[0].encode(pixels, condition=classes_of(20))[0]) == 24


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"condition": "=label"}, "give the name of the input, or INPUT=COLUMN"),
        ({"condition": "label="}, "INPUT=COLUMN"),
        ({"condition_classes": ("3",)}, "goes with --condition"),
        ({"condition": "y", "condition_classes": ("1",)}, "from 2 to"),
        ({"condition": "y", "condition_classes": ("a", "a")}, "the name of each"),
        ({"condition": "y", "noise_input": "z"}, "one second input"),
        ({"condition": "y=la\nbel"}, "no name that a bundle can have"),
        ({"condition": "y" * 1001}, "no name that a bundle can have"),
        ({"condition": "y", "condition_classes": ("a", "b" * 1001)}, "at most 1000 characters for a class"),
    ],
)
def test_options_that_make_no_sense(options, text):
    with pytest.raises(UsageError, match=text):
        Preprocessing(**options)


def test_an_onnx_file_of_two_inputs_without_the_option(tmp_path):
    with pytest.raises(UsageError, match=r"net\.onnx: the network has 2 inputs.*--condition names"):
        export(onnx_cvae(tmp_path / "net.onnx"), "z", str(tmp_path / "b"))
    with pytest.raises(UsageError, match="of type int64 takes no images"):
        export(tmp_path / "net.onnx", "z", str(tmp_path / "b"), Preprocessing(condition="x"))


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    whole().save(tmp_path / "cvae.keras")
    words = ["export", str(tmp_path / "cvae.keras"), "--latent", "code", "--output", str(tmp_path / "b")]
    assert main([*words, "--condition", "label=digit", "--condition-classes", str(CLASSES)]) == 0
    assert "told of each record: one of 5 classes" in capsys.readouterr().out
    assert Bundle.open(str(tmp_path / "b")).spec.input.condition.column == "digit"
