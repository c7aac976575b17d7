"""The images that a model is quantised with: which, and with what noise."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from lake.core.errors import InputError, UsageError
from model.int8.samples import load_calibration, sample
from tests.model.int8.specs import DENOISER, ENCODER


@pytest.fixture
def numbered(tmp_path):
    """A stack of images, all of whose pixels are the image's number."""

    def write(count: int) -> str:
        stack = np.repeat(np.arange(count, dtype=np.uint8), 8 * 6 * 3).reshape(count, 8, 6, 3)
        np.save(tmp_path / "stack.npy", stack)
        return str(tmp_path)

    return write


def _number(image) -> int:
    assert image.shape == (1, 8, 6, 3) and len(np.unique(image)) == 1
    return int(image[0, 0, 0, 0])


def test_half_of_few_images_calibrate_and_the_others_measure(numbered):
    samples = load_calibration(numbered(21), ENCODER)
    calibrating, held_out = [_number(one.pixels) for one in samples.calibrating], [*map(_number, samples.held_out)]
    assert sorted(calibrating + held_out) == list(range(21)) and len(calibrating) == 10
    assert calibrating != sorted(calibrating)  # at random, since neighbours in a dataset are often alike
    sha256 = hashlib.sha256()
    for number in calibrating:
        sha256.update(b"((1, 8, 6, 3), '|u1')" + bytes([number]) * 144)
    assert samples.sha256 == sha256.hexdigest()
    assert load_calibration(numbered(21), ENCODER).sha256 == samples.sha256


def test_of_many_images_some_are_chosen_from_all(numbered):
    samples = load_calibration(numbered(256), ENCODER)
    chosen = [*(_number(one.pixels) for one in samples.calibrating), *map(_number, samples.held_out)]
    assert len(chosen) == len(set(chosen)) == 96 and len(samples.held_out) == 48
    quarters = np.bincount(np.array(chosen) // 64)
    assert (quarters > 10).all()  # 24 each would be even


def test_too_few_images(numbered, tmp_path):
    with pytest.raises(UsageError, match=r"--calibrate \S+: 7 images, which is too few; give 8 or more"):
        load_calibration(numbered(7), ENCODER)
    with pytest.raises(InputError):
        load_calibration(str(tmp_path / "nothing"), ENCODER)


def test_images_of_other_sizes_are_covered_and_cropped(tmp_path):
    for n in range(8):
        Image.fromarray(np.full((16 + n, 24, 3), 9 * n, np.uint8)).save(tmp_path / f"{n}.png")
    samples = load_calibration(str(tmp_path), ENCODER)
    assert sorted(map(_number, [*(s.pixels for s in samples.calibrating), *samples.held_out])) == [*range(0, 72, 9)]


def test_a_denoiser_is_given_crops_with_noise_of_its_level(tmp_path):
    rng = np.random.default_rng(3)
    stack = rng.integers(100, 156, (16, 140, 150, 1)).astype(np.uint8)
    for n, image in enumerate(stack):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{n}.png")
    samples = load_calibration(str(tmp_path), DENOISER)
    assert {one.pixels.shape for one in samples.calibrating} == {(1, 128, 128, 1)}
    levels = [255 * float(one.level[0]) for one in samples.calibrating]
    np.testing.assert_allclose(levels, np.linspace(5, 55, 8), rtol=1e-6)
    windows = np.lib.stride_tricks.sliding_window_view(stack[..., 0], (128, 128), axis=(1, 2))
    for image in samples.held_out:
        assert (windows == image[0, ..., 0]).all(axis=(3, 4)).any()  # a part of one image, as it is
    for one, level in zip(samples.calibrating[:5], levels, strict=False):  # with more, black and white cut it off
        spread = np.sqrt(one.pixels.astype(float).var() - 56**2 / 12)
        assert spread == pytest.approx(level, rel=0.05)


def test_noise_is_that_of_the_number_and_cut_off_at_white():
    grey = np.full((1, 64, 64, 1), 128, np.uint8)
    one, again, other = (sample(grey, 25, number, DENOISER).pixels for number in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    noise = one.astype(float) - 128
    assert noise.std() == pytest.approx(25, rel=0.03) and abs(noise.mean()) < 1 and one.dtype == np.uint8
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.05
    whitened = sample(grey + np.uint8(120), 25, 0, DENOISER).pixels
    assert np.array_equal(whitened, np.minimum(one.astype(int) + 120, 255))
    feed = sample((grey * np.uint16(257)).astype(np.uint16), 0, 0, ENCODER).feed()
    assert np.allclose(feed["pixels"] / feed["divisor"], 128 / 255)
