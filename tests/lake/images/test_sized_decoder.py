"""Images of many sizes in one batch, compared with Pillow's pixels."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps

from lake.core.records import Reason, Records
from lake.images.buckets import Buckets
from lake.images.fallback_decoder import group_decoder
from lake.images.sized_decoder import SizedDecoder
from lake.images.types import Color, DecodeMode, Target

RGB = Target(shape=(None, None, 3))
_SIZES = [(20, 30), (30, 20), (20, 30), (7, 9), (64, 48)]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    smooth = np.add.outer(np.arange(height) * 2, np.arange(width))[..., None] + np.array([seed, 40, 80])
    return (smooth % 256).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str = "png", **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def batch(payload) -> Records:
    payload = pa.array(payload, pa.binary()) if isinstance(payload, list) else payload
    keys = pa.array([str(i) for i in range(len(payload))])
    return Records(shard="s", index=np.arange(len(payload)), key=keys, payload=payload, carried={})


def decoded(target: Target, payload, faults: dict) -> dict:
    """Pixels and original size of each position."""
    found = {}
    for group in SizedDecoder(target).groups(batch(payload), faults):
        for at, position in enumerate(group.positions.tolist()):
            assert position not in found
            found[position] = group.pixels[at], tuple(group.original[at].tolist())
    return found


def test_each_image_at_its_own_size() -> None:
    images = [picture(*size, seed) for seed, size in enumerate(_SIZES)]
    files = [encoded(image) for image in images]
    files.insert(2, files[0][:60])
    files.insert(4, b"no image")
    files.append(encoded(images[0], "jpeg"))
    faults: dict = {}
    found = decoded(RGB, files, faults)
    assert {position: fault.reason for position, fault in faults.items()} == {
        2: Reason.CORRUPT_IMAGE,
        4: Reason.UNKNOWN_FORMAT,
    }
    for position, image in zip((0, 1, 3, 5, 6), images, strict=True):
        pixels, original = found[position]
        assert np.array_equal(pixels, image) and original == image.shape[:2]
    assert np.array_equal(found[7][0], np.asarray(Image.open(io.BytesIO(files[7]))))


@pytest.mark.parametrize("mode", [DecodeMode.EXACT, DecodeMode.FAST])
def test_buckets_are_what_pillow_cuts(mode: DecodeMode) -> None:
    buckets = Buckets(step=16, max_area=48 * 48)
    images = [picture(*size) for size in ((90, 200), (200, 90), (31, 33), (500, 300))]
    found = decoded(
        Target(shape=(None, None, 3), buckets=buckets, decode=mode), [encoded(image) for image in images], {}
    )
    for position, image in enumerate(images):
        bucket = buckets.nearest(*image.shape[:2])
        want = np.asarray(ImageOps.fit(Image.fromarray(image), bucket[::-1], Image.Resampling.BICUBIC))
        pixels, original = found[position]
        assert pixels.shape == (*bucket, 3) and original == image.shape[:2]
        assert np.abs(pixels.astype(int) - want).max() <= 1


def test_an_image_that_is_turned_upright() -> None:
    image = Image.fromarray(picture(20, 30))
    exif = Image.Exif()
    exif[274] = 6
    found = decoded(RGB, [encoded(np.asarray(image), "jpeg", exif=exif)], {})
    assert found[0][0].shape == (30, 20, 3) and found[0][1] == (30, 20)


def test_colors_by_the_policy_and_a_second_one() -> None:
    gray = Target(shape=(None, None, 1))
    files = [encoded(picture(5, 8)), encoded(picture(5, 8)[..., 0])]
    faults: dict = {}
    assert list(decoded(gray, files, faults)) == [1] and faults[0].reason is Reason.WRONG_CHANNELS
    second = group_decoder(SizedDecoder, gray, Target(shape=(None, None, 1), color=Color.CONVERT))
    faults = {}
    groups = list(second.groups(batch(files), faults))
    assert not faults and sorted(p for group in groups for p in group.positions.tolist()) == [0, 1]
    assert all(group.pixels.shape[1:] == (5, 8, 1) and len(group.original) == len(group.positions) for group in groups)


def test_pixels_that_are_numbers() -> None:
    images = np.stack([picture(20, 30, seed) for seed in range(3)])
    found = decoded(RGB, images, {})
    assert all(np.array_equal(found[i][0], images[i]) and found[i][1] == (20, 30) for i in range(3))
    small = decoded(Target(shape=(None, None, 3), buckets=Buckets(step=8, max_area=256)), images, {})
    assert small[0][0].shape == (*Buckets(step=8, max_area=256).nearest(20, 30), 3)


def test_numbers_that_are_no_images_or_too_many() -> None:
    for payload, target, reason in (
        (np.zeros((2, 30), np.float32), RGB, Reason.WRONG_SIZE),
        (np.zeros((2, 0, 4, 3), np.uint8), RGB, Reason.WRONG_SIZE),
        (np.zeros((2, 20, 30, 3), np.uint8), Target(shape=(None, None, 3), max_pixels=599), Reason.TOO_MANY_PIXELS),
    ):
        faults: dict = {}
        assert not decoded(target, payload, faults)
        assert [faults[at].reason for at in (0, 1)] == [reason, reason]


def test_many_images_of_one_size_come_in_parts() -> None:
    files = [encoded(picture(512, 1024, seed % 3)) for seed in range(5)]
    sizes = [len(group.positions) for group in SizedDecoder(RGB).groups(batch(files), {})]
    assert sizes == [2, 2, 1]
