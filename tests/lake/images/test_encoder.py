"""Every format, depth and number of channels, read back by other libraries and by this one."""

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from lake.core.records import Reason, Stage
from lake.core.tensorflow import tensorflow
from lake.images import decode_one
from lake.images.encoder import ImageEncoder, ImageFormat
from lake.images.header import read_header
from lake.images.types import ImageError

DTYPES = (np.uint8, np.uint16, np.float32)


def encoded(pixels, format=ImageFormat.LOSSLESS, original=None, quality=90):
    return ImageEncoder(format, quality).encode(pixels, original)


def ours(data):
    return decode_one.decode_stored(data, read_header(data))


def pillow(data):
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


@pytest.fixture
def picture(rng, photo):
    """Pixels of any type [H, W, K], with values that use all of it."""

    def make(dtype, channels, height=37, width=53):
        smooth = photo(height, width, channels)
        if dtype == np.uint8:
            return smooth
        if dtype == np.uint16:
            return smooth.astype(np.uint16) * 256 + rng.integers(0, 256, smooth.shape, np.uint16)
        return (smooth / 200 + rng.normal(0, 0.3, smooth.shape)).astype(np.float32)

    return make


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_is_read_alike_by_tensorflow_pillow_and_here(picture, dtype, channels) -> None:
    pixels = picture(dtype, channels)
    file = encoded(pixels)
    assert file.suffix == "png"
    np.testing.assert_array_equal(tensorflow().io.decode_png(file.data, dtype=dtype).numpy(), pixels)
    np.testing.assert_array_equal(ours(file.data), pixels)
    if dtype == np.uint8 or channels == 1:  # of 16-bit colour Pillow keeps 8 bits
        np.testing.assert_array_equal(pillow(file.data), pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tiff_is_read_alike_by_tifffile_pillow_and_here(picture, dtype, channels) -> None:
    pixels = picture(dtype, channels, 700, 53)  # several strips, and a last one that is shorter
    file = encoded(pixels, ImageFormat.TIFF)
    assert file.suffix == "tif"
    read = tifffile.imread(io.BytesIO(file.data))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read.reshape(pixels.shape), pixels)
    np.testing.assert_array_equal(ours(file.data), pixels)
    if dtype == np.uint8 or channels == 1:
        np.testing.assert_array_equal(pillow(file.data), pixels)


def test_floats_are_lossless_as_tiff_also_outside_0_and_1(picture) -> None:
    pixels = picture(np.float32, 3)
    assert pixels.min() < 0 and pixels.max() > 1
    file = encoded(pixels)
    assert file.suffix == "tif"
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(file.data)), pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_webp_asked_for_is_lossless_also_below_alpha(picture, channels) -> None:
    pixels = picture(np.uint8, channels)
    pixels[:5, :, -1] = 0
    file = encoded(pixels, ImageFormat.WEBP)
    assert file.suffix == "webp"
    colour = pixels if channels > 2 else pixels[..., [0, 0, 0, 1][: channels + 2]]
    np.testing.assert_array_equal(pillow(file.data), colour)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [70, 95])
def test_jpeg_is_what_pillow_writes_at_that_quality_without_subsampling(picture, encode, channels, quality) -> None:
    pixels = picture(np.uint8, channels)
    file = encoded(pixels, ImageFormat.JPEG, quality=quality)
    assert file.suffix == "jpg"
    expected = pillow(encode(pixels, "JPEG", quality=quality, subsampling=0))
    np.testing.assert_array_equal(pillow(file.data), expected)


@pytest.mark.parametrize(
    ("name", "options", "suffix", "exactly"),
    [
        ("PNG", {}, "png", True),
        ("TIFF", {}, "tif", True),
        ("BMP", {}, "png", True),
        ("GIF", {}, "png", True),
        ("JPEG", {}, "jpg", False),
        ("WEBP", {"lossless": True}, "webp", True),
        ("WEBP", {"lossless": True, "save_all": True, "append_images": [Image.new("RGB", (53, 37))]}, "webp", True),
        ("WEBP", {"quality": 80}, "webp", False),
    ],
)
def test_the_same_format_is_the_originals(picture, encode, name, options, suffix, exactly) -> None:
    pixels = picture(np.uint8, 3)
    file = encoded(pixels, ImageFormat.SAME, encode(picture(np.uint8, 3), name, **options))
    assert file.suffix == suffix
    read = pillow(file.data)
    assert np.array_equal(read, pixels) == exactly
    assert np.abs(read.astype(int) - pixels).mean() < 12


@pytest.mark.parametrize(("dtype", "suffix"), [(np.uint8, "png"), (np.uint16, "png"), (np.float32, "tif")])
def test_the_same_format_without_an_original_is_lossless(picture, dtype, suffix) -> None:
    pixels = picture(dtype, 1)
    file = encoded(pixels, ImageFormat.SAME)
    assert file.suffix == suffix
    np.testing.assert_array_equal(ours(file.data), pixels)


@pytest.mark.parametrize("bands", [False, True])
def test_pixels_may_come_from_what_is_no_image(picture, bands) -> None:
    """As those that ``decode`` makes of a latent."""
    pixels = picture(np.uint8, 1 + bands)
    latent = io.BytesIO()
    np.save(latent, np.zeros((2, 2, 4), np.float32))
    made = ImageEncoder(ImageFormat.LOSSLESS, 90).encode(pixels, latent.getvalue(), bands=bands)
    assert made.suffix == ("tif" if bands else "png")
    np.testing.assert_array_equal(ours(made.data), pixels)


