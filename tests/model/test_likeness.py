"""Models whose value range is not what a user has said, as they are met: trained small, and exported."""

import json
import logging

import numpy as np
import pytest

from lake.core.errors import UsageError
from lake.core.tensorflow import keras
from model.bundle import GOLDEN_FILE, MODEL_FILE, SPEC_FILE, Bundle
from model.check import check_bundle
from model.cli.main import main
from model.denoiser import Denoiser
from model.export import export
from model.golden import unpack
from model.keras.load import load_model
from model.keras.preprocessing import first_scaling, last_activation, outer_layers
from model.likeness import Likeness, likeness
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from tests.model import nets

pytestmark = pytest.mark.slow  # jobs, or models, from end to end


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Smooth images with edges, uint8 [n, 16, 16, 1]."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (200, 4, 4, 1)).repeat(4, 1).repeat(4, 2)
    return np.clip(coarse + rng.normal(0, 5, coarse.shape), 0, 255).astype(np.uint8)


def _trained(layers, values, targets, *, activation, scale=None, offset=0.0):
    """An autoencoder of 16 x 16, trained for a moment; ``values`` are what its user gives it."""
    keras().utils.set_random_seed(4)
    image = x = layers.Input((16, 16, 1))
    if scale is not None:
        x = layers.Rescaling(scale, offset)(x)
    x = layers.Conv2D(16, 4, strides=4, activation="relu")(x)
    code = layers.Conv2D(8, 1, name="code")(x)
    model = keras().Model(image, layers.Conv2DTranspose(1, 4, strides=4, activation=activation)(code))
    model.compile(keras().optimizers.Adam(0.02), "mse", run_eagerly=False)
    model.fit(values, targets, epochs=15, batch_size=20, verbose=0)
    return model


@pytest.fixture(scope="module")
def rescaling(layers, photos):
    """Takes 0..255, and puts out 0..1."""
    values = photos.astype(np.float32)
    return _trained(layers, values, values / 255, activation="sigmoid", scale=1 / 255)


@pytest.fixture(scope="module")
def centred(layers, photos):
    """Takes and puts out -1..1."""
    values = photos / np.float32(127.5) - 1
    return _trained(layers, values, values, activation="tanh")


def _export(path, bundle, *more):
    return main(["export", str(path), "--latent", "code", "--output", str(bundle), *more])


def test_a_network_that_rescales_its_input(rescaling, save, tmp_path, capsys, photos):
    path, bundle = save(rescaling), tmp_path / "b"
    assert _export(path, bundle) == 2
    error = capsys.readouterr().err
    assert (
        f"error: {path}: its first layers scale the input to 0 .. 0.00392, so it takes other values than 0 1" in error
    )
    assert "give --value-range 0 255" in error
    assert _export(path, bundle, "--value-range", "0", "255") == 2
    assert (
        "a sliver of 0 255, so that images would be of one shade: give --output-range 0 1;" in capsys.readouterr().err
    )
    assert not bundle.exists()
    assert _export(path, bundle, "--value-range", "0", "255", "--output-range", "0", "1") == 0
    printed = capsys.readouterr().out
    assert "golden: outputs from " in printed
    assert "warning" not in printed
    assert json.loads((bundle / SPEC_FILE).read_text())["output_range"] == [0.0, 1.0]
    runtime = Runtime.load(Bundle.open(str(bundle)))
    want = rescaling.predict(photos.astype(np.float32), verbose=0)
    some = photos[: runtime.batch_size]
    result = runtime.reconstruct(some)
    np.testing.assert_allclose(result.output, want[: len(some)], rtol=1e-4, atol=1e-5)
    error = np.mean(np.square(want[: len(some)] - some / np.float32(255)), axis=(1, 2, 3))
    np.testing.assert_allclose(result.mse, error, rtol=1e-3)
    denoised = Denoiser(runtime).denoise(some)
    np.testing.assert_array_equal(denoised.pixels, np.rint(np.clip(result.output, 0, 1) * 255).astype(np.uint8))
    np.testing.assert_allclose(denoised.mse, error, rtol=0.02, atol=1e-5)


