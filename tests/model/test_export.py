import os

import numpy as np
import pytest

from lake.core.errors import BundleError, OutputError, UsageError
from lake.core.tensorflow import keras
from model.export import export
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime


@pytest.fixture
def nested(layers):
    """Encoder and decoder as models of their own, the encoder a Sequential."""
    keras().utils.set_random_seed(2)
    encoder = keras().Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv"),
            layers.Flatten(),
            layers.Dense(6, name="bottleneck"),
            layers.LeakyReLU(name="code"),
        ],
        name="encoder",
    )
    code = layers.Input((6,))
    decoded = layers.Reshape((8, 8, 1))(layers.Dense(64, activation="sigmoid", name="bottleneck")(code))
    decoder = keras().Model(code, decoded, name="decoder")
    image = layers.Input((8, 8, 1))
    return keras().Model(image, decoder(encoder(image)), name="theirs")


@pytest.fixture
def pixels():
    return np.random.default_rng(5).integers(0, 256, (9, 8, 8, 1), np.uint8)


def _part(model, layer, x):
    """The layer's output by running the layers of the encoder one by one."""
    for step in model.get_layer("encoder").layers:
        x = step(x)
        if step.name == layer:
            return np.asarray(x)
    raise KeyError(layer)


@pytest.mark.parametrize(
    ("latent", "path"),
    [("encoder/bottleneck", "encoder/bottleneck"), ("code", "encoder/code"), ("conv", "encoder/conv")],
)
@pytest.mark.slow
def test_a_layer_within_a_nested_model(nested, save, tmp_path, pixels, latent, path):
    bundle = export(save(nested), latent, str(tmp_path / "b"))
    runtime = Runtime.load(bundle)
    want = _part(nested, path.split("/")[1], pixels / np.float32(255))
    assert bundle.spec.latent.layer == path
    assert bundle.spec.latent.shape == want.shape[1:]
    np.testing.assert_allclose(runtime.encode(pixels), want.reshape(9, -1), rtol=1e-5, atol=1e-6)
    output = nested.predict(pixels / np.float32(255), verbose=0)
    np.testing.assert_allclose(runtime.reconstruct(pixels).output, output, rtol=1e-5, atol=1e-6)


def test_a_nested_model_by_its_own_name(nested, save, tmp_path, pixels):
    runtime = Runtime.load(export(save(nested), "encoder", str(tmp_path / "b")))
    want = nested.get_layer("encoder").predict(pixels / np.float32(255), verbose=0)
    np.testing.assert_allclose(runtime.encode(pixels), want, rtol=1e-5, atol=1e-6)


def test_two_levels_of_nesting(nested, layers, save, tmp_path, pixels):
    outer = keras().Sequential([layers.Input((8, 8, 1)), layers.GaussianNoise(0.5), nested])
    runtime = Runtime.load(export(save(outer), "theirs/encoder/bottleneck", str(tmp_path / "b")))
    want = _part(nested, "bottleneck", pixels / np.float32(255))
    np.testing.assert_allclose(runtime.encode(pixels), want, rtol=1e-5, atol=1e-6)


def test_a_sequential_model(layers, save, tmp_path, pixels):
    model = keras().Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(3, 3, strides=2, padding="same", name="spatial"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Conv2DTranspose(1, 3, strides=2, padding="same"),
        ]
    )
    bundle = export(save(model), "spatial", str(tmp_path / "b"))
    assert (bundle.spec.latent.shape, bundle.spec.latent.dimension) == ((4, 4, 3), 48)
    want = model.layers[0](pixels / np.float32(255)).numpy()
    np.testing.assert_allclose(Runtime.load(bundle).encode(pixels), want.reshape(9, 48), rtol=1e-5, atol=1e-6)