@pytest.mark.parametrize(
    ("format", "dtype", "shape", "text"),
    [
        (ImageFormat.JPEG, np.uint8, (4, 5, 2), "no alpha"),
        (ImageFormat.JPEG, np.uint8, (4, 5, 4), "no alpha"),
        (ImageFormat.JPEG, np.uint16, (4, 5, 1), "no 16 bits"),
        (ImageFormat.JPEG, np.float32, (4, 5, 3), "no floating pixels"),
        (ImageFormat.JPEG, np.uint8, (1, 65501, 1), "at most 65500"),
        (ImageFormat.WEBP, np.uint16, (4, 5, 3), "no 16 bits"),
        (ImageFormat.WEBP, np.float32, (4, 5, 3), "no floating pixels"),
        (ImageFormat.WEBP, np.uint8, (16384, 1, 3), "at most 16383"),
        (ImageFormat.PNG, np.float32, (4, 5, 1), "no floating pixels"),
        (ImageFormat.PNG, np.uint8, (4, 5, 5), "5 channels"),
        (ImageFormat.JPEG, np.uint8, (4, 5, 5), "5 channels"),
        (ImageFormat.PNG, np.int16, (4, 5, 1), "no int16 pixels"),
    ],
)
def test_what_a_format_cannot_keep_is_refused(format, dtype, shape, text) -> None:
    with pytest.raises(ImageError, match=text) as caught:
        encoded(np.zeros(shape, dtype), format)
    fault = pickle.loads(pickle.dumps(caught.value)).fault()
    assert (fault.stage, fault.reason) == (Stage.WRITE, Reason.UNWRITABLE_IMAGE)


def test_more_pixels_than_a_file_may_hold_are_refused() -> None:
    with pytest.raises(ImageError, match="bytes of pixels"):
        encoded(np.broadcast_to(np.uint8(0), (1 << 16, 1 << 15, 1)))


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def grey_profile() -> bytes:
    """An RGB profile whose header says grey: nothing here looks any further."""
    profile = srgb()
    return profile[:16] + b"GRAY" + profile[20:]


@pytest.mark.parametrize("to", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("copies", [1, 200])
def test_a_colour_profile_goes_along_byte_by_byte(picture, encode, name, to, copies) -> None:
    pixels, profile = picture(np.uint8, 3), srgb()
    profile = (
        struct.pack(">I", len(profile) * copies) + (profile * copies)[4:]
    )  # 200 are more than a JPEG segment holds
    file = encoded(pixels, ImageFormat(to), encode(pixels, name, icc_profile=profile))
    with Image.open(io.BytesIO(file.data)) as image:
        image.load()
        assert image.info["icc_profile"] == profile


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_colour_profile_goes_along_in_wide_images(picture, encode, dtype) -> None:
    pixels, profile = picture(dtype, 3), srgb()
    file = encoded(pixels, original=encode(picture(np.uint8, 3), "PNG", icc_profile=profile))
    np.testing.assert_array_equal(ours(file.data), pixels)
    if dtype == np.uint16:
        with Image.open(io.BytesIO(file.data)) as image:
            assert image.info["icc_profile"] == profile
    else:
        with tifffile.TiffFile(io.BytesIO(file.data)) as tiff:
            assert tiff.pages[0].tags[34675].value == profile


def damaged(profile: bytes) -> list[bytes]:
    return [profile[:100], profile[:-1], profile[:36] + b"nope" + profile[40:], profile[:16] + b"CMYK" + profile[20:]]


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_profile_that_is_damaged_or_of_other_colours_is_dropped(picture, encode, name, case) -> None:
    pixels = picture(np.uint8, 3)
    file = encoded(pixels, original=encode(pixels, name, icc_profile=damaged(srgb())[case]))
    np.testing.assert_array_equal(pillow(file.data), pixels)
    assert b"iCCP" not in file.data


def test_a_profile_of_the_wrong_channels_is_dropped(picture, encode) -> None:
    grey, colour = picture(np.uint8, 1), picture(np.uint8, 3)
    assert b"iCCP" in encoded(grey, original=encode(grey, "PNG", icc_profile=grey_profile())).data
    assert b"iCCP" not in encoded(grey, original=encode(colour, "PNG", icc_profile=srgb())).data
    assert b"iCCP" not in encoded(colour, original=encode(grey, "PNG", icc_profile=grey_profile())).data


def test_a_profile_that_unpacks_without_end_or_misses_a_part_is_dropped(png, picture, encode, chunk) -> None:
    pixels = picture(np.uint8, 3)
    bomb = png(pixels, before=chunk(b"iCCP", b"x\x00\x00" + zlib.compress(srgb() + bytes(64 << 20))))
    torn = encode(pixels, "JPEG", icc_profile=srgb() * 200)
    at = torn.index(b"ICC_PROFILE\x00\x02")
    for original in (bomb, torn[: at + 12] + b"\x07" + torn[at + 13 :]):
        assert b"iCCP" not in encoded(pixels, original=original).data


def test_small_and_large_images_are_about_as_small_as_pillow_makes_them(photo, encode) -> None:
    text = np.full((400, 600, 3), 255, np.uint8)
    glyphs = np.random.default_rng(1).integers(0, 2, (20, 11, 9, 1), np.uint8) * 255
    for at in range(1800):
        row, column = at // 50 * 11, at % 50 * 12
        text[row : row + 11, column : column + 9] = glyphs[at * 7919 % 20][: 400 - row]
    for pixels in (photo(32, 32), photo(321, 481), photo(321, 481, 1), text):
        assert len(encoded(pixels).data) < 1.1 * len(encode(pixels, "PNG", compress_level=6))


def test_a_view_of_another_array_is_written_as_it_shows(picture) -> None:
    for dtype in DTYPES:
        pixels = picture(dtype, 4)[::-1, ::2, :3]
        np.testing.assert_array_equal(ours(encoded(pixels).data), pixels)
