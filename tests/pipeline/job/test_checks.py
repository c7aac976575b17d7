"""What a user's options come to, and which of them are refused."""

from dataclasses import replace
from typing import Any

import pytest

from lake.core.errors import InputError, UsageError
from lake.images.anscombe import PoissonGaussian
from model.input_spec import Noise
from pipeline.config import CameraNoise, ImagesOut, NoiseLevel
from pipeline.job.checks import check_ensemble, check_variance, images_out, noise_level
from tests.pipeline.job.conftest import IMAGES, VECTORS, asked, make_spec
from tests.pipeline.values import make_found

FOUND = make_found("a.parquet", format="parquet")
VECTOR_SPEC = make_spec(input=VECTORS, kind="dense")


OUT = ImagesOut(format="parquet", rewrite=True, image_format="lossless", quality=90, error_map=False)


@pytest.mark.parametrize("verb", ["reconstruct", "denoise", "decode"])
def test_shards_are_written_again(verb: str) -> None:
    assert images_out(asked(verb), make_spec(), FOUND) == OUT


@pytest.mark.parametrize(
    ("changes", "found", "wanted"),
    [
        ({"quality": 5, "image_format": "jpeg"}, FOUND, replace(OUT, quality=5, image_format="jpeg")),
        ({"error_map": True}, FOUND, replace(OUT, error_map=True)),
        ({"output_format": "parquet"}, FOUND, OUT),
        ({"output_format": "webdataset"}, FOUND, replace(OUT, format="webdataset", rewrite=False)),
        ({}, make_found("a.tar", format="webdataset"), replace(OUT, format="webdataset")),
        ({}, None, replace(OUT, rewrite=False)),
        ({"output_format": "folder"}, None, replace(OUT, format="folder", rewrite=False)),
        ({"output_format": "array"}, FOUND, replace(OUT, format="array", rewrite=False)),
    ],
)
def test_how_images_are_written(changes: dict[str, Any], found: Any, wanted: ImagesOut) -> None:
    assert images_out(asked(**changes), make_spec(), found) == wanted


def test_no_images() -> None:
    assert images_out(asked("encode"), make_spec(), FOUND) is None
    assert images_out(asked(images=False), make_spec(), FOUND) is None
    assert images_out(asked(), VECTOR_SPEC, FOUND) is None, "reconstruct of vectors gives latents and errors"


@pytest.mark.parametrize("verb", ["denoise", "decode", "generate"])
def test_vectors_are_no_images(verb: str) -> None:
    with pytest.raises(UsageError, match=f"^{verb} makes images, and the model gives vectors"):
        images_out(asked(verb), VECTOR_SPEC, FOUND)
    assert images_out(asked(verb, images=False), VECTOR_SPEC, FOUND) is None


def test_errors_of_images_that_are_not_written_are_refused() -> None:
    for verb in ("reconstruct", "encode"):
        with pytest.raises(UsageError, match="--error-map needs the images; leave out --no-images"):
            images_out(asked(verb, error_map=True, images=False), make_spec(), FOUND)


def test_numbers_have_no_image_format() -> None:
    for found, output in ((FOUND, "array"), (make_found("a.npy", format="array"), None)):
        with pytest.raises(UsageError, match="array shards keep numbers, not --image-format jpeg"):
            images_out(asked(output_format=output, image_format="jpeg"), make_spec(), found)
        assert images_out(asked(output_format=output), make_spec(), found) is not None


def test_two_images_of_one_name_are_refused() -> None:
    found = make_found("a/1.jpg", "a/1.png", format="folder")
    with pytest.raises(InputError, match=r"^a/1\.jpg and a/1\.png could both be written under one name; keep"):
        images_out(asked(), make_spec(), found)
    assert images_out(asked(image_format="same"), make_spec(), found) is not None
    assert images_out(asked(output_format="webdataset"), make_spec(), found) is not None
    other = make_found("a/1.jpg", "a/1.png", format="webdataset")
    assert images_out(asked(output_format="folder"), make_spec(), other) is not None, "nothing is called after these"


def test_variances() -> None:
    check_variance(asked(), make_spec())
    check_variance(asked(variance=True), make_spec(kind="vae", variance="log_variance"))
    with pytest.raises(UsageError, match="a model of kind 'autoencoder' gives no variances; leave out"):
        check_variance(asked(variance=True), make_spec())


TOLD = make_spec(kind="denoiser", latent=None, input=replace(IMAGES, noise=Noise(form="map", input="sigma", scale=1.0)))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("25", NoiseLevel(level=25.0)),
        ("0", NoiseLevel(level=0.0)),
        ("255", NoiseLevel(level=255.0)),
        ("2.5e1", NoiseLevel(level=25.0)),
        ("estimate", NoiseLevel(estimate=True)),
        ("sigma", NoiseLevel(column="sigma")),
    ],
)
def test_noise_levels(given: str, wanted: NoiseLevel) -> None:
    assert noise_level(asked("denoise", noise_level=given), TOLD) == wanted


@pytest.mark.parametrize("given", ["-1", "255.1", "256", "nan", "inf", "-0.1"])
def test_noise_levels_outside_the_scale_are_refused(given: str) -> None:
    with pytest.raises(UsageError, match=f"--noise-level {given} is not from 0 to 255"):
        noise_level(asked("denoise", noise_level=given), TOLD)


