"""AVIF, HEIC, JPEG 2000 and JPEG XL of 9 to 16 bits, losslessly encoded: the known pixels, with white at 65,535."""

import io
import struct
import time

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from lake.core.records import Reason
from lake.images import decode_one
from lake.images.codecs import icc
from lake.images.encoder import ImageEncoder, ImageFormat
from lake.images.header import read_header
from lake.images.types import ImageError, Target
from lake.images.white import white_of
from tests.lake.images.codecs.damage import count_rejects, damaged, stored

CASES = [
    ("jp2", 9, (1, 3, 4)),
    ("j2k", 12, (1, 2, 3, 4)),
    ("jp2", 16, (1, 2, 3, 4)),
    ("jxl", 9, (1, 3)),
    ("jxl", 12, (1, 2, 3, 4)),
    ("avif", 10, (1, 2, 3, 4)),
    ("avif", 12, (3, 4)),
    ("heic", 10, (1, 3, 4)),
    ("heic", 12, (1, 3)),
]
EACH = [(suffix, bits, channels) for suffix, bits, all in CASES for channels in all]


def written(pixels, suffix, bits):
    """The file of uint16 samples ``[H, W, K]`` of so many bits, without loss."""
    flat = pixels.squeeze(2) if pixels.shape[2] == 1 else pixels
    if suffix in ("jp2", "j2k"):
        return imagecodecs.jpeg2k_encode(flat, reversible=True, level=0, bitspersample=bits, codecformat=suffix)
    if suffix == "jxl":
        return imagecodecs.jpegxl_encode(flat, lossless=True, bitspersample=bits)
    if suffix == "avif":
        return imagecodecs.avif_encode(flat, level=100, bitspersample=bits, speed=9)
    return heic(pixels, bits)


def heic(pixels, bits):
    height, width, channels = pixels.shape
    samples = (pixels << (16 - bits)).tobytes()  # of which libheif's encoder takes the upper bits
    mode = {1: "I;16", 3: "RGB;16", 4: "RGBA;16"}[channels]
    file, out = pillow_heif.from_bytes(mode=mode, size=(width, height), data=samples), io.BytesIO()
    before, pillow_heif.options.SAVE_HDR_TO_12_BIT = pillow_heif.options.SAVE_HDR_TO_12_BIT, bits == 12
    try:
        file.save(out, quality=-1, chroma=444, matrix_coefficients=0)
    finally:
        pillow_heif.options.SAVE_HDR_TO_12_BIT = before
    return out.getvalue()


def known(rng, bits, channels, size=(32, 48)):
    pixels = rng.integers(0, 1 << bits, (*size, channels), np.uint16)
    pixels[0, 0], pixels[0, 1] = 0, (1 << bits) - 1
    return pixels


def at_16_bits(pixels, bits):
    """The nearest integers to the same fractions."""
    return np.rint(pixels * (65535 / ((1 << bits) - 1))).astype(np.uint16)


@pytest.mark.parametrize(("suffix", "bits", "channels"), EACH)
def test_samples_come_back_as_fractions_of_65535(rng, suffix, bits, channels):
    pixels = known(rng, bits, channels)
    data, wanted = written(pixels, suffix, bits), at_16_bits(pixels, bits)
    header = read_header(data)
    if suffix == "avif" and channels == 2:  # Pillow says that grey with alpha is colour
        wanted = wanted[..., [0, 0, 0, 1]]
    assert (header.depth, header.alpha) == (bits, channels in (2, 4))
    np.testing.assert_array_equal(stored(data), wanted)
    colours = wanted[..., :3] if wanted.shape[2] > 2 else wanted[..., [0, 0, 0]]
    target = Target(shape=(32, 48, 3), white=255)  # which concerns floating pixels
    assert white_of(header, target) == 255
    np.testing.assert_array_equal(decode_one.decode_one(data, header, target), colours)


@pytest.mark.parametrize("suffix", ["jp2", "jxl", "avif", "heic"])
def test_they_are_written_as_16_bits(rng, suffix):
    bits = 10 if suffix == "heic" else 12
    pixels = known(rng, bits, 3)
    data = written(pixels, suffix, bits)
    file = ImageEncoder(ImageFormat.SAME, 90).encode(stored(data), data)
    assert file.suffix == "png"
    np.testing.assert_array_equal(imagecodecs.png_decode(file.data), at_16_bits(pixels, bits))


@pytest.mark.parametrize("bits", range(1, 8))
def test_jpeg_xl_of_fewer_bits_has_its_white_at_255(rng, bits):
    pixels = rng.integers(0, 1 << bits, (20, 30, 3), np.uint8)
    data = imagecodecs.jpegxl_encode(pixels, lossless=True, bitspersample=bits)
    np.testing.assert_array_equal(stored(data), np.rint(pixels * (255 / ((1 << bits) - 1))))


