"""``--decode fast``: JPEG at a half, a quarter or an eighth, before the same filter."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps

from lake.core.records import Reason
from lake.images import decode_one
from lake.images.decoder import Decoder
from lake.images.header import read_header
from lake.images.native_decoder import NativeDecoder
from lake.images.types import DecodeMode, Header, ImageCodec, ImageError, Resize, Target

KINDS = {
    "grey": ("L", {}),
    "4:4:4": ("RGB", {"subsampling": 0}),
    "4:2:0": ("RGB", {"subsampling": 2}),
    "progressive": ("RGB", {"progressive": True}),
    "restarts": ("RGB", {"restart_marker_blocks": 1}),
    "cmyk": ("CMYK", {}),
}
SMALLER = [mode for mode in Resize if mode is not Resize.PAD]


def outcome(data, target):
    """Pixels, or the reason why there are none."""
    try:
        return decode_one.decode_one(data, read_header(data), target)
    except ImageError as error:
        return error.reason


def both(data, shape, resize=Resize.STRETCH):
    exact = Target(shape=shape, resize=resize)
    return outcome(data, exact), outcome(data, replace(exact, decode=DecodeMode.FAST))


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean(np.square(one.astype(float) - other)))


def draft(data, size, times):
    """What Pillow's own plugin gives for an image at a fraction, resized with its box."""
    with Image.open(io.BytesIO(data)) as image:
        _, box = image.draft(None, (image.width // times, image.height // times))
        image.load()
        return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box))


@pytest.fixture
def scene(rng):
    """A picture with detail of many sizes, without symmetry: uint8 [H, W, 3]."""

    def make(height, width):
        total = np.zeros((height, width, 3))
        for side in (3, 9, 27, 81):
            coarse = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
            total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / side**0.5
        return (255 * (total - total.min()) / np.ptp(total)).astype(np.uint8)

    return make


@pytest.mark.parametrize(("side", "times"), [(127, 1), (128, 2), (255, 2), (256, 4), (511, 4), (512, 8), (5000, 8)])
def test_the_smallest_that_is_twice_the_target(side, times) -> None:
    header = Header(format=ImageCodec.JPEG, height=side, width=9000, channels=3)
    target = Target(shape=(32, 32, 3), resize=Resize.STRETCH, decode=DecodeMode.FAST)
    assert decode_one.reduced(header, target)[0] == times
    turned = replace(header, orientation=6, height=9000, width=side)
    assert decode_one.reduced(turned, target)[0] == times
    assert decode_one.reduced(header, replace(target, decode=DecodeMode.EXACT)) == (1, None)
    assert decode_one.reduced(replace(header, format=ImageCodec.WEBP), target) == (1, None)


@pytest.mark.parametrize("mode", SMALLER)
def test_both_sides_stay_twice_what_is_made_of_them(rng, mode) -> None:
    found = set()
    for _ in range(300):
        height, width = (int(side) for side in 2 ** rng.uniform(6, 13, 2))
        size = tuple(int(side) for side in rng.integers(80, 300, 2))
        header = Header(format=ImageCodec.JPEG, height=height, width=width, channels=3)
        target = Target(shape=(*size, 3), resize=mode, decode=DecodeMode.FAST)
        times, extent = decode_one.reduced(header, target)
        made = size
        if mode is Resize.FIT:
            made = ImageOps.contain(Image.new("1", (width, height)), size[::-1]).size[::-1]
        spare = min(height / made[0], width / made[1])
        assert times in (1, 2, 4, 8)
        assert times == 1 or spare >= 2 * times
        assert times == 8 or spare < 4 * times
        assert extent == (None if times == 1 else (0, 0, width / times, height / times))
        found.add(times)
    assert found == {1, 2, 4, 8}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("side", "times"), [(16, 8), (32, 4), (64, 2)])
def test_pixels_are_those_of_pillow_s_draft(scene, encode, kind, side, times) -> None:
    mode, options = KINDS[kind]
    data = encode(Image.fromarray(scene(259, 301)).convert(mode), "JPEG", **options)
    exact, fast = both(data, (side, side, 1 if mode == "L" else 3))
    if mode != "CMYK":  # which has no draft of its own
        golden = draft(data, (side, side), times).reshape(fast.shape)
        np.testing.assert_array_equal(fast, golden)
    assert psnr(fast, exact) > 45
    assert not np.array_equal(fast, exact)