def test_a_model_is_told_the_noise_or_it_is_not() -> None:
    plain = make_spec()
    assert noise_level(asked("denoise"), plain) is None
    with pytest.raises(UsageError, match="takes no noise level; leave out --noise-level"):
        noise_level(asked("denoise", noise_level="25"), plain)
    with pytest.raises(UsageError, match="the model takes a noise level: give --noise-level 25"):
        noise_level(asked("denoise"), TOLD)
    assert noise_level(asked("encode", noise_level="25"), TOLD) is None, "of no other verb"
    assert noise_level(asked("encode"), TOLD) is None


def test_an_ensemble_turns_images() -> None:
    square, wide = make_spec(), make_spec(input=replace(IMAGES, shape=(28, 30, 1)))
    for verb in ("denoise", "encode"):
        check_ensemble(asked(verb, ensemble=4), square)
    check_ensemble(asked("denoise"), wide)
    check_ensemble(asked("denoise", ensemble=8), make_spec(input=replace(IMAGES, shape=(28, 30, 1), any_size=True)))
    with pytest.raises(UsageError, match=r"--ensemble 4: an ensemble of 4 turns images, and .* 28 x 30 pixels; leave"):
        check_ensemble(asked("denoise", ensemble=4), wide)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, CameraNoise()),
        ({"gain": "estimate", "black_level": 100}, CameraNoise(black_level=100.0)),
        ({"gain": "2.2", "read_noise": 3}, CameraNoise(gain=2.2, read_noise=3.0)),
        (
            {"gain": 0.5, "read_noise": "0", "black_level": "-4"},
            CameraNoise(gain=0.5, read_noise=0.0, black_level=-4.0),
        ),
    ],
)
def test_cameras(given: dict[str, object], wanted: CameraNoise) -> None:
    options = asked("denoise", noise="poisson-gaussian", **given)
    assert noise_level(options, TOLD) == NoiseLevel(camera=wanted)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"noise": "gaussian", "gain": "2"}, "--gain is for photons: add --noise poisson-gaussian, or leave it out"),
        ({"noise": "gaussian", "black_level": 3}, "--black-level is for photons"),
        ({"noise_level": "25"}, "has no one level: give --gain and --read-noise instead of --noise-level"),
        ({"gain": "2"}, "given or estimated together: add the other"),
        ({"gain": "estimate", "read_noise": "2"}, "given or estimated together"),
        ({"gain": "0", "read_noise": "2"}, "--gain 0 is not above 0"),
        ({"gain": "-1", "read_noise": "2"}, "--gain '-1' is neither a number of at least 0 nor 'estimate'"),
        ({"gain": "2", "read_noise": "nan"}, "--read-noise 'nan' is neither"),
        ({"gain": "2", "read_noise": "inf"}, "--read-noise 'inf' is neither"),
        ({"gain": "sigma", "read_noise": "2"}, "--gain 'sigma' is neither"),
    ],
)
def test_cameras_that_are_none(given: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        noise_level(asked("denoise", **{"noise": "poisson-gaussian", **given}), TOLD)


LEARNED = PoissonGaussian(gain=2.2, read_noise=3.3, black_level=100)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, NoiseLevel(camera=CameraNoise(gain=2.2, read_noise=3.3, black_level=100))),
        ({"noise": "poisson-gaussian"}, NoiseLevel(camera=CameraNoise(gain=2.2, read_noise=3.3, black_level=100))),
        ({"black_level": 90}, NoiseLevel(camera=CameraNoise(gain=2.2, read_noise=3.3, black_level=90))),
        ({"gain": "2", "read_noise": "3"}, NoiseLevel(camera=CameraNoise(gain=2, read_noise=3))),
        ({"gain": "estimate"}, NoiseLevel(camera=CameraNoise())),
        ({"noise_level": "25"}, NoiseLevel(level=25)),
    ],
)
def test_a_model_that_learned_photon_noise_knows_its_camera(given: dict[str, object], wanted: NoiseLevel) -> None:
    assert TOLD.input.noise is not None
    model = replace(TOLD, input=replace(TOLD.input, noise=replace(TOLD.input.noise, camera=LEARNED)))
    assert noise_level(asked("denoise", **given), model) == wanted


def test_a_model_that_is_not_told_takes_no_photon_noise() -> None:
    with pytest.raises(UsageError, match=r"takes no noise level; leave out --noise$"):
        noise_level(asked("denoise", noise="poisson-gaussian"), make_spec())
    pairs = replace(TOLD, input=replace(TOLD.input, shape=(None, None, 2)))
    with pytest.raises(UsageError, match="not for models of two channels"):
        noise_level(asked("denoise", noise="poisson-gaussian", alpha="last"), pairs)


def test_a_format_that_is_only_read_needs_another_one_for_images() -> None:
    found = make_found("a.arrow", format="arrow")
    with pytest.raises(UsageError, match="arrow shards are not written; name the format of new ones, --output-format"):
        images_out(asked("denoise"), make_spec(), found)
    assert images_out(asked("denoise", output_format="parquet"), make_spec(), found) == replace(OUT, rewrite=False)
    assert images_out(asked("encode"), make_spec(), found) is None
    with pytest.raises(UsageError, match="output_format"):
        asked("denoise", output_format="arrow")