def test_a_compiled_and_trained_model_with_operators(layers, save, tmp_path, pixels):
    image = layers.Input((8, 8, 1))
    code = layers.Dense(5, activation="tanh", name="code")(layers.Flatten()(image * 2.0 - 1.0))
    model = keras().Model(image, layers.Reshape((8, 8, 1))(layers.Dense(64)(code)))
    model.compile("adam", "mse", jit_compile=False)
    x = pixels / np.float32(255)
    model.fit(x, x, verbose=0)
    runtime = Runtime.load(export(save(model), "code", str(tmp_path / "b")))
    want = keras().Model(model.input, model.get_layer("code").output).predict(x, verbose=0)
    np.testing.assert_allclose(runtime.encode(pixels), want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_many_kinds_of_layers_are_allowed(layers, save, tmp_path, pixels):
    image = layers.Input((8, 8, 1))
    x = layers.Rescaling(2.0, offset=-1.0)(image)
    x = layers.Conv2D(4, 3, padding="same", kernel_regularizer="l2", bias_constraint=keras().constraints.MaxNorm(2))(x)
    x = layers.GroupNormalization(2)(layers.LeakyReLU()(layers.SpatialDropout2D(0.1)(x)))
    x = keras().ops.image.resize(layers.SeparableConv2D(4, 3, padding="same", activation="swish")(x), (4, 4))
    x = keras().ops.cast(keras().ops.sigmoid(x[:, :, :, :2]) + x[..., 2:], "float32")
    x = layers.MultiHeadAttention(1, 2)(*[layers.Reshape((16, 2))(layers.PReLU()(x))] * 2)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(layers.LayerNormalization()(x))
    code = layers.Dense(5, name="code", kernel_initializer=keras().initializers.HeNormal(seed=1))(layers.Flatten()(x))
    model = keras().Model(image, layers.Reshape((8, 8, 1))(layers.Dense(64, activation="sigmoid")(code)))
    want = keras().Model(model.input, code).predict(pixels / np.float32(255), verbose=0)
    runtime = Runtime.load(export(save(model), "code", str(tmp_path / "b")))
    np.testing.assert_allclose(runtime.encode(pixels), want, rtol=1e-4, atol=1e-5)


def test_half_precision(layers, save, tmp_path, pixels):
    image = layers.Input((8, 8, 1))
    code = layers.Dense(5, name="code", dtype="mixed_bfloat16")(layers.Flatten()(image))
    model = keras().Model(image, layers.Reshape((8, 8, 1), dtype="float32")(layers.Dense(64)(code)))
    bundle = export(save(model), "code", str(tmp_path / "b"))
    assert bundle.spec.golden.tolerance == 3e-2
    want = keras().Model(model.input, model.get_layer("code").output).predict(pixels / np.float32(255), verbose=0)
    np.testing.assert_allclose(Runtime.load(bundle).encode(pixels), want.astype(np.float32), rtol=2e-2, atol=2e-2)


def test_an_open_input_with_a_latent(layers, save, tmp_path):
    image = layers.Input((None, None, 3))
    spatial = layers.Conv2D(2, 3, strides=2, padding="same", name="spatial")(image)
    path = save(keras().Model(image, layers.Conv2DTranspose(3, 3, strides=2, padding="same")(spatial)))
    taken = export(path, "spatial", str(tmp_path / "any")).spec
    assert (taken.input.any_size, taken.latent.shape, taken.stride) == (True, (32, 32, 2), 2)
    with pytest.raises(UsageError, match=r"--input-shape 8 8 1 does not fit the model's input \? \? 3"):
        export(path, "spatial", str(tmp_path / "b"), Preprocessing(input_shape=(8, 8, 1)))
    bundle = export(path, "spatial", str(tmp_path / "b"), Preprocessing(input_shape=(8, 6, 3)))
    assert (bundle.spec.input.shape, bundle.spec.latent.shape) == ((8, 6, 3), (4, 3, 2))
    assert (bundle.spec.kind, bundle.spec.input.color) == ("autoencoder", "rgb")


def test_an_unknown_layer_names_the_nearest_and_all(nested, save, tmp_path):
    with pytest.raises(BundleError, match=r"no layer 'bottelneck'; the nearest is '.*bottleneck'") as raised:
        export(save(nested), "bottelneck", str(tmp_path / "b"))
    assert "encoder/conv (4, 4, 4), " in str(raised.value)
    assert not (tmp_path / "b").exists()


def test_an_ambiguous_layer_lists_the_paths(nested, save, tmp_path):
    with pytest.raises(
        BundleError, match=r"several layers are called 'bottleneck'.*encoder/bottleneck, decoder/bottlenec"
    ):
        export(save(nested), "bottleneck", str(tmp_path / "b"))


def test_a_layer_called_twice(layers, save, tmp_path):
    image = layers.Input((4,))
    shared = layers.Dense(4, name="shared")
    with pytest.raises(BundleError, match="'shared' is called 2 times"):
        export(save(keras().Model(image, shared(shared(image)))), "shared", str(tmp_path / "b"))


def test_several_inputs_or_outputs(layers, save, tmp_path):
    one, other = layers.Input((4,)), layers.Input((4,))
    with pytest.raises(
        BundleError, match="2 inputs; only models of one input can be bundled, and of two where --condition "
    ):
        export(save(keras().Model([one, other], layers.Add()([one, other]))), "add", str(tmp_path / "b"))
    code = layers.Dense(2, name="code")(one)
    with pytest.raises(BundleError, match="a list of 2; only models of one output"):
        export(save(keras().Model(one, [layers.Dense(4)(code), code])), None, str(tmp_path / "b"))


def test_several_images_make_an_encoder_and_it_says_so(layers, save, tmp_path, caplog):
    image = layers.Input((4,))
    code = layers.Dense(2, name="code")(image)
    images = [layers.Dense(4, name=name)(code) for name in ("one", "other")]
    bundle = export(save(keras().Model(image, images)), "code", str(tmp_path / "b"))
    assert bundle.spec.kind == "encoder"
    assert "puts out several images, one, other, so it becomes an encoder; to reconstruct, save" in caplog.text


_MAP = (None, None, 1)


@pytest.mark.parametrize(
    ("shapes", "latent", "given", "error"),
    [
        ([_MAP, _MAP], None, {}, "2 inputs; .* --noise-input the one that takes the noise level, of: a, b"),
        ([_MAP, _MAP], None, {"noise_input": "c"}, "2 inputs; .*, of: a, b"),
        ([_MAP, _MAP], "add", {"noise_input": "b"}, "--noise-input is for a model without --latent"),
        ([_MAP, _MAP, _MAP], None, {"noise_input": "b"}, "the model has 3 inputs"),
        ([_MAP], None, {"noise_input": "a"}, "1 inputs; .*; where the noise level is the last channel of"),
        (
            [_MAP, (None, None, 2)],
            None,
            {"noise_input": "b"},
            r"level's input is \? \? 2, neither one number nor \? \? 1",
        ),
        ([(None, 8, 1)], None, {}, r"the model's input \? 8 1 is open; give --input-shape H W C"),
        ([(9,)], None, {}, "the model's input 9 is not an image H W C, so it cannot denoise; give --latent"),
    ],
)
def test_inputs_that_cannot_be_bundled(layers, save, tmp_path, shapes, latent, given, error):
    inputs = [layers.Input(shape, name=name) for name, shape in zip("abc", shapes, strict=False)]
    x = layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
    path = save(keras().Model(inputs, layers.Identity(name="add")(x)))
    with pytest.raises(UsageError, match=rf"theirs\.keras: .*{error}"):
        export(path, latent, str(tmp_path / "b"), Preprocessing(**given))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_a_noise_scale_must_be_a_positive_number(scale):
    with pytest.raises(UsageError, match=r"--noise-scale .*: must be above 0 and finite"):
        Preprocessing(noise_scale=scale)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ((55.0, 5.0), r"--noise-range 55\.0 5\.0: from 0 to 255, where white is 255, the least level first"),
        ((-1.0, 5.0), r"--noise-range -1\.0 5\.0: from 0"),
        ((0.0, 256.0), r"--noise-range 0\.0 256\.0: from 0"),
        ((0.0, 0.0), r"--noise-range 0\.0 0\.0: from 0"),
        ((float("nan"), 5.0), r"--noise-range nan 5\.0: from 0"),
        ((1.0, 2.0, 3.0), r"--noise-range 1\.0 2\.0 3\.0: from 0"),
    ],
)
def test_a_range_of_noise_levels_that_is_none(limits, error):
    with pytest.raises(UsageError, match=error):
        Preprocessing(noise_input="sigma", noise_range=limits)


