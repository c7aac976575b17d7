"""Models in half precision: where they compute in it, how far it takes them, and what it does not change."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from lake.core.errors import BundleError
from lake.core.tensorflow import keras
from model.bundle import Bundle
from model.cli.main import main
from model.export import export
from model.keras.precision import to_bfloat16
from model.runtime.runtime import Runtime
from tests.model import nets

pytestmark = pytest.mark.slow  # jobs, or models, from end to end

_ZOO = Path(__file__).parents[3] / "model/zoo"


def rounded(values):
    """To the nearest bfloat16."""
    return np.asarray(values, ml_dtypes.bfloat16).astype(np.float32)


def precisions(model):
    return {layer.name: layer.compute_dtype for layer in model._flatten_layers() if hasattr(layer, "kernel")}


def test_a_product_is_that_of_rounded_numbers(layers):
    model = keras().Sequential(
        [layers.Input((32,)), layers.Dense(8, use_bias=False, name="in"), layers.Dense(4, use_bias=False, name="out")]
    )
    x = np.random.default_rng(0).standard_normal((5, 32)).astype(np.float32)
    first, second = model.get_weights()
    hidden = rounded(rounded(x) @ rounded(first))
    assert np.allclose(to_bfloat16(model)(x), hidden @ second, rtol=0, atol=2e-2)  # a rounding may fall otherwise
    assert np.abs(to_bfloat16(model)(x) - model(x)).max() > np.abs(to_bfloat16(model)(x) - hidden @ second).max()


def test_weights_stay_and_outputs_are_float32(layers):
    keras().utils.set_random_seed(3)
    model = nets.unet()
    half = to_bfloat16(model)
    assert all(np.array_equal(*pair) for pair in zip(model.get_weights(), half.get_weights(), strict=True))
    assert {weight.dtype for weight in half.weights} == {"float32"}
    assert set(precisions(half).values()) == {"bfloat16"}
    assert half.output.dtype == "float32"


def test_layers_whose_output_is_used_stay(layers):
    encoder = keras().Sequential(
        [layers.Input((8,)), layers.Dense(6, name="first"), layers.Dense(4, name="code")], name="encoder"
    )
    decoder = keras().Sequential(
        [layers.Input((4,)), layers.Dense(6, name="last_but_one"), layers.Dense(8, name="image")], name="decoder"
    )
    vector = layers.Input((8,))
    model = keras().Model(vector, decoder(encoder(vector)))
    for kept in ("encoder", "encoder/code"):
        found = precisions(to_bfloat16(model, [kept]))
        assert found == {"first": "bfloat16", "code": "float32", "last_but_one": "bfloat16", "image": "float32"}


def test_a_model_that_cannot_change_is_refused(layers, save, tmp_path):
    class Own(keras().Model):
        pass

    with pytest.raises(BundleError, match="functional and sequential models only"):
        to_bfloat16(Own())
    with pytest.raises(BundleError, match="no convolution or dense layer"):
        export(save(nets.identity(1)), None, str(tmp_path / "out"), precision="bfloat16")


@pytest.fixture(scope="module")
def half(tmp_path_factory) -> Bundle:
    output = tmp_path_factory.mktemp("half") / "bundle"
    return exported(output)


def exported(output: Path) -> Bundle:
    options = ["--noise-input", "noise_level", "--precision", "bfloat16", "--output", str(output)]
    assert main(["export", str(_ZOO / "denoiser-gray/model.keras"), *options]) == 0
    return Bundle.open(str(output))


@pytest.mark.slow
def test_the_denoiser_of_the_zoo_gives_nearly_the_same_image(half):
    """Within one step of 255, where noise is 25 of them."""
    whole, fast = (Runtime.load(bundle) for bundle in (Bundle.open(str(_ZOO / "denoiser-gray")), half))
    y, x = np.mgrid[:96, :64]
    clean = (128 + 60 * np.sin(x / 7) + 50 * np.cos(y / 11)).astype(np.float32)[None, ..., None] / 255
    noisy = clean + np.random.default_rng(0).normal(0, 25 / 255, clean.shape).astype(np.float32)
    level = np.full(1, 25 / 255, np.float32)
    one, other = (255 * runtime.restore(np.clip(noisy, 0, 1), level) for runtime in (whole, fast))
    assert 0.01 < np.sqrt(np.mean((one - other) ** 2)) < 0.5
    assert np.abs(one - other).max() < 2


def test_a_record_does_not_depend_on_its_neighbours(half):
    runtime = Runtime.load(half)
    images = np.random.default_rng(1).integers(0, 256, (20, 32, 24, 1), np.uint8)
    levels = np.linspace(5, 50, 20, dtype=np.float32) / 255
    together = runtime.restore(images, levels)
    assert np.array_equal(together, runtime.restore(images, levels))
    assert np.array_equal(together[:17], runtime.restore(images[:17], levels[:17]))


def test_equal_models_make_equal_bundles(half, tmp_path):
    assert exported(tmp_path / "again").digest == half.digest
