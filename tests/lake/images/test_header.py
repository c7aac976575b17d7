import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from lake.core.records import Reason
from lake.images.header import read_header
from lake.images.types import Header, ImageCodec, ImageError


def seen(header: Header) -> tuple[object, ...]:
    return header.format, header.width, header.height, header.channels, header.depth, header.alpha, header.palette


@pytest.mark.parametrize(
    ("format", "mode", "options", "expected"),
    [
        ("PNG", "L", {}, (ImageCodec.PNG, 1, 8, False, False)),
        ("PNG", "1", {}, (ImageCodec.PNG, 1, 1, False, False)),
        ("PNG", "RGB", {}, (ImageCodec.PNG, 3, 8, False, False)),
        ("PNG", "RGBA", {}, (ImageCodec.PNG, 3, 8, True, False)),
        ("PNG", "LA", {}, (ImageCodec.PNG, 1, 8, True, False)),
        ("PNG", "P", {}, (ImageCodec.PNG, 3, 8, False, True)),
        ("JPEG", "L", {}, (ImageCodec.JPEG, 1, 8, False, False)),
        ("JPEG", "RGB", {"progressive": True}, (ImageCodec.JPEG, 3, 8, False, False)),
        ("JPEG", "CMYK", {}, (ImageCodec.JPEG, 4, 8, False, False)),
        ("WEBP", "RGB", {"lossless": False}, (ImageCodec.WEBP, 3, 8, False, False)),
        ("WEBP", "RGB", {"lossless": True}, (ImageCodec.WEBP, 3, 8, False, False)),
        ("WEBP", "RGBA", {"lossless": False}, (ImageCodec.WEBP, 3, 8, True, False)),
        ("WEBP", "RGBA", {"lossless": True}, (ImageCodec.WEBP, 3, 8, True, False)),
        ("TIFF", "L", {}, (ImageCodec.TIFF, 1, 8, False, False)),
        ("TIFF", "1", {"compression": "group4"}, (ImageCodec.TIFF, 1, 1, False, False)),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}, (ImageCodec.TIFF, 3, 8, False, False)),
        ("TIFF", "RGBA", {}, (ImageCodec.TIFF, 3, 8, True, False)),
        ("TIFF", "P", {}, (ImageCodec.TIFF, 3, 8, False, True)),
        ("TIFF", "CMYK", {}, (ImageCodec.TIFF, 4, 8, False, False)),
        ("BMP", "RGB", {}, (ImageCodec.BMP, 3, 8, False, False)),
        ("BMP", "L", {}, (ImageCodec.BMP, 3, 8, False, True)),
        ("GIF", "P", {}, (ImageCodec.GIF, 3, 8, False, True)),
    ],
)
def test_a_header_says_what_was_written(photo, encode, format, mode, options, expected) -> None:
    image = Image.fromarray(photo(20, 30, 4 if "A" in mode else 3)).convert(mode)
    kind, *rest = expected
    assert seen(read_header(encode(image, format, **options))) == (kind, 30, 20, *rest)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_orientation_is_found_where_each_format_keeps_it(photo, encode, exif, format, orientation) -> None:
    options = {"tiffinfo": {274: orientation}} if format == "TIFF" else {"exif": exif(orientation)}
    assert read_header(encode(photo(9, 7), format, **options)).orientation == orientation


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_out_of_range_counts_as_none(photo, encode, exif, value) -> None:
    assert read_header(encode(photo(9, 7), "JPEG", exif=exif(value))).orientation == 1


@pytest.mark.parametrize("cut", range(6, 32, 3))
def test_a_damaged_exif_block_leaves_the_image_as_it_is(photo, encode, exif, cut) -> None:
    assert read_header(encode(photo(9, 7), "JPEG", exif=exif(6)[:cut])).orientation in (1, 6)


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9",
        b"%PDF-1.7\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!DOCTYPE html><html></html>",
        b"hello",
        b"PK\x03\x04",
        b"\x00\x00\x01\x00\x01\x00",
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
        b"\x89PNG\r\n",
        b"\xff",
        b"P6 2 2 255 ",
    ],
)
def test_what_is_not_on_the_list_is_refused(data) -> None:
    with pytest.raises(ImageError) as caught:
        read_header(data)
    assert caught.value.reason is Reason.UNKNOWN_FORMAT


def bomb_png(width: int, height: int) -> bytes:
    rows = zlib.compress(bytes(1 << 20), 9)  # a few kB
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bomb_tiff(**tags: int) -> bytes:
    numbers = {
        "width": 256,
        "height": 257,
        "offset": 273,
        "rows": 278,
        "bytes": 279,
        "across": 322,
        "down": 323,
        "tile": 324,
    }
    entries = sorted((numbers[name], value) for name, value in tags.items())
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\x00" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4)