def test_a_range_of_noise_levels_is_of_a_model_that_is_told_them():
    with pytest.raises(UsageError, match=r"--noise-range 5\.0 55\.0 is for a model that is told .*: add --noise-input"):
        Preprocessing(noise_range=(5.0, 55.0))


def test_a_random_layer_that_rests_at_inference(layers, save, tmp_path):
    image = layers.Input((4, 4, 3))
    noisy = layers.RandomBrightness(0.5, value_range=(0, 1), seed=1)(image)
    bundle = export(save(keras().Model(image, layers.Conv2D(3, 1, name="code")(noisy))), "code", str(tmp_path / "b"))
    pixels = np.full((2, 4, 4, 3), 100, np.uint8)
    latents = Runtime.load(bundle).encode(pixels)
    assert np.array_equal(latents[0], latents[1])


@pytest.mark.parametrize(
    "low_high", [(1.0, 0.0), (0.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0), (0.0, 1e39), (0, 10**400)]
)
def test_a_value_range_must_ascend(low_high):
    with pytest.raises(UsageError, match="--value-range"):
        Preprocessing(value_range=low_high)


def test_a_color_must_fit(saved, tmp_path):
    with pytest.raises(UsageError, match="--color gray does not fit the model's input 12 10 3"):
        export(saved, "encoded", str(tmp_path / "b"), Preprocessing(color="gray"))


def test_an_existing_bundle_is_kept(saved, bundle):
    with pytest.raises(OutputError, match="holds a bundle already"):
        export(saved, "encoded", bundle.uri)


@pytest.mark.timeout(60)
def test_a_pipe_in_place_of_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.keras")
    with pytest.raises(UsageError, match=r"pipe\.keras: cannot be read: Not a regular file"):
        export(tmp_path / "pipe.keras", "x", str(tmp_path / "b"))


def test_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match=r"none\.keras: cannot be read: No such file"):
        export(tmp_path / "none.keras", "x", str(tmp_path / "b"))


def test_what_a_judge_refuses_names_the_file(nested, save, tmp_path):
    def refuse(looks):
        raise UsageError("it looks wrong")

    with pytest.raises(UsageError, match=r"\.keras: it looks wrong"):
        export(save(nested), "code", str(tmp_path / "bundle"), judge=refuse)
    assert not (tmp_path / "bundle").exists()
