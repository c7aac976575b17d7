"""Images as they are: any size, colour, alpha and depth in one batch, each position in one group or in the faults."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from lake.core.records import Fault, Reason, Stage
from lake.images.encoder import ImageEncoder, ImageFormat
from lake.images.native_decoder import NativeDecoder
from lake.images.types import Orientation, Resize, Target

ANY = (None, None, 1)


def decode(batch, shape=ANY, **policy):
    """Pixels by position, and faults; checks that together they are the whole batch."""
    faults, found = {}, {}
    for group in NativeDecoder(Target(shape=shape, **policy)).groups(batch, faults):
        assert list(group.positions) == sorted(group.positions)
        assert len(group.positions) == len(group.pixels)
        assert len(group.pixels) == 1 or group.pixels.size <= 1 << 22
        for position, pixels in zip(group.positions.tolist(), group.pixels, strict=True):
            assert position not in found
            found[position] = pixels
    assert sorted([*found, *faults]) == list(range(len(batch)))
    return found, faults


def reasons(faults):
    return {position: fault.reason for position, fault in faults.items()}


def pillow(data, mode):
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image.convert(mode))
    return pixels[..., None] if pixels.ndim == 2 else pixels


@pytest.fixture
def palette(rng):
    """An image of indices 8 x 9 with a palette of 16 colours."""
    image = Image.fromarray(rng.integers(0, 16, (8, 9), np.uint8))
    image.putpalette(rng.integers(0, 256, 48, np.uint8).tobytes())
    return image


@pytest.fixture
def kinds(photo, encode, palette):
    """File and the mode of Pillow that it must be read as."""
    rgba = photo(20, 30, 4)
    cmyk = Image.fromarray(photo(17, 40, 4), "RGBA")
    cmyk = Image.frombytes("CMYK", cmyk.size, cmyk.tobytes())
    return [
        (encode(photo(20, 30), "PNG"), "RGB"),
        (encode(photo(20, 30, 1), "PNG"), "L"),
        (encode(photo(20, 30, 2), "PNG"), "LA"),
        (encode(rgba, "PNG"), "RGBA"),
        (encode(photo(31, 7), "JPEG"), "RGB"),
        (encode(photo(31, 7, 1), "JPEG"), "L"),
        (encode(cmyk, "JPEG"), "RGB"),
        (encode(cmyk, "TIFF"), "RGB"),
        (encode(palette, "PNG"), "RGB"),
        (encode(palette, "GIF"), "RGB"),
        (encode(palette, "PNG", transparency=3), "RGBA"),
        (encode(palette, "PNG", transparency=bytes(range(0, 160, 10))), "RGBA"),
        (encode(palette, "GIF", transparency=3), "RGBA"),
        (encode(photo(20, 30, 1), "PNG", transparency=130), "LA"),
        (encode(photo(20, 30), "PNG", transparency=(1, 2, 3)), "RGBA"),
        (encode(Image.fromarray(photo(20, 30, 1)[..., 0]).convert("1"), "PNG"), "L"),
        (encode(rgba, "WEBP", lossless=True), "RGBA"),
        (encode(photo(20, 30), "WEBP", quality=70), "RGB"),
        (encode(rgba, "TIFF"), "RGBA"),
        (encode(photo(20, 30, 2), "TIFF"), "LA"),
        (encode(photo(3, 200), "BMP"), "RGB"),
        (encode(photo(3, 200, 1), "BMP"), "L"),
    ]


def test_a_mixture_of_kinds_and_sizes_is_what_pillow_reads(kinds, records) -> None:
    found, faults = decode(records([data for data, _ in kinds]))
    assert not faults
    for position, (data, mode) in enumerate(kinds):
        np.testing.assert_array_equal(found[position], pillow(data, mode), err_msg=f"{position} {mode}")


def test_bad_ones_among_them_cost_themselves_alone(kinds, records) -> None:
    good = [data for data, _ in kinds]
    torn = bytearray(good[0])
    torn[60] ^= 255
    known = Fault(stage=Stage.READ, reason=Reason.RECORD_TOO_LARGE, detail="too large")
    batch = [None, b"", b"%PDF", good[4][:-100], bytes(torn), *good, None]
    found, faults = decode(records(batch, {len(batch) - 1: known}))
    assert reasons(faults) == {
        0: Reason.MISSING_IMAGE,
        1: Reason.EMPTY_IMAGE,
        2: Reason.UNKNOWN_FORMAT,
        3: Reason.CORRUPT_IMAGE,
        4: Reason.CORRUPT_IMAGE,
        len(batch) - 1: Reason.RECORD_TOO_LARGE,
    }
    for position, (data, mode) in enumerate(kinds):
        np.testing.assert_array_equal(found[position + 5], pillow(data, mode))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_stay(rng, png, records, channels) -> None:
    pixels = rng.integers(0, 65536, (9, 11, channels), np.uint16)
    found, _ = decode(records([png(pixels)]))
    assert found[0].dtype == np.uint16
    np.testing.assert_array_equal(found[0], pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_16_bit_colour_is_alpha(rng, png, chunk, records, channels) -> None:
    pixels = rng.integers(0, 3, (9, 11, channels), np.uint16)
    data = png(pixels, before=chunk(b"tRNS", pixels[4, 5].astype(">u2").tobytes()))
    found, _ = decode(records([data]))
    np.testing.assert_array_equal(found[0][..., :channels], pixels)
    hidden = (pixels == pixels[4, 5]).all(axis=2)
    np.testing.assert_array_equal(found[0][..., channels], np.where(hidden, 0, 65535))


@pytest.mark.parametrize("samples", [0, 1, 2, 4])
def test_a_transparent_16_bit_colour_of_other_samples_is_corrupt(png, chunk, records, samples) -> None:
    data = png(np.zeros((9, 11, 3), np.uint16), before=chunk(b"tRNS", bytes(2 * samples)))
    found, faults = decode(records([data, png(np.ones((9, 11, 3), np.uint16))]))
    assert reasons(faults) == {0: Reason.CORRUPT_IMAGE}
    assert (found[1] == 1).all()


def test_more_transparency_than_a_palette_can_have_is_corrupt(palette, encode, chunk, records) -> None:
    data = encode(palette, "PNG", transparency=bytes(16))
    start, end = data.index(b"tRNS") - 4, data.index(b"IDAT") - 4
    found, faults = decode(records([data[:start] + chunk(b"tRNS", bytes(300)) + data[end:], data]))
    assert reasons(faults) == {0: Reason.CORRUPT_IMAGE}
    assert found[1].shape == (8, 9, 4)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("count", [5, 300, 700])
def test_many_of_one_kind_are_one_group_in_order(photo, encode, records, format, count) -> None:
    pictures = [photo(28, 29) for _ in range(7)]
    files = [encode(picture, format) for picture in pictures]
    groups = list(NativeDecoder(Target(shape=ANY)).groups(records([files[i % 7] for i in range(count)]), {}))
    assert [group.positions.tolist() for group in groups] == [list(range(count))]
    expected = np.stack([pillow(data, "RGB") for data in files])
    np.testing.assert_array_equal(groups[0].pixels, expected[np.arange(count) % 7])


def test_a_torn_one_among_many_leaves_them_together(photo, encode, records) -> None:
    files = [encode(photo(28, 28, 1), "PNG")] * 400
    torn = bytearray(files[0])
    torn[len(torn) // 2] ^= 255
    files[100] = bytes(torn)
    files[7] = encode(photo(28, 27, 1), "PNG")
    faults = {}
    groups = list(NativeDecoder(Target(shape=ANY)).groups(records(files), faults))
    assert reasons(faults) == {100: Reason.CORRUPT_IMAGE}
    assert sorted(len(group.positions) for group in groups) == [1, 398]
    most = max(groups, key=lambda group: len(group.positions))
    assert (most.pixels == pillow(files[0], "L")).all()


def test_an_image_is_decoded_when_it_is_asked_for(photo, encode, records) -> None:
    torn = bytearray(encode(photo(9, 8), "PNG"))
    torn[60] ^= 255
    faults = {}
    groups = NativeDecoder(Target(shape=ANY)).groups(records([encode(photo(8, 9), "PNG"), bytes(torn)]), faults)
    assert next(groups).positions.tolist() == [0]
    assert not faults
    assert list(groups) == []
    assert reasons(faults) == {1: Reason.CORRUPT_IMAGE}


def test_large_images_come_alone(photo, encode, records) -> None:
    picture = photo(1500, 1800, 1)
    data = encode(picture, "PNG", compress_level=1)
    groups = list(NativeDecoder(Target(shape=ANY)).groups(records([data] * 2), {}))
    assert [group.positions.tolist() for group in groups] == [[0], [1]]
    assert all((group.pixels[0] == picture).all() for group in groups)


@pytest.mark.parametrize("wide", [False, True])
def test_an_image_of_several_bands_is_whole(rng, encode, records, wide) -> None:
    picture = rng.integers(0, 256, (2100, 2100), np.uint8)  # more than is copied at once
    picture = picture.astype(np.uint16) * 251 if wide else picture
    found, _ = decode(records([encode(picture, "TIFF")]))
    assert found[0].dtype == picture.dtype
    np.testing.assert_array_equal(found[0][..., 0], picture)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_turned_upright_or_left(photo, encode, exif, records, orientation, channels) -> None:
    data = encode(photo(20, 30, channels), "JPEG", exif=exif(orientation))
    found, _ = decode(records([data]))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(found[0], upright.reshape(found[0].shape))
    assert found[0].shape[:2] == upright.shape[:2]
    stored, _ = decode(records([data]), orientation=Orientation.IGNORE)
    np.testing.assert_array_equal(stored[0], pillow(data, "L" if channels == 1 else "RGB"))


def test_a_turned_png_lends_its_shape_to_no_other(photo, encode, exif, records) -> None:
    turned = encode(photo(20, 30), "PNG", exif=exif(6))
    plain = [encode(photo(20, 30), "PNG"), encode(photo(30, 20), "PNG")]
    found, _ = decode(records([turned, *plain]))
    assert found[0].shape == (30, 20, 3)
    for position, data in enumerate(plain, 1):
        np.testing.assert_array_equal(found[position], pillow(data, "RGB"))


def test_a_model_of_one_size_takes_no_other(photo, encode, records) -> None:
    files = [encode(photo(28, 28), "PNG"), encode(photo(28, 28, 1), "PNG"), encode(photo(28, 29), "PNG")]
    found, faults = decode(records(files), (28, 28, 1))
    assert [found[0].shape, found[1].shape] == [(28, 28, 3), (28, 28, 1)]
    assert reasons(faults) == {2: Reason.WRONG_SIZE}


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_a_model_of_one_size_resizes_on_request(photo, encode, records, channels, mode) -> None:
    data = encode(photo(40, 50, channels), "PNG")
    found, _ = decode(records([data, encode(photo(28, 28, channels), "PNG")]), (28, 28, 1), resize=Resize.STRETCH)
    with Image.open(io.BytesIO(data)) as image:
        resized = np.asarray(image.resize((28, 28), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(found[0], resized.reshape(28, 28, channels))
    np.testing.assert_array_equal(found[0].shape, found[1].shape)


def test_too_many_pixels_are_refused_before_they_are_decoded(photo, encode, records) -> None:
    _, faults = decode(records([encode(photo(20, 30), "PNG")]), max_pixels=599)
    assert reasons(faults) == {0: Reason.TOO_MANY_PIXELS}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays_pass_through_in_parts(rng, records, dtype, channels) -> None:
    pixels = (rng.random((9, 700, 900, channels)) * (1 if dtype is np.float32 else 256)).astype(dtype)
    known = Fault(stage=Stage.READ, reason=Reason.WRONG_TYPE, detail="a label")
    found, faults = decode(records(pixels, {7: known}))
    assert faults == {7: known}
    for position, image in found.items():
        assert image.dtype == dtype
        np.testing.assert_array_equal(image, pixels[position])


def test_an_array_that_is_not_finite_is_one_fault_where_it_is(rng, records) -> None:
    pixels = rng.normal(size=(9, 900, 900, 1)).astype(np.float32)
    pixels[8, 5, 6] = np.nan
    _, faults = decode(records(pixels))
    assert reasons(faults) == {8: Reason.NON_FINITE_INPUT}


def test_a_file_in_counts_is_one_fault_where_it_is(photo, encode, records) -> None:
    counts = photo(20, 30, 1)[..., 0] * np.float32(12)
    batch = records([encode(counts.astype(kind), "TIFF") for kind in (np.uint16, np.float32, np.uint16)])
    found, faults = decode(batch)
    assert reasons(faults) == {1: Reason.WRONG_SCALE}
    assert faults[1].detail.endswith("set --white 4095")
    assert sorted(found) == [0, 2]
    assert not decode(batch, white=4095)[1]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((3, 40, 50, 1), Reason.TOO_MANY_PIXELS),
        ((3, 0, 5, 1), Reason.WRONG_SIZE),
        ((3, 7), Reason.WRONG_SIZE),
    ],
)
def test_arrays_that_are_no_images_are_rejects(records, shape, reason) -> None:
    _, faults = decode(records(np.zeros(shape, np.uint8)), max_pixels=1999)
    assert reasons(faults) == dict.fromkeys(range(3), reason)


@pytest.mark.parametrize(("model", "taken"), [(1, True), (3, False), (5, True), (6, False)])
def test_five_channels_are_for_grey_models_and_those_of_five(rng, records, model, taken) -> None:
    pixels = rng.integers(0, 256, (3, 4, 5, 5), np.uint8)
    found, faults = decode(records(pixels), (None, None, model))
    assert reasons(faults) == ({} if taken else dict.fromkeys(range(3), Reason.WRONG_CHANNELS))
    assert all(np.array_equal(image, pixels[at]) for at, image in found.items())


def test_arrays_are_resized_for_a_model_of_one_size(rng, records) -> None:
    pixels = rng.integers(0, 256, (3, 9, 8, 3), np.uint8)
    _, faults = decode(records(pixels), (6, 6, 1))
    assert set(reasons(faults).values()) == {Reason.WRONG_SIZE}
    found, _ = decode(records(pixels), (6, 6, 1), resize=Resize.STRETCH)
    for position, image in found.items():
        expected = Image.fromarray(pixels[position]).resize((6, 6), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(image, np.asarray(expected))


def test_a_model_of_vectors_takes_vectors(rng, encode, photo, records) -> None:
    vectors = rng.normal(size=(5, 7)).astype(np.float32)
    found, _ = decode(records(vectors), (7,))
    np.testing.assert_array_equal(np.stack([found[position] for position in range(5)]), vectors)
    _, faults = decode(records([encode(photo(4, 5), "PNG")]), (7,))
    assert reasons(faults) == {0: Reason.WRONG_LENGTH}


@pytest.mark.parametrize("format", [ImageFormat.LOSSLESS, ImageFormat.TIFF])
def test_what_is_written_is_what_was_read(kinds, records, format) -> None:
    encoder = ImageEncoder(format, 90)
    once, _ = decode(records([data for data, _ in kinds]))
    files = [encoder.encode(once[position], data).data for position, (data, _) in enumerate(kinds)]
    again, faults = decode(records(files))
    assert not faults
    for position, pixels in once.items():
        np.testing.assert_array_equal(again[position], pixels)
