"""Noisy images as a training reads them: pairs, pages, depth, what is held out, and what is known of them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile

from lake.core.errors import InputError, ShardError, UsageError
from lake.formats.reader import ColumnSelection
from lake.images.anscombe import PoissonGaussian
from model.training.self_supervised.denoiser import level_of, pair_level
from model.training.self_supervised.images import iter_noisy, load_noisy
from model.training.self_supervised.options import SelfSupervisedOptions
from model.training.self_supervised.photons import camera_of, levels_of
from tests.conftest import png

RNG = np.random.default_rng(0)
DEEP = RNG.integers(900, 4096, (9, 40, 48), np.uint16)  # 12 bits in 16


def options(source, **more) -> SelfSupervisedOptions:
    return SelfSupervisedOptions(inputs=(str(source),), output="none", selection=ColumnSelection(carry=()), **more)


def read(source, channels=1, **more):
    return list(iter_noisy(options(source, **more), channels))


def test_sixteen_bits_stay_and_are_standardized(tmp_path):
    np.save(tmp_path / "deep.npy", DEEP)
    images = read(tmp_path / "deep.npy")
    assert [image.dtype for image in images] == [np.uint16] * 9
    loaded = load_noisy(images, 1, None, 0.2)
    training = DEEP[[1, 2, 3, 4, 6, 7, 8]] / 65535
    assert (len(loaded.training), len(loaded.held_out)) == (7, 2)
    assert loaded.mean == pytest.approx([training.mean()], rel=1e-6)
    assert loaded.std == pytest.approx(training.std(), rel=1e-6)
    shown = loaded.shown(np.stack(loaded.training), loaded.levels, loaded.blacks)
    assert (shown.mean(), shown.std()) == pytest.approx((0, 1), abs=1e-4)
    assert shown[0, ..., 0] * loaded.std + loaded.mean[0] == pytest.approx(training[0], abs=1e-6)


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_channels_have_means_of_their_own(channels, tmp_path):
    bands = RNG.integers(0, 65536, (9, 32, 40, channels)).astype(np.uint16) // np.arange(
        1, channels + 1, dtype=np.uint16
    )
    np.save(tmp_path / "bands.npy", bands)
    loaded = load_noisy(read(tmp_path / "bands.npy", channels), channels, None, 0.5)
    training = bands[1::2] / 65535
    assert loaded.mean == pytest.approx(training.mean(axis=(0, 1, 2)), rel=1e-5)
    assert loaded.std == pytest.approx(np.sqrt(training.var(axis=(0, 1, 2)).mean()), rel=1e-5)


def test_every_page_of_a_stack_is_an_image(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", DEEP, photometric="minisblack")
    assert len(read(tmp_path)) == 1
    pages = read(tmp_path, policy={"pages": "all"})
    assert np.array_equal(np.stack(pages)[..., 0], DEEP)


def test_pairs_are_found_by_their_keys(tmp_path):
    for folder, images in (("one", DEEP[:4]), ("two", DEEP[4:8])):
        (tmp_path / folder).mkdir()
        for number, image in enumerate(images):
            (tmp_path / folder / f"{number}.png").write_bytes(png((image >> 4).astype(np.uint8)))
    images = read(tmp_path / "one", pairs=(str(tmp_path / "two"),))
    assert np.array_equal(np.stack(images), np.stack([DEEP[:4], DEEP[4:8]], axis=3) >> 4)
    (tmp_path / "two" / "0.png").unlink()
    with pytest.raises((InputError, ShardError)):
        read(tmp_path / "one", pairs=(str(tmp_path / "two"),))


def test_pairs_are_found_by_a_column(tmp_path, caplog):
    """Of three fields: two shots, three of which one is left over, and one alone; and one shot of no field."""
    fields = ["a", "b", "b", "a", "b", None, "c"]
    files = [{"bytes": png((DEEP[n] >> 4).astype(np.uint8)), "path": f"{n}.png"} for n in range(7)]
    pq.write_table(
        pa.table({"image": files, "field": fields, "number": [fields.index(f) for f in fields]}), tmp_path / "x.parquet"
    )
    for column in ("field", "number"):
        images = read(tmp_path / "x.parquet", pairs_by=column)
        assert np.array_equal(np.stack(images), np.stack([DEEP[[1, 0]], DEEP[[2, 3]]], axis=3) >> 4)
    assert "3 images left out: no second shot by column 'field'" in caplog.text
    with pytest.raises(InputError, match="plate"):
        read(tmp_path / "x.parquet", pairs_by="plate")


def test_a_pair_of_two_sizes_is_left_out(tmp_path, caplog):
    for folder, side in (("one", 40), ("two", 48)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(png(np.zeros((40, side), np.uint8)))
    assert not read(tmp_path / "one", pairs=(str(tmp_path / "two"),))
    assert "a pair of (40, 40, 1) and (40, 48, 1) is left out: not one size" in caplog.text


CAMERA = {"noise": "poisson-gaussian", "gain": 2.2, "read_noise": 3.3, "black_level": 100.0}


def shown(images, channels=1, **more):
    """The images of a training on photon noise, those that it learns from after the transform, and its camera."""
    chosen = options("none", **CAMERA | more)
    camera = camera_of(chosen, images, channels)
    made = load_noisy(images, channels, None, 0.2, photons=lambda kept: levels_of(kept, camera, chosen))
    seen = [
        made.shown(image[None], level[None], black[None])[0] * made.std + made.mean.astype(np.float32)
        for image, level, black in zip(made.training, made.levels, made.blacks, strict=True)
    ]
    return made, seen, camera


@pytest.mark.parametrize("shots", [1, 2])
def test_noise_of_photons_becomes_white_and_of_the_level_that_is_told(shots):
    electrons = np.broadcast_to(np.repeat(np.arange(20.0, 220, 20), 20)[:, None], (9, 64, 200, shots))
    pixels = 2.2 * RNG.poisson(electrons) + RNG.normal(100, 3.3, electrons.shape)
    images = list(np.rint(pixels).astype(np.uint16))
    loaded, seen, camera = shown(images)
    assert camera == PoissonGaussian(gain=2.2, read_noise=3.3, black_level=100)
    # In memory they are as they were read.
    assert all(np.array_equal(*pair) for pair in zip(loaded.training, images[1:5] + images[6:], strict=True))
    for image, level in zip(seen, loaded.levels, strict=True):
        steps = image.reshape(64, 10, 20, shots).std(axis=(0, 2))
        np.testing.assert_allclose(steps, level, rtol=0.12)
        assert (image.min(), image.max()) == pytest.approx((0, 1), abs=1e-5)
    assert (np.mean(seen), np.std(seen)) == pytest.approx((loaded.mean[0], loaded.std), rel=1e-4)
    zeros = loaded.zeros(loaded.levels, loaded.blacks)
    back = camera.algebraic((seen[0] - loaded.mean.astype(np.float32)) / loaded.levels[0] + zeros[0])
    np.testing.assert_allclose(back, images[1] - 100.0, atol=0.05)
    *_, estimated = shown(images, gain=None, read_noise=None)
    assert estimated.gain == pytest.approx(2.2, rel=0.05)
    # Floating pixels were divided by their white; a camera stays in the numbers of the files.
    _, floating, same = shown([(image / 4095).astype(np.float32) for image in images], policy={"white": 4095.0})
    assert same == camera
    np.testing.assert_allclose(floating[0], seen[0], atol=1e-4)


def test_a_camera_of_whole_numbers_is_one_that_a_bundle_takes():
    camera = camera_of(options("none", **CAMERA | {"gain": 2, "read_noise": 3, "black_level": 100}), [DEEP[0]], 1)
    assert [repr(value) for value in (camera.gain, camera.read_noise, camera.black_level)] == ["2.0", "3.0", "100.0"]


def test_photon_noise_that_cannot_be_told():
    gaussian = [np.rint(RNG.normal(5000, 50, (48, 48, 1))).astype(np.uint16) for _ in range(2)]
    with pytest.raises(UsageError, match="does not grow with their brightness; give --noise-level estimate"):
        shown(gaussian, gain=None, read_noise=None)
    with pytest.raises(UsageError, match="images of uint16 and uint8: a camera's noise is in the numbers of one"):
        shown([gaussian[0], gaussian[1].astype(np.uint8)])
    with pytest.raises(UsageError, match="poisson-gaussian is not for images of 2 channels; give --noise-level"):
        shown(gaussian, channels=2)
    # In the numbers of the files, also where floating pixels were divided by their white.
    dark = [(RNG.poisson(20, (48, 48, 1)) / 4095).astype(np.float32) for _ in range(2)]
    with pytest.raises(
        UsageError, match=r"darker than a black level of 100 and a read noise of 3\.3 explain; give --black"
    ):
        shown(dark, policy={"white": 4095.0})
    with pytest.raises(
        UsageError, match=r"a read noise of 3\.3 are too much where white is 1; give both in the numbers"
    ):
        shown(dark)


def test_the_level_of_a_pair_is_that_of_its_noise():
    clean = np.linspace(0, 1, 200)[:, None, None] * np.ones((200, 200, 6))
    level = pair_level((clean + RNG.normal(0, 0.05, clean.shape)).astype(np.float32))
    assert level == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize(("given", "tolerance"), [("estimate", 0.1), (12.75, 1e-6)])
def test_a_level_is_given_or_that_of_each_image(given, tolerance):
    image = (np.linspace(0.2, 0.8, 128)[:, None, None] + RNG.normal(0, 0.05, (128, 128, 1))).astype(np.float32)
    assert level_of(options("a", noise_level=given))(image) == pytest.approx(0.05, rel=tolerance)
    assert level_of(options("a")) is None


def test_images_in_counts_are_left_out_with_the_remedy(tmp_path, caplog):
    tifffile.imwrite(tmp_path / "a.tif", DEEP[0])
    tifffile.imwrite(tmp_path / "b.tif", DEEP[1].astype(np.float32))
    (image,) = read(tmp_path)
    assert np.array_equal(image[..., 0], DEEP[0])
    assert "1 records left out, the first for this: floating pixels where white is 1" in caplog.text
    assert "set --white 4095" in caplog.text
    assert len(read(tmp_path, policy={"white": 4095})) == 2


def test_of_few_images_a_strip_of_each_is_held_out():
    image = RNG.integers(0, 256, (512, 64, 1), np.uint8)
    loaded = load_noisy([image], 1, lambda part: float(part.size), 0.02)
    assert np.array_equal(np.concatenate([loaded.training[0], loaded.held_out[0]]), image)
    assert loaded.held_out[0].shape[0] == 64
    assert loaded.levels.tolist() == loaded.held_out_levels.tolist() == [512 * 64]  # of the whole image
    assert loaded.smallest == 64


def test_images_without_noise_are_not_trained_on_where_a_level_is_told(caplog):
    images = [*RNG.integers(0, 256, (9, 40, 48, 1)).astype(np.uint8)]
    images[3][:] = 7
    told = load_noisy(images, 1, lambda image: float(image.std()), 0.2)
    assert (len(told.training), len(told.held_out), len(told.levels)) == (6, 2, 6) and told.levels.all()
    assert all(image.std() for image in told.training)
    assert "1 images without noise are left out of the training" in caplog.text
    assert len(load_noisy(images, 1, None, 0.2).training) == 7


def test_no_image_with_noise_is_an_error_before_any_step():
    shots = np.repeat(RNG.integers(0, 256, (9, 40, 48, 1)).astype(np.uint8), 2, axis=3)
    with pytest.raises(UsageError, match="no image has any noise to learn from"):
        load_noisy(shots, 1, pair_level, 0.2)


@pytest.mark.parametrize(
    ("images", "error"),
    [
        ([], "no image to train on"),
        ([np.zeros((31, 99, 1), np.uint8)], "image 0 has 99 x 31 pixels; a side needs 32 or more"),
        ([np.zeros((40, 99, 1), np.uint8)], "1 images of which one has less than 64 rows: too little to hold out"),
        ([np.ones((64, 64, 1), np.uint8)], "the images have one value throughout"),
        ([RNG.normal(300, 9, (64, 64, 1)).astype(np.float32)], "say with --white what white is"),
    ],
)
def test_refusals(images, error):
    with pytest.raises(UsageError, match=error):
        load_noisy(images, 1, None, 0.02)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"pairs": ("b",), "noise_level": 5.0}, "--noise-level and --pairs: a pair of shots tells its own noise level"),
        ({"noise_level": 300.0}, "--noise-level 300: above 0 and at most 255"),
        ({"noise_level": "column"}, "--noise-level column: a number, or 'estimate'"),
    ],
)
def test_options_that_do_not_fit(more, error):
    with pytest.raises(UsageError, match=error):
        options("a", **more)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"pairs": ("x",), "pairs_by": "field"}, "--pairs and --pairs-by: second shots are elsewhere or in the input"),
        ({"noise_level": 9.0, "pairs_by": "field"}, "--noise-level and --pairs-by: a pair of shots tells its own"),
        ({"gain": 2.0}, "--gain is for photons: add --noise poisson-gaussian, or leave it out"),
        ({"black_level": 9.0}, "--black-level is for photons"),
        ({"noise": "photons"}, "--noise photons: 'gaussian' or 'poisson-gaussian'"),
        ({"noise": "poisson-gaussian", "gain": 2.0}, "given or estimated together: add the other, or leave both out"),
        ({"noise": "poisson-gaussian", "noise_level": 9.0}, "--noise poisson-gaussian has no one level: leave out"),
        ({**CAMERA, "gain": 0.0}, "--gain 0: a finite number, of a gain above 0, of a read noise at least 0"),
        ({**CAMERA, "read_noise": -1.0}, "--read-noise -1: a finite number"),
        ({**CAMERA, "black_level": float("nan")}, "--black-level nan: a finite number"),
    ],
)
def test_what_is_said_of_noise_fits_together(given, text):
    with pytest.raises(UsageError, match=text):
        options("none", **given)