BOMBS = {
    "png": bomb_png(60000, 60000),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 60000, 60000, 0, 0, 0) + b"\x2c" + struct.pack("<HHHHB", 0, 0, 9, 9, 0),
    "bmp": b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 60000, -60000, 1, 24, 0, 0, 0, 0, 0, 0),
    "webp": b"RIFF\x1a\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02\x00\x00\x00" + b"\xff\xff\x00" * 2 + bytes(4),
    "jpeg": b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00"
    b"\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00",
    "tiff": bomb_tiff(width=60000, height=60000, offset=8, rows=60000, bytes=8),
    "tiff tile": bomb_tiff(width=9, height=9, across=1 << 20, down=1 << 20, tile=8, bytes=8)[:-4] + bytes(4),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once_and_without_allocating(name) -> None:
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(ImageError) as caught:
        read_header(BOMBS[name])
    elapsed, peak = time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason is Reason.TOO_MANY_PIXELS, caught.value.detail
    assert elapsed < 0.05  # 10 ms on a quiet machine
    assert peak < 100_000


def test_the_limit_of_pixels_is_exact(photo, encode) -> None:
    data = encode(photo(20, 30), "PNG")
    assert read_header(data, max_pixels=600).width == 30
    with pytest.raises(ImageError, match="30x20 pixels, more than the 599"):
        read_header(data, max_pixels=599)


def test_a_tiff_with_an_absurd_number_of_strips_is_refused(photo, encode) -> None:
    data = bytearray(encode(photo(20, 30), "TIFF"))
    at = data.index(struct.pack("<HH", 273, 4))
    data[at + 4 : at + 8] = struct.pack("<I", 0x7FFFFFFF)
    with pytest.raises(ImageError) as caught:
        read_header(bytes(data))
    assert caught.value.reason is Reason.CORRUPT_IMAGE


@pytest.mark.parametrize("place", [(5, 0, 5, 9), (0, 1, 9, 9), (0, 0, 0, 9), (0, 0, 65535, 65535)])
def test_a_gif_whose_frame_leaves_its_screen_is_refused(place) -> None:
    with pytest.raises(ImageError, match="first frame of") as caught:
        read_header(b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b"\x2c" + struct.pack("<HHHHB", *place, 0))
    assert caught.value.reason is Reason.CORRUPT_IMAGE


def test_a_bigtiff_without_an_image_is_refused() -> None:
    with pytest.raises(ImageError, match="BigTIFF: cut off") as caught:
        read_header(b"II\x2b\x00\x08\x00\x00\x00" + bytes(7))
    assert caught.value.reason is Reason.CORRUPT_IMAGE


def test_a_tiff_of_complex_numbers_is_refused_by_name() -> None:
    with pytest.raises(ImageError, match="64 bits, sample format 6") as caught:
        read_header(raw_tiff(np.ones((4, 5, 1), np.complex64)))
    assert caught.value.reason is Reason.UNSUPPORTED_IMAGE


def raw_tiff(pixels: np.ndarray) -> bytes:
    """An uncompressed little-endian TIFF of one strip, written by hand."""
    height, width, channels = pixels.shape
    kind = {"u": 1, "i": 2, "f": 3, "c": 6}[pixels.dtype.kind]
    data, bits = pixels.tobytes(), 8 * pixels.dtype.itemsize
    after = 8 + len(data)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, bits if channels == 1 else after),
        (259, 3, 1, 1),
        (262, 3, 1, 1 if channels == 1 else 2),
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
        (339, 3, 1, kind),
    ]
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    depths = struct.pack(f"<{channels}H", *[bits] * channels)
    head = b"II*\x00" + struct.pack("<I", after + len(depths))
    return head + data + depths + struct.pack("<H", len(entries)) + rows + bytes(4)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_tiff_of_inverted_grey_that_has_no_largest_number_is_refused(dtype) -> None:
    data = bytearray(raw_tiff(np.ones((4, 5, 1), dtype)))
    at = data.index(struct.pack("<HHII", 262, 3, 1, 1))
    data[at + 8] = 0  # WhiteIsZero
    with pytest.raises(ImageError, match="photometric 0") as caught:
        read_header(bytes(data))
    assert caught.value.reason is Reason.UNSUPPORTED_IMAGE


TINY = struct.pack(">I4sI", 0, b"aaAa", zlib.crc32(b"aaAa"))


@pytest.mark.parametrize(
    "data",
    [
        bomb_png(9, 9)[:33] + TINY * 300_000,
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 300_000,
        b"\xff\xd8" + b"\xff" * 3_000_000,
        b"RIFF" + struct.pack("<I", 2_400_004) + b"WEBP" + b"ABCD\x00\x00\x00\x00" * 300_000,
        b"GIF89a\x09\x00\x09\x00\x00\x00\x00" + b"\x21\xfe\x00" * 300_000,
    ],
    ids=["png", "jpeg", "jpeg fill", "webp", "gif"],
)
def test_hundreds_of_thousands_of_parts_take_no_time(data) -> None:
    started = time.perf_counter()
    with pytest.raises(ImageError) as caught:
        read_header(data)
    assert caught.value.reason is Reason.CORRUPT_IMAGE
    assert time.perf_counter() - started < 5
