import math

import numpy as np
import pytest

from lake.core.errors import BundleError
from lake.core.tensorflow import keras
from model.export import export
from model.input_spec import Noise
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from tests.conftest import long_forms
from tests.model import nets

pytestmark = pytest.mark.slow  # jobs, or models, from end to end


@pytest.fixture
def takes(layers, save, tmp_path):
    """What is found out of a model by exporting it without a latent."""

    def takes(model, **given):
        return export(save(model), None, str(tmp_path / "bundle"), Preprocessing(**given)).spec.input

    return takes


@pytest.mark.parametrize(
    ("side", "reach"),
    [(1, 8), (35, 24), (257, 128), *long_forms((17, 8), (61, 32), (141, 72))],
)
def test_how_far_the_mean_of_a_square_sees(takes, side, reach):
    found = takes(nets.blur(side))
    assert (found.any_size, found.multiple, found.reach) == (True, 1, reach)
    assert (found.shape, found.color, found.noise) == ((64, 64, 1), "gray", None)


def test_a_model_that_sees_everything(takes, layers):
    image = layers.Input((None, None, 3))
    mean = layers.GlobalAveragePooling2D(keepdims=True)(image)
    assert takes(keras().Model(image, image - mean)).reach == 128


@pytest.mark.parametrize("depth", [1, 3, *long_forms(0, 5)])
def test_sides_that_a_u_net_takes(takes, depth):
    found = takes(nets.unet(depth=depth, width=2), noise_input="noise_level")
    assert (found.multiple, found.noise) == (1 << depth, Noise(form="map", input="noise_level", scale=1.0))
    assert found.reach % found.multiple == 0


def test_a_grid_that_a_shifted_image_does_not_see(takes, layers):
    """Any size comes out as it went in, but every second row is darker, counted from the first."""
    ops = keras().ops
    image = layers.Input((None, None, 1))
    row = ops.cumsum(ops.ones_like(image), axis=1)
    found = takes(keras().Model(image, image * (0.75 + 0.25 * ops.cos(row * (2 * math.pi / 4)))))
    assert (found.multiple, found.reach) == (4, 8)


def test_a_side_that_is_too_short_for_a_layer(takes, layers):
    image = layers.Input((None, None, 1))
    found = takes(keras().Model(image, layers.ZeroPadding2D(2)(layers.Cropping2D(2)(image))))
    assert found.multiple == 4  # sides of 1 and 2 come out longer


def test_a_layer_that_is_traced_for_every_size_has_few_sizes(takes, layers):
    image = layers.Input((None, None, 1))
    x = layers.UpSampling2D(2, interpolation="bilinear")(layers.AveragePooling2D(2)(image))
    assert takes(keras().Model(image, x)).multiple == 32


@pytest.mark.parametrize(("level", "form"), [((None, None, 1), "map"), ((1,), "scalar"), ((1, 1, 1), "scalar")])
def test_where_the_level_goes(takes, level, form):
    found = takes(nets.shuffled(level), noise_input="sigma", noise_scale=255.0)
    assert (found.noise, found.multiple) == (Noise(form=form, input="sigma", scale=255.0), 2)


def test_a_level_in_the_last_channel_is_no_channel_of_the_image(takes):
    found = takes(nets.told_by_channel(3), noise_input="channel", value_range=(-1.0, 1.0))
    assert found.noise == Noise(form="channel", input=None, scale=1.0)
    assert (found.shape, found.color, found.reach) == ((64, 64, 3), "rgb", 8)


def test_a_model_that_makes_images_smaller(takes, layers):
    image = layers.Input((None, None, 1))
    with pytest.raises(BundleError, match=r"theirs\.keras: its output does not have its input's shape; without --lat"):
        takes(keras().Model(image, layers.Conv2D(1, 3)(image)))
    with pytest.raises(BundleError, match="its output does not have its input's shape"):
        takes(keras().Model(image, layers.Conv2D(3, 3, padding="same")(image)))
    with pytest.raises(BundleError, match="its output does not have its input's shape"):
        takes(keras().Model(image, layers.Reshape((5, 5, 1))(image)))


def test_a_fixed_size(layers, save, tmp_path):
    model = nets.plain(3)
    bundle = export(save(model), None, str(tmp_path / "b"), Preprocessing(input_shape=(10, 14, 3)))
    assert (bundle.spec.input.shape, bundle.spec.input.any_size) == ((10, 14, 3), False)
    assert (bundle.spec.kind, bundle.spec.functions, bundle.spec.latent) == ("denoiser", ("denoise",), None)
    images = np.random.default_rng(0).random((5, 10, 14, 3), np.float32)
    found = Runtime.load(bundle).restore(images, None)
    np.testing.assert_allclose(found, model(images).numpy(), rtol=1e-5, atol=1e-5)
    image = layers.Input((8, 8, 1))
    with pytest.raises(BundleError, match="its output does not have its input's shape"):
        export(save(keras().Model(image, layers.Conv2D(1, 3)(image))), None, str(tmp_path / "c"))