@pytest.mark.parametrize("mode", SMALLER)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_stays_where_it_was(scene, encode, exif, mode, orientation) -> None:
    """Sides that do not divide leave part of a pixel over, at the end that the orientation turns it to."""
    data = encode(scene(265, 393), "JPEG", quality=95, subsampling=0, exif=exif(orientation))
    exact, fast = both(data, (16, 15, 3), mode)
    assert psnr(fast, exact) > 45


@pytest.mark.parametrize("mode", [None, *Resize])
def test_what_is_not_made_smaller_is_the_same(photo, encode, mode) -> None:
    shape = (40, 40, 3)
    sizes = (
        [(40, 40)] if mode is None else [(40, 40), (20, 30)] if mode is Resize.PAD else [(40, 40), (20, 90), (159, 79)]
    )
    for size in sizes:
        for format in ("JPEG", "PNG"):
            exact, fast = both(encode(photo(*size), format), shape, mode)
            np.testing.assert_array_equal(fast, exact)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_other_formats_are_decoded_in_full(photo, encode, format) -> None:
    exact, fast = both(encode(photo(90, 120), format), (10, 10, 3))
    np.testing.assert_array_equal(fast, exact)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_off_is_a_reject_as_ever(scene, encode, kind) -> None:
    mode, options = KINDS[kind]
    data = encode(Image.fromarray(scene(70, 90)).convert(mode), "JPEG", **options)
    channels, refused = 1 if mode == "L" else 3, 0
    for end in [*range(0, len(data), 11), *range(len(data) - 20, len(data) + 1)]:
        for side in (4, 8, 16):
            exact, fast = both(data[:end], (side, side, channels))
            assert isinstance(exact, Reason) == isinstance(fast, Reason), end
            assert not isinstance(fast, Reason) or fast is exact
            refused += fast is Reason.CORRUPT_IMAGE
    assert refused > 3 * len(data) // 11 / 2


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found_as_ever(rng, scene, encode, kind) -> None:
    mode, options = KINDS[kind]
    data, same = encode(Image.fromarray(scene(70, 90)).convert(mode), "JPEG", **options), set()
    for _ in range(150):
        mutant = bytearray(data)
        for _ in range(rng.integers(1, 5)):
            mutant[rng.integers(len(mutant))] = rng.integers(256)
        exact, fast = both(bytes(mutant), (8, 8, 1 if mode == "L" else 3))
        assert isinstance(exact, Reason) == isinstance(fast, Reason)
        assert not isinstance(fast, Reason) or fast is exact
        same.add(isinstance(fast, Reason))
    assert same == {True, False}


def test_an_image_has_the_same_bits_whatever_the_batch(rng, scene, encode, records) -> None:
    """Among small images, which are decoded in bulk, and damaged ones; twice, since then files are screened."""
    target = Target(shape=(32, 32, 3), resize=Resize.CROP, decode=DecodeMode.FAST)
    small = [encode(scene(32, 32), "JPEG") for _ in range(40)]
    large = [encode(scene(*size), "JPEG") for size in ((259, 301), (64, 64), (128, 999), (601, 400))]
    files = [*small, *large, small[0][:300], large[0][:3000]]
    bad = {len(files) - 2, len(files) - 1}
    alone = [outcome(data, target) for data in files]
    decoder = Decoder(target)
    for _ in range(2):
        order = rng.permutation(len(files))
        decoded = decoder.decode(records([files[position] for position in order]))
        assert {int(order[position]) for position in decoded.faults} == bad
        for group in decoded.groups:
            for position, pixels in zip(group.positions, group.pixels, strict=True):
                np.testing.assert_array_equal(pixels, alone[order[position]])


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_denoiser_of_one_size_sees_the_same_pixels(scene, encode, exif, records, orientation, channels) -> None:
    target = Target(shape=(20, 30, channels), resize=Resize.CROP, decode=DecodeMode.FAST)
    data = encode(scene(265, 393), "JPEG", "L" if channels == 1 else "RGB", exif=exif(orientation))
    faults = {}
    (group,) = NativeDecoder(target).groups(records([data]), faults)
    assert not faults
    np.testing.assert_array_equal(group.pixels[0], outcome(data, target))
