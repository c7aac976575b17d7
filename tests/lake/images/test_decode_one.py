import io
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps

from lake.core.records import Reason
from lake.core.tensorflow import tensorflow
from lake.images import decode_one
from lake.images.header import read_header
from lake.images.types import Color, ImageError, Orientation, Resize, Target


def decode(data, shape, **policy):
    return decode_one.decode_one(data, read_header(data), Target(shape=shape, **policy))


def refused(data, shape, **policy):
    with pytest.raises(ImageError) as caught:
        decode(data, shape, **policy)
    return caught.value


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "packbits"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_colour_comes_back_exactly(photo, encode, format, options) -> None:
    pixels = photo(21, 34)
    np.testing.assert_array_equal(decode(encode(pixels, format, **options), (21, 34, 3)), pixels)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF"])
def test_lossless_grey_comes_back_exactly_and_spreads_to_rgb(photo, encode, format) -> None:
    pixels = photo(21, 34, 1)  # BMP and GIF keep grey as a palette
    data = encode(pixels, format)
    np.testing.assert_array_equal(decode(data, (21, 34, 1)), pixels)
    np.testing.assert_array_equal(decode(data, (21, 34, 3)), pixels.repeat(3, axis=2))


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_of_tiff(photo, encode, order) -> None:
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30) * 109
    image = (
        Image.fromarray(pixels) if order == "<" else Image.frombytes("I;16B", (30, 20), pixels.astype(">u2").tobytes())
    )
    data = encode(image, "TIFF")
    assert data[:2] == (b"II" if order == "<" else b"MM")
    decoded = decode(data, (20, 30, 1))
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded[..., 0], pixels)


def test_jpeg_equals_an_independent_decoder(photo, encode) -> None:
    from lake.core.tensorflow import tensorflow

    data = encode(photo(33, 47), "JPEG", quality=80)
    golden = tensorflow().io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    np.testing.assert_array_equal(decode(data, (33, 47, 3)), golden)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_keeps_its_16_bits(rng, png, channels) -> None:
    pixels = rng.integers(0, 65536, (9, 11, channels), np.uint16)
    grey = channels < 3
    decoded = decode(png(pixels), (9, 11, 1 if grey else 3))
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, pixels[..., : 1 if grey else 3])