def test_check_warns_of_a_bundle_that_was_made_before(rescaling, save, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "model.likeness"):
        bundle = export(save(rescaling), "code", str(tmp_path / "b"))
    assert "give --value-range 0 255" in caplog.text
    report = check_bundle(bundle.uri)
    assert "warning its first layers scale the input to 0 .. 0.00392" in report.describe()
    assert report.to_value()["golden_outputs"]["doubts"]
    assert "images  outputs from " in report.describe()


def test_a_value_range_that_was_forgotten(centred, save, tmp_path, capsys):
    path, bundle = save(centred), tmp_path / "b"
    assert _export(path, bundle) == 2
    assert "give --value-range -1 1" in capsys.readouterr().err
    assert _export(path, bundle, "--value-range", "0", "1") == 0  # stated
    assert _export(path, tmp_path / "c", "--value-range", "-1", "1") == 0
    assert _export(path, tmp_path / "d", "--any-output") == 0
    assert "warning: its last layer is a tanh" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["activation", "layer", "nested", "linear"])
def test_the_function_at_the_end(layers, kind):
    image = layers.Input((8, 8, 1))
    last = layers.Conv2D(1, 3, padding="same", activation="tanh" if kind in ("activation", "nested") else None)(image)
    model = keras().Model(image, layers.Activation("tanh")(last) if kind == "layer" else last)
    if kind == "nested":
        model = keras().Sequential([layers.Input((8, 8, 1)), model])
    assert last_activation(model) == (None if kind == "linear" else ("tanh", (-1.0, 1.0)))


def test_outputs_that_leave_the_range(layers, save, tmp_path, capsys):
    image = layers.Input((8, 8, 1))
    for gain, status in ((1.05, 0), (1.3, 0), (9.0, 2)):
        path = save(keras().Model(image, layers.Rescaling(gain, name="code")(image)))
        assert _export(path, tmp_path / f"{gain}") == status
        printed = capsys.readouterr()
        assert ("beyond 0 1, where images are cut off: give the range" in printed.out + printed.err) == (gain > 1.1)


def test_a_denoiser_that_overshoots_noise_alone(layers, save, tmp_path, capsys):
    """As FFDNet for colour does: told of little noise, it sharpens the finest golden pattern."""
    image = layers.Input((None, None, 1))
    finest = layers.Conv2D(1, 5, padding="same", use_bias=False)
    model = keras().Model(image, layers.Add()([image, finest(image)]))
    wave = np.array([1, -4, 6, -4, 1]) / 16
    finest.set_weights([1.5 * np.outer(wave, wave)[..., None, None]])
    assert main(["export", str(save(model)), "--output", str(tmp_path / "b")]) == 0
    assert "warning" not in capsys.readouterr().out
    arrays = unpack(Bundle.open(str(tmp_path / "b")).read(GOLDEN_FILE), Bundle.open(str(tmp_path / "b")).spec, "")
    beyond = (arrays["output"] < -0.1).any(axis=(1, 2, 3))
    assert beyond.tolist() == [True, False, False, False]