@pytest.mark.parametrize("bits", [8, 10])
def test_a_part_of_another_depth_does_not_count_where_the_image_states_its_own(rng, bits):
    pixels = known(rng, bits, 3).astype(np.uint8 if bits == 8 else np.uint16)
    data = imagecodecs.avif_encode(pixels, level=100, bitspersample=bits, speed=9)
    other = b"\x81\x20" + (b"\x40" if bits == 8 else b"\x00") + bytes(1)
    apart = data + struct.pack(">I4s", 24, b"free") + struct.pack(">I4s", 12, b"av1C") + other + bytes(4)
    assert read_header(apart).depth == bits
    np.testing.assert_array_equal(stored(apart), pixels if bits == 8 else at_16_bits(pixels, bits))
    nowhere = apart.replace(b"ipma", b"ipmb")
    with pytest.raises(ImageError):
        read_header(nowhere)


def test_an_avif_of_very_many_parts_takes_no_time(rng):
    data = written(known(rng, 10, 3), "avif", 10)
    data += struct.pack(">I4s", 8 + (32 << 20), b"free") + b"av1C\x81\0\0\0" * (4 << 20)
    before = time.process_time()
    with pytest.raises(ImageError, match="AVIF of more than 4096 parts"):
        read_header(data)
    assert time.process_time() - before < 1


def box(kind, content):
    return struct.pack(">I4s", 8 + len(content), kind) + content


def with_colours(data, *, method=1, colours=b"", more=b""):
    """A JP2 with another box of colours in its header."""
    start, at = data.index(b"jp2h") - 4, data.index(b"colr") - 4
    end, last = start + int.from_bytes(data[start : start + 4]), at + int.from_bytes(data[at : at + 4])
    inside = data[start + 8 : at] + box(b"colr", bytes((method, 0, 0)) + colours) + more + data[last:end]
    return data[:start] + box(b"jp2h", inside) + data[end:]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"colours": struct.pack(">I", 18)}, "12 bits in colour space 18"),  # YCbCr
        ({"colours": struct.pack(">I", 12)}, "12 bits in colour space 12"),  # CMYK
        ({"colours": struct.pack(">I", 16), "more": box(b"pclr", bytes(9))}, "a palette with 12 bits"),
    ],
)
def test_other_colours_of_wide_jpeg_2000_are_refused_by_name(rng, change, text):
    data = written(known(rng, 12, 3), "jp2", 12)
    np.testing.assert_array_equal(stored(with_colours(data, colours=struct.pack(">I", 16))), stored(data))
    with pytest.raises(ImageError, match=text) as caught:
        read_header(with_colours(data, **change))
    assert caught.value.reason is Reason.UNSUPPORTED_IMAGE


def test_channels_of_another_order_are_refused_by_name(rng):
    data = written(known(rng, 12, 4), "jp2", 12)
    with pytest.raises(ImageError, match="12 bits in channels of another order"):
        read_header(with_colours(data, colours=struct.pack(">I", 16), more=box(b"cdef", bytes(26))))


@pytest.mark.parametrize("depths", [(0x8B, 0x8B, 0x8B), (11, 11, 7), (37, 37, 37)])
def test_signed_and_unequal_samples_of_jpeg_2000_are_refused_by_name(rng, depths):
    data = bytearray(written(known(rng, 12, 3), "j2k", 12))
    for component, depth in enumerate(depths):
        data[42 + 3 * component] = depth
    with pytest.raises(ImageError, match=r"JPEG 2000: 3 components of \[\d+, \d+, \d+\] bits") as caught:
        read_header(bytes(data))
    assert caught.value.reason is Reason.UNSUPPORTED_IMAGE


@pytest.mark.parametrize("bits", [8, 16])
def test_the_profile_of_a_jpeg_2000_goes_along(rng, bits):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = known(rng, bits, 3).astype(np.uint8 if bits == 8 else np.uint16)
    data = with_colours(written(pixels, "jp2", bits), method=2, colours=profile)
    assert icc.fitting_profile(data, 3) == profile
    made = ImageEncoder(ImageFormat.SAME, 90).encode(stored(data), data).data
    with Image.open(io.BytesIO(made)) as image:
        assert image.info["icc_profile"] == profile
    np.testing.assert_array_equal(imagecodecs.png_decode(made), pixels)


@pytest.mark.parametrize(("suffix", "bits"), [("jp2", 12), ("jxl", 10), ("avif", 10), ("heic", 10)])
def test_damage_is_a_reject_or_other_pixels_of_the_same_size(rng, suffix, bits):
    data = written(known(rng, bits, 3), suffix, bits)
    assert count_rejects(damaged(rng, data, 60, lambda number: 1 + 20 * number)) > 10
