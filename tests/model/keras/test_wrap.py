"""What training did to images, in the bundle's model; the truth is ``preprocess_input`` of keras.applications."""

from dataclasses import replace

import numpy as np
import pytest

from lake.core.errors import UsageError
from lake.core.tensorflow import keras
from lake.images.center_crop import CenterCrop
from model.check import describe_input
from model.export import export
from model.keras.save import serialize_model
from model.keras.wrap import wrap
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from model.spec_json import from_json, to_json
from tests.model import nets


@pytest.fixture
def pixels():
    return np.random.default_rng(1).integers(0, 256, (6, 8, 8, 3), np.uint8)


def _network(layers, last: str | None = None):
    keras().utils.set_random_seed(3)
    image = layers.Input((8, 8, 3))
    code = layers.Conv2D(4, 3, strides=2, padding="same", name="code")(image)
    return keras().Model(image, layers.Conv2DTranspose(3, 3, strides=2, padding="same", activation=last)(code))


def _prepared(pixels, preset):
    mode = {"imagenet": "torch"}.get(preset, preset)
    preprocess = keras().applications.imagenet_utils.preprocess_input
    return np.asarray(preprocess(pixels.astype(np.float32), data_format="channels_last", mode=mode))


def _undone(values, preset):
    """The inverse, in closed form, to 0..1."""
    if preset == "tf":
        return (values + 1) / 2
    if preset == "imagenet":
        return values * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]
    return (values[..., ::-1] + [123.68, 116.779, 103.939]) / 255


@pytest.mark.parametrize("preset", ["imagenet", "caffe", "tf"])
def test_a_preset_is_what_keras_applications_does(layers, save, tmp_path, pixels, preset):
    model = _network(layers)
    bundle = export(save(model), "code", str(tmp_path / "b"), Preprocessing(preset=preset), judge=lambda _: None)
    runtime, given = Runtime.load(bundle), _prepared(pixels, preset)
    code = keras().Model(model.input, model.get_layer("code").output).predict(given, verbose=0)
    scale = np.abs(code).max()
    np.testing.assert_allclose(runtime.encode(pixels), code.reshape(6, -1), atol=1e-6 * scale, rtol=0)
    output = _undone(model.predict(given, verbose=0), preset)
    np.testing.assert_allclose(runtime.restore(pixels, None), _in_range(output, bundle), rtol=1e-4, atol=1e-4)
    found = runtime.reconstruct(pixels)
    np.testing.assert_allclose(found.mse, np.square(output - pixels / 255).mean((1, 2, 3)), rtol=1e-4)


def _in_range(unit, bundle):
    low, high = bundle.spec.output_range
    return unit * (high - low) + low


@pytest.mark.parametrize("preset", ["imagenet", "caffe"])
def test_what_the_network_sees_is_exact(layers, pixels, preset):
    image = layers.Input((8, 8, 3))
    given = Preprocessing(preset=preset, output_range=(0, 1))
    seen = wrap(keras().Model(image, layers.Flatten()(image)), given)
    low, high = given.value_range
    values = (pixels / np.float32(255) * (high - low) + low).astype(np.float32)
    want = _prepared(pixels, preset).reshape(6, -1)
    np.testing.assert_array_max_ulp(np.asarray(seen(values)), want, 4)


def test_an_output_of_its_own_range_is_not_turned_back(layers, save, tmp_path, pixels):
    model = _network(layers, "sigmoid")
    with pytest.raises(UsageError, match=r"its last layer is a sigmoid.*--output-range 0 1"):
        export(
            save(model), "code", str(tmp_path / "a"), Preprocessing(preset="caffe"), judge=lambda x: x.refuse_grave()
        )
    given = Preprocessing(preset="caffe", output_range=(0.0, 1.0))
    runtime = Runtime.load(export(save(model), "code", str(tmp_path / "b"), given))
    want = model.predict(_prepared(pixels, "caffe"), verbose=0)[..., ::-1]  # which puts out blue first, as it takes it
    np.testing.assert_allclose(runtime.reconstruct(pixels).output, want, rtol=1e-4, atol=1e-5)


