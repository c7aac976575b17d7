"""Tiny PNGs decoded as one, against the exact path."""

import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from lake.core.records import Array
from lake.images import decode_one, tall_png
from lake.images.file_by_file import decode_files
from lake.images.header import read_header
from lake.images.types import ImageCodec, ImageError, Target

SHAPES = [(28, 28, 1), (16, 20, 3), (1, 1, 1), (1, 9, 3), (9, 1, 1)]


@pytest.fixture
def filtered(chunk) -> Callable[..., bytes]:
    """A PNG of a shape whose rows name these filters, in turn; their bytes are given."""

    def make(rows: Array, filters: Sequence[int], shape: tuple[int, int, int], wbits: int = 15) -> bytes:
        height, width, channels = shape
        raw = b"".join(bytes([filters[y % len(filters)]]) + row.tobytes() for y, row in enumerate(rows))
        packer = zlib.compressobj(9, wbits=wbits)
        head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
        parts = chunk(b"IHDR", head), chunk(b"IDAT", packer.compress(raw) + packer.flush()), chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + b"".join(parts)

    return make


def files(*data: bytes) -> Array:
    return np.array([*data, None], object)[:-1]


def exact(data: bytes, shape: tuple[int, int, int]) -> Array:
    return decode_one.decode_one(data, read_header(data), Target(shape=shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_filter_in_every_row_gives_the_exact_pixels(rng, filtered, shape) -> None:
    height, width, channels = shape
    orders = [[f] for f in range(5)] + [rng.permutation(5).tolist() for _ in range(20)]
    data = [filtered(rng.integers(0, 256, (height, width * channels), np.uint8), order, shape) for order in orders]
    good, pixels = tall_png.decode_tall(files(*data), shape)
    assert good.tolist() == [*range(len(data))]
    np.testing.assert_array_equal(pixels, [exact(one, shape) for one in data])


def changed(data: bytes, start: int, stop: int, new: bytes) -> bytes:
    """A PNG of one IDAT, of which bytes are others, with the right length and CRC."""
    content = data[41:-16]
    kind = b"IDAT" + content[:start] + new + content[stop:]
    return data[:33] + (len(kind) - 4).to_bytes(4) + kind + zlib.crc32(kind).to_bytes(4) + data[-12:]


def test_what_is_not_as_it_should_be_is_left_to_others(rng, filtered, png, chunk) -> None:
    shape = 12, 12, 1
    rows = rng.integers(0, 256, (13, 12), np.uint8)
    whole = filtered(rows[:12], [4], shape)
    size = len(whole) - 57
    others = [
        whole[:-1],
        whole + b"\0",
        whole[:60] + bytes([whole[60] ^ 1]) + whole[61:],  # CRC
        changed(whole, size - 1, size, bytes([whole[-17] ^ 1])),  # checksum of what is packed
        changed(whole, 0, size, b""),
        changed(whole, size - 9, size, b""),
        filtered(rows[:11], [4], shape),
        filtered(rows, [4], shape),  # a row more
        filtered(rows[:12, :11], [4], shape),
        png(rows[:12, :, None], idats=2),
        png(rows[:12, :, None], before=chunk(b"gAMA", bytes(4))),
    ]
    good, pixels = tall_png.decode_tall(files(*others, whole, *others), shape)
    assert good.tolist() == [len(others)]
    np.testing.assert_array_equal(pixels[0], exact(whole, shape))
    assert not len(tall_png.decode_tall(files(*others), shape)[0])


def test_no_more_is_unpacked_than_an_image_has(filtered) -> None:
    bomb = filtered(np.zeros((1 << 20, 28), np.uint8), [0], (28, 28, 1))
    assert len(bomb) < 1 << 15
    tracemalloc.start()
    try:
        assert not len(tall_png.decode_tall(files(bomb), (28, 28, 1))[0])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_window_that_is_smaller_than_the_rows_is_left_to_libpng(rng, filtered) -> None:
    shape = 28, 28, 1
    rows = np.tile(rng.integers(0, 256, (14, 28), np.uint8), (2, 1))  # matches go back 406 bytes
    small, enough = (filtered(rows, [0], shape, wbits) for wbits in (9, 10))
    assert tall_png.decode_tall(files(small, enough), shape)[0].tolist() == [1]
    np.testing.assert_array_equal(decode_files(ImageCodec.PNG, files(small), shape)[1][0], exact(small, shape))


@pytest.mark.parametrize("filters", [[5], [0, 255]])
def test_a_filter_that_there_is_not_costs_its_image_alone(rng, filtered, filters) -> None:
    shape = 10, 10, 1
    rows = rng.integers(0, 256, (5, 10, 10), np.uint8)
    data = [filtered(some, filters if at == 2 else [at], shape) for at, some in enumerate(rows)]
    good, pixels = decode_files(ImageCodec.PNG, files(*data), shape)
    assert good.tolist() == [0, 1, 3, 4]
    np.testing.assert_array_equal(pixels, [exact(data[at], shape) for at in good])


def test_failures_leave_none_as_it_is(rng, filtered, png) -> None:
    tiny = filtered(rng.integers(0, 256, (6, 6), np.uint8), [9], (6, 6, 1))
    wide = png(rng.integers(0, 65536, (6, 6, 3), np.uint16))
    kept = wide[: wide.index(b"IDAT") - 4], zlib.compress(b"\x09" * 6 * 37), wide[-12:]
    damaged = kept[0] + struct.pack(">I", len(kept[1])) + b"IDAT" + kept[1]
    damaged += zlib.crc32(b"IDAT" + kept[1]).to_bytes(4) + kept[2]
    before = sys.getrefcount(None)
    for _ in range(1000):
        assert not len(tall_png.decode_tall(files(tiny), (6, 6, 1))[0])
        with pytest.raises(ImageError, match="filter"):
            decode_one.decode_one(damaged, read_header(damaged), Target(shape=(6, 6, 3)))
    assert sys.getrefcount(None) > before - 500


def test_files_of_both_ways_keep_their_order(rng, filtered, png) -> None:
    shape = 10, 10, 3
    pixels = rng.integers(0, 256, (9, *shape), np.uint8)
    data = [png(some, idats=1 + at % 2) for at, some in enumerate(pixels)]
    data[4] = data[4][:-20] + bytes(20)
    good, found = decode_files(ImageCodec.PNG, files(*data), shape)
    assert good.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    np.testing.assert_array_equal(found, pixels[good])
