"""Rows that are filtered here are taken back by Pillow and TensorFlow."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lake.core.tensorflow import tensorflow
from lake.images.codecs.png_filter import _candidates, filtered
from lake.images.codecs.png_write import write


@pytest.fixture
def read(chunk):
    """What Pillow makes of the filtered rows of an 8-bit image."""

    def make(rows, shape):
        height, width, channels = shape
        head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
        parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows.tobytes())), chunk(b"IEND", b"")
        with Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts))) as image:
            return np.asarray(image).reshape(shape)

    return make


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("filter", range(5))
def test_each_filter_is_undone_by_pillow(rng, read, filter, channels) -> None:
    pixels = rng.integers(0, 4, (60, 70, channels), np.uint8) * 85  # small differences, large ones, and many ties
    rows = pixels.reshape(60, -1)
    up = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    body = _candidates(rows, up, channels)[filter]
    stored = np.concatenate([np.full((60, 1), filter, np.uint8), body], axis=1)
    np.testing.assert_array_equal(read(stored, pixels.shape), pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_bands_join_and_the_filter_of_each_row_has_the_least_sum(photo, read, channels) -> None:
    pixels = photo(700, 300, channels)
    bands = list(filtered(pixels))
    assert len(bands) > 3
    rows = np.concatenate(bands)
    np.testing.assert_array_equal(read(rows, pixels.shape), pixels)
    flat = pixels.reshape(700, -1)
    sums = np.abs(
        _candidates(flat, np.concatenate([np.zeros_like(flat[:1]), flat[:-1]]), channels).astype(np.int8).astype(int)
    )
    np.testing.assert_array_equal(rows[:, 0], sums.sum(axis=2).argmin(axis=0))


@pytest.mark.parametrize("shape", [(700, 300, 1), (700, 300, 3), (300, 400, 4)])
def test_wide_images_of_several_bands_are_read_by_tensorflow(rng, photo, shape) -> None:
    pixels = photo(*shape).astype(np.uint16) * 250 + rng.integers(0, 9, shape, np.uint16)
    read = tensorflow().io.decode_png(write(pixels, b""), dtype=np.uint16).numpy()
    np.testing.assert_array_equal(read, pixels)


def test_a_large_image_is_read_by_pillow(photo) -> None:
    pixels = np.tile(photo(600, 700), (4, 4, 1))
    assert pixels.nbytes > 1 << 24
    with Image.open(io.BytesIO(write(pixels, b""))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