def test_a_denoiser_of_any_size_that_is_told_by_its_last_channel(save, tmp_path, pixels):
    model = nets.told_by_channel()
    given = Preprocessing(mean=(0.2, 0.4, 0.6), std=(0.5,), bgr=True, noise_input="channel")
    bundle = export(save(model), None, str(tmp_path / "b"), given)
    assert bundle.spec.input.any_size
    levels = np.linspace(0, 0.2, 6, dtype=np.float32)
    seen = ((pixels / np.float32(255) - [0.2, 0.4, 0.6]) / 0.5)[..., ::-1]
    told = np.broadcast_to(levels[:, None, None, None], (6, 8, 8, 1))
    want = model.predict(np.concatenate([seen, told], 3), verbose=0)[..., ::-1] * 0.5 + [0.2, 0.4, 0.6]
    np.testing.assert_allclose(Runtime.load(bundle).restore(pixels, levels), want, rtol=1e-4, atol=1e-5)


def test_equal_models_are_equal_files_whatever_was_built_before(layers, tmp_path):
    """Of a grey network without a channel, with a mean: Keras numbers the operations of both through the process."""
    given = Preprocessing(mean=(0.5,), std=(0.25,), output_range=(0, 1))

    def made():
        image = layers.Input((8, 8), name="image")
        return wrap(
            keras().Model(image, layers.Dense(8, name="same", kernel_initializer="ones")(image), name="n"), given
        )

    model = made()
    assert [layer.name for layer in model.operations] == ["image", "subtract", "true_divide", "n_of_images"]
    assert serialize_model(model) == serialize_model(made())


def test_inputs_keep_their_names(save, tmp_path):
    given = Preprocessing(mean=(0.5,), std=(0.5,), noise_input="sigma")
    bundle = export(save(nets.shuffled((1,))), None, str(tmp_path / "b"), given, judge=lambda _: None)
    assert (bundle.spec.input.noise.form, bundle.spec.input.noise.input) == ("scalar", "sigma")


def test_it_stands_in_the_description(layers, save, tmp_path):
    given = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5,), bgr=True)
    spec = export(save(_network(layers)), "code", str(tmp_path / "b"), given, judge=lambda _: None).spec
    document = to_json(spec)
    written = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "bgr": True, "output": True}
    assert document["input"]["normalization"] == written
    assert from_json(document, "here") == spec
    said = "8 x 8 x 3 rgb, value range 0 to 1, normalised by mean 0.1 0.2 0.3 and deviation 0.5, then blue first"
    assert describe_input(spec.input) == said
    resized = replace(spec.input, resize=CenterCrop(shorter=9))
    assert describe_input(resized) == f"{said}, images resized to 9 (bilinear) and cropped"
    assert describe_input(replace(spec.input, resize="fit")).endswith("first, images of other sizes resized: fit")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"mean": (123.68, 116.8, 103.9)}, r"--mean 123\.68 116\.8 103\.9: .*give --value-range 0 255"),
        ({"std": (58.4,)}, r"--std 58\.4: .*at most 1, the width of --value-range 0 1; give --value-range 0 255"),
        ({"std": (0.0,)}, r"--std 0\.0: must be above 0"),
        ({"mean": (float("nan"),)}, r"--mean nan: must be finite"),
        ({"mean": ()}, r"--mean : must be finite"),
        ({"preset": "vgg"}, r"--preset vgg: it is one of imagenet, caffe, tf"),
        ({"preset": "tf", "mean": (0.5,)}, r"--preset tf says what --mean is"),
        ({"preset": "caffe", "value_range": (0.0, 1.0)}, r"--preset caffe says what --value-range is"),
    ],
)
def test_values_that_do_not_fit(given, why):
    with pytest.raises(UsageError, match=why):
        Preprocessing(**given)


@pytest.mark.parametrize(
    ("channels", "given", "why"),
    [
        (3, {"mean": (0.5, 0.5)}, r"--mean 0\.5 0\.5: 2 numbers, and the images have 3 channels"),
        (1, {"bgr": True}, r"--bgr is for images of 3 or 4 channels; the model's have 1"),
        (None, {"std": (0.5,)}, r"are for images; a model of vectors"),
    ],
)
def test_channels_that_do_not_fit(channels, given, why):
    with pytest.raises(UsageError, match=why):
        Preprocessing(**given).normalization(channels)
