"""Damaged files: cut off at any byte, and thousands of random mutants."""

import numpy as np
import pytest
from PIL import Image

from lake.core.records import Reason
from lake.images import decode_one
from lake.images.header import read_header
from lake.images.types import ImageError, Target

KINDS = {
    "png": ("PNG", "RGB", {}),
    "png palette": ("PNG", "P", {}),
    "png grey": ("PNG", "L", {}),
    "jpeg": ("JPEG", "RGB", {}),
    "jpeg progressive": ("JPEG", "RGB", {"progressive": True}),
    "jpeg restarts": ("JPEG", "RGB", {"restart_marker_blocks": 1}),
    "jpeg cmyk": ("JPEG", "CMYK", {}),
    "webp": ("WEBP", "RGB", {}),
    "webp lossless": ("WEBP", "RGB", {"lossless": True}),
    "webp alpha": ("WEBP", "RGBA", {}),
    "tiff": ("TIFF", "RGB", {}),
    "tiff lzw": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "tiff deflate": ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
    "tiff jpeg": ("TIFF", "RGB", {"compression": "jpeg"}),
    "tiff float": ("TIFF", "F", {}),
    "bmp": ("BMP", "RGB", {}),
    "bmp palette": ("BMP", "P", {}),
    "gif": ("GIF", "P", {}),
}
ALLOWED = {
    *(Reason.EMPTY_IMAGE, Reason.UNKNOWN_FORMAT, Reason.UNSUPPORTED_IMAGE, Reason.CORRUPT_IMAGE),
    *(Reason.TOO_MANY_PIXELS, Reason.WRONG_SIZE, Reason.WRONG_CHANNELS, Reason.NON_FINITE_INPUT),
    Reason.WRONG_SCALE,
}
TARGET = Target(shape=(22, 19, 3), max_pixels=1 << 20, white=255)


@pytest.fixture(params=KINDS)
def whole(request, photo, encode):
    format, mode, options = KINDS[request.param]
    return encode(Image.fromarray(photo(22, 19)).convert(mode), format, **options)


def outcome(data):
    try:
        return decode_one.decode_one(data, read_header(data, TARGET.max_pixels), TARGET)
    except ImageError as error:
        assert error.reason in ALLOWED
        assert len(error.detail) < 400
        return error


def test_a_file_cut_off_never_gives_other_pixels(whole) -> None:
    golden = outcome(whole)
    assert isinstance(golden, np.ndarray), golden
    cut = [outcome(whole[:end]) for end in range(0, len(whole), 7)]
    survivors = [pixels for pixels in cut if isinstance(pixels, np.ndarray)]
    for pixels in survivors:  # only the padding after the last row was lost
        np.testing.assert_array_equal(pixels, golden)
    assert len(survivors) <= 2


def test_mutants_never_crash(rng, whole, capfd) -> None:
    golden = outcome(whole)
    same = refused = 0
    for n in range(120):
        mutant = bytearray(whole)
        for _ in range(rng.integers(1, 5)):  # every other one in the header
            mutant[rng.integers(0, min(len(mutant), 200 if n % 2 else len(mutant)))] = rng.integers(256)
        result = outcome(bytes(mutant))
        refused += isinstance(result, ImageError)
        same += isinstance(result, np.ndarray) and np.array_equal(result, golden)
    assert refused
    capfd.readouterr()  # libtiff reports on standard error what it refuses


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_no_damage_of_a_png_goes_unnoticed(rng, photo, encode, mode) -> None:
    whole = encode(Image.fromarray(photo(22, 19)).convert(mode), "PNG")
    for position in range(len(whole)):
        mutant = bytearray(whole)
        mutant[position] ^= 1 << rng.integers(8)
        assert isinstance(outcome(bytes(mutant)), ImageError), position


def test_what_follows_the_end_does_not_matter(photo, encode) -> None:
    for format in ("PNG", "JPEG", "GIF", "BMP", "TIFF"):
        data = encode(photo(22, 19), format)
        np.testing.assert_array_equal(outcome(data + b"\x00" * 9 + data), outcome(data))


def test_random_bytes_after_each_magic_number(rng) -> None:
    magics = [
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"II*\x00",
        b"MM\x00*",
        b"GIF89a",
        b"BM",
        b"RIFF\x40\x00\x00\x00WEBP",
    ]
    for magic in magics:
        for size in rng.integers(0, 300, 60).tolist():
            assert isinstance(outcome(magic + rng.bytes(size)), ImageError)