def test_float_tiff_comes_as_float32(rng, encode) -> None:
    pixels = rng.normal(size=(9, 11)).astype(np.float32)
    decoded = decode(encode(pixels, "TIFF"), (9, 11, 1))
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded[..., 0], pixels)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_float_tiff_that_is_not_finite_is_refused(encode, value) -> None:
    pixels = np.zeros((4, 4), np.float32)
    pixels[2, 1] = value
    assert refused(encode(pixels, "TIFF"), (4, 4, 1)).reason is Reason.NON_FINITE_INPUT


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "GIF"])
def test_1_bit_becomes_0_and_255(rng, encode, format) -> None:
    bits = rng.integers(0, 2, (9, 11)).astype(bool)
    np.testing.assert_array_equal(decode(encode(bits, format), (9, 11, 1))[..., 0], bits * np.uint8(255))


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_colour_palette_is_looked_up(rng, encode, format) -> None:
    palette = rng.integers(0, 256, (256, 3), np.uint8)
    indices = rng.integers(0, 256, (9, 11), np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    data = encode(image, format)
    np.testing.assert_array_equal(decode(data, (9, 11, 3)), palette[indices])
    assert refused(data, (9, 11, 1)).reason is Reason.WRONG_CHANNELS


@pytest.mark.parametrize("transparency", [7, bytes(range(256))])
def test_transparency_of_a_palette_is_dropped(rng, encode, transparency) -> None:
    palette = rng.integers(0, 256, (256, 3), np.uint8)
    indices = rng.integers(0, 256, (9, 11), np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    data = encode(image, "PNG", transparency=transparency)
    np.testing.assert_array_equal(decode(data, (9, 11, 3)), palette[indices])
    alpha = decode(data, (9, 11, 4))[..., 3]
    expected = (indices != 7) * 255 if transparency == 7 else indices
    np.testing.assert_array_equal(alpha, expected)


@pytest.mark.parametrize(("channels", "format"), [(2, "PNG"), (4, "PNG"), (4, "TIFF"), (4, "WEBP")])
def test_alpha_is_dropped_without_blending(rng, encode, photo, channels, format) -> None:
    pixels = photo(9, 11, channels)
    data = encode(pixels, format, **({"lossless": True, "exact": True} if format == "WEBP" else {}))
    colours = 1 if channels == 2 else 3
    np.testing.assert_array_equal(decode(data, (9, 11, colours)), pixels[..., :colours])
    if channels == 4:
        np.testing.assert_array_equal(decode(data, (9, 11, 4)), pixels)


def test_what_has_no_alpha_becomes_opaque_for_four_channels(photo, encode) -> None:
    pixels = photo(9, 11)
    decoded = decode(encode(pixels, "PNG"), (9, 11, 4))
    np.testing.assert_array_equal(decoded[..., :3], pixels)
    assert (decoded[..., 3] == 255).all()


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_cmyk_becomes_rgb(encode, format) -> None:
    inks = np.array([[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255]], np.uint8)
    image = Image.fromarray(inks.repeat(64, axis=0).reshape(40, 8, 4), mode=None)
    image = Image.frombytes("CMYK", (8, 40), np.asarray(image).tobytes())
    decoded = decode(encode(image, format, quality=100), (40, 8, 3))  # Pillow writes JPEG as Adobe does: inverted
    expected = np.array([[255, 255, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]])
    np.testing.assert_allclose(decoded[4::8, 4].astype(int), expected, atol=4 if format == "JPEG" else 0)


def test_colour_to_grey_only_on_request_and_by_601_luma(encode) -> None:
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    data = encode(Image.fromarray(pixels), "PNG")
    assert refused(data, (1, 4, 1)).reason is Reason.WRONG_CHANNELS
    assert decode(data, (1, 4, 1), color=Color.CONVERT).ravel().tolist() == [76, 150, 29, 255]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_as_tensorflow_reads_it(rng, png, channels) -> None:
    data = png(rng.integers(0, 65536, (9, 11, channels), np.uint16))
    golden = tensorflow().io.decode_png(data, dtype="uint16").numpy()
    np.testing.assert_array_equal(decode_one.decode_stored(data, read_header(data)), golden)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_that_is_damaged(rng, png, channels) -> None:
    """A bit of a CRC, the end of the file, and rows that are not there, the CRC being right."""
    data = png(rng.integers(0, 65536, (9, 11, channels), np.uint16))
    begin = data.index(b"IDAT") + 4
    length = int.from_bytes(data[begin - 8 : begin - 4])
    short = zlib.compress(zlib.decompress(data[begin : begin + length])[:50])
    chunk = len(short).to_bytes(4) + b"IDAT" + short + zlib.crc32(b"IDAT" + short).to_bytes(4)
    for bad in (
        data[: begin + length] + bytes([data[begin + length] ^ 1]) + data[begin + length + 1 :],
        data[:-30],
        data[: begin - 8] + chunk + data[begin + length + 4 :],
    ):
        with pytest.raises(ImageError) as caught:
            decode_one.decode_stored(bad, read_header(bad))
        assert caught.value.reason is Reason.CORRUPT_IMAGE


def test_16_bit_luma_is_the_8_bit_one_but_finer(rng, png) -> None:
    pixels = rng.integers(0, 256, (9, 11, 3), np.uint8)
    fine = decode(png(pixels.astype(np.uint16) * 257), (9, 11, 1), color=Color.CONVERT)
    coarse = decode(png(pixels), (9, 11, 1), color=Color.CONVERT)
    np.testing.assert_allclose(fine / 257, coarse, atol=0.51)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_orientation_is_undone_as_pillow_s_exif_transpose_does(photo, encode, exif, format, orientation) -> None:
    pixels = photo(12, 20)
    options = {"tiffinfo": {274: orientation}} if format == "TIFF" else {"exif": exif(orientation)}
    data = encode(pixels, format, **options, **({"lossless": True} if format == "WEBP" else {}))
    golden = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(decode(data, golden.shape), golden)
    stored = decode(data, (12, 20, 3), orientation=Orientation.IGNORE)
    plain = pixels if format != "JPEG" else np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(stored, plain)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(photo, encode, format) -> None:
    first, second = photo(9, 11) // 64 * 64, photo(9, 11)
    frames = [Image.fromarray(second)]
    lossless = {"lossless": True} if format == "WEBP" else {}
    data = encode(
        Image.fromarray(first).quantize(256).convert("RGB"), format, save_all=True, append_images=frames, **lossless
    )
    golden = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode(data, (9, 11, 3)), golden)


def test_a_tiff_of_several_pages_gives_its_first(photo, encode) -> None:
    pages = [photo(9, 11), photo(9, 11)]
    data = encode(pages[0], "TIFF", save_all=True, append_images=[Image.fromarray(pages[1])])
    np.testing.assert_array_equal(decode(data, (9, 11, 3)), pages[0])


def test_a_size_that_differs_is_refused_or_resized(photo, encode) -> None:
    pixels = photo(40, 30)
    data = encode(pixels, "PNG")
    error = refused(data, (20, 15, 3))
    assert (error.reason, "40x30" in error.detail, "20x15" in error.detail) == (Reason.WRONG_SIZE, True, True)
    golden = np.asarray(Image.fromarray(pixels).resize((15, 20), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(decode(data, (20, 15, 3), resize=Resize.STRETCH), golden)


def test_a_wide_image_is_resized_in_its_own_depth(png) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None, :, None].repeat(8, axis=0)
    small = decode(png(ramp), (4, 16, 1), resize=Resize.STRETCH)
    assert small.dtype == np.uint16
    np.testing.assert_allclose(small[0, 2:-2, 0], ramp[0].reshape(16, 4).mean(axis=1)[2:-2], atol=40)


def test_decoders_never_warn_and_never_see_metadata(photo, encode) -> None:
    pixels = photo(9, 11)
    junk = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + bytes(range(200))  # a directory that claims 65535 entries
    for format in ("JPEG", "PNG"):
        assert decode(encode(pixels, format, exif=junk, icc_profile=b"no profile"), (9, 11, 3)).shape == (9, 11, 3)
    tags = {270: "text", 33432: "text", 700: b"<x:xmpmeta/>"}
    data = bytearray(encode(pixels, "TIFF", tiffinfo=tags))
    at = data.index(b"\x0e\x01\x02\x00")  # tag 270's entry: let its text reach beyond the file
    data[at + 4 : at + 8] = b"\xff\xff\xff\x00"
    np.testing.assert_array_equal(decode(bytes(data), (9, 11, 3)), pixels)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
@pytest.mark.parametrize(("height", "width"), [(34, 21), (21, 17), (20, 34), (22, 34)])
def test_pixels_of_another_size_than_the_header_says_are_not_taken(photo, encode, format, height, width) -> None:
    """What was allowed by the header was that size: a decoder that finds another image is not believed."""
    data = encode(photo(21, 34, 1 if format == "GIF" else 3), format)
    header = replace(read_header(data), height=height, width=width)
    for decoded in (
        lambda: decode_one.decode_one(data, header, Target(shape=(height, width, 3))),
        lambda: decode_one.decode_stored(data, header),
    ):
        with pytest.raises(
            ImageError, match=rf"decodes to \(34, 21\), its header says \({width}, {height}\)"
        ) as caught:
            decoded()
        assert caught.value.reason is Reason.CORRUPT_IMAGE