@pytest.fixture(scope="module")
def noise_predictor(layers, photos):
    """DnCNN as published: it puts out the noise."""
    keras().utils.set_random_seed(4)
    image = x = layers.Input((None, None, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    model = keras().Model(image, layers.Conv2D(1, 3, padding="same")(x))
    noise = np.random.default_rng(0).normal(0, 0.1, photos.shape).astype(np.float32)
    model.compile(keras().optimizers.Adam(0.01), "mse")
    model.fit(photos / np.float32(255) + noise, noise, epochs=5, batch_size=20, verbose=0)
    return model


def test_a_network_that_puts_out_the_noise(noise_predictor, layers, save, tmp_path, capsys):
    path, bundle = str(save(noise_predictor)), str(tmp_path / "b")
    assert main(["export", path, "--output", bundle]) == 2
    printed = capsys.readouterr().err
    assert (
        "it seems to put out the noise, not the image: export x - network(x) instead, in Keras keras.Model(" in printed
    )
    image = layers.Input((None, None, 1))
    wrapped = keras().Model(image, layers.Subtract()([image, noise_predictor(image)]))
    assert main(["export", str(save(wrapped, "wrapped.keras")), "--output", bundle]) == 0  # as the error advises
    assert "warning" not in capsys.readouterr().out
    assert main(["export", path, "--output", f"{bundle}2", "--any-output"]) == 0


@pytest.mark.parametrize(("scale", "offset"), [(1 / 255, 0.0), (1 / 127.5, -1.0)])
def test_how_an_input_is_scaled(layers, scale, offset):
    image = layers.Input((8, 8, 1))
    scaled = [layers.Rescaling(scale, offset)(layers.Dropout(0.1)(image)), image * scale + offset]
    known = layers.Normalization(mean=-offset / scale, variance=1 / scale**2)
    for x in [*scaled, image / (1 / scale) - (-offset), known(image)]:
        inner = keras().Model(image, layers.Conv2D(1, 3)(x))
        outer = keras().Sequential([layers.Input((8, 8, 1)), inner])
        for model in (inner, outer):
            assert first_scaling(model) == pytest.approx((scale, offset), rel=1e-5, abs=1e-5)
    assert first_scaling(keras().Model(image, layers.Conv2D(1, 3)(image))) is None
    assert first_scaling(keras().Model(image, layers.Add()([image * 2.0, image]))) is None


@pytest.mark.parametrize("name", ["mnist-autoencoder", "mnist-vae", "denoiser-gray"])
def test_trained_models_are_not_in_doubt(name):
    bundle = Bundle.open(f"zoo:{name}")
    golden = unpack(bundle.read(GOLDEN_FILE), bundle.spec, GOLDEN_FILE)
    looks = likeness(bundle.spec, golden, outer_layers(load_model(bundle.read(MODEL_FILE), MODEL_FILE)))
    assert looks.doubts == ()
    assert looks.psnr > (30 if name == "denoiser-gray" else 5)


def test_an_output_range_that_is_the_input_s_changes_no_bundle(layers, save, tmp_path):
    path = save(nets.identity(1))
    plain = export(path, None, str(tmp_path / "a"))
    assert export(path, None, str(tmp_path / "b"), Preprocessing(output_range=(0.0, 1.0))).digest == plain.digest
    assert "output_range" not in (tmp_path / "a" / SPEC_FILE).read_text()


@pytest.mark.parametrize("limits", [(1.0, 0.0), (0.0, float("nan"))])
def test_an_output_range_must_ascend(limits):
    with pytest.raises(UsageError, match="--output-range"):
        Preprocessing(output_range=limits)


def test_images_of_any_size_in_another_range(layers, save, tmp_path):
    """A denoiser that takes 0..255 and puts out 0..1: a large image is tiled, and both come out as they went in."""
    image = layers.Input((None, None, 1))
    path = save(keras().Model(image, layers.Rescaling(1 / 255)(image)))
    given = Preprocessing(value_range=(0.0, 255.0), output_range=(0.0, 1.0))
    denoiser = Denoiser(Runtime.load(export(path, None, str(tmp_path / "b"), given)))
    pixels = np.random.default_rng(1).integers(0, 256, (1, 800, 700, 1), np.uint8)
    for some in (pixels[:, :50, :40], pixels):
        denoised = denoiser.denoise(some)
        np.testing.assert_array_equal(denoised.pixels, some)
        assert denoised.mse.tolist() == [0.0]


def test_a_perfect_output_is_described():
    assert "PSNR inf dB" in Likeness(low=0.0, high=1.0, psnr=float("inf"), doubts=()).describe()
    assert Likeness(low=0.0, high=1.0, psnr=float("inf"), doubts=()).to_value()["psnr_db"] is None
