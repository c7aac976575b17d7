"""The pages of a TIFF as files of their own, and pages written as one file, by tifffile."""

import io
import struct

import numpy as np
import pytest
import tifffile

from lake.core.records import Reason
from lake.images import decode_one
from lake.images.codecs import tiff_write
from lake.images.codecs.tiff_split import split
from lake.images.header import read_header
from lake.images.types import ImageError


def stored(data):
    return decode_one.decode_stored(data, read_header(data))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("options", [{}, {"rowsperstrip": 5}, {"tile": (16, 32)}, {"compression": "zlib"}])
def test_every_page_comes_back(rng, order, dtype, options):
    shapes = [(23, 31), (40, 17, 3), (8, 9)]
    pages = [(rng.random(shape) * 200).astype(dtype) for shape in shapes]
    out = io.BytesIO()
    with tifffile.TiffWriter(out, byteorder=order) as file:
        for page in pages:
            kind = "rgb" if page.ndim == 3 else "minisblack"
            file.write(page, photometric=kind, metadata=None, **options)
        file.write(pages[0][::2, ::2], subfiletype=1, metadata=None)  # a smaller copy
    files = list(split(out.getvalue()))
    assert [read_header(file).pages for file in files] == [1, 1, 1]
    for file, page in zip(files, pages, strict=True):
        np.testing.assert_array_equal(stored(file), page.reshape(*page.shape[:2], -1))
        np.testing.assert_array_equal(tifffile.imread(io.BytesIO(file)), page)
    assert sum(map(len, files)) < 2 * len(out.getvalue())


def test_pages_are_written_as_one_file(rng):
    pages = [
        rng.integers(0, 256, (300, 400, 3), np.uint8),
        rng.integers(0, 65536, (7, 9, 1), np.uint16),
        rng.random((5, 6, 4)).astype(np.float32),
    ]
    data = tiff_write.write_pages(pages, [{34675: (7, b"profile")}, {}, {}], [None] * 3)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert len(file.pages) == 3
        for page, wanted in zip(file.pages, pages, strict=True):
            np.testing.assert_array_equal(page.asarray().reshape(wanted.shape), wanted)
    assert read_header(data).pages == 3


def test_a_page_that_is_cut_off_is_an_error(rng):
    out = io.BytesIO()
    tifffile.imwrite(out, rng.integers(0, 256, (2, 9, 9), np.uint8), photometric="minisblack", metadata=None)
    data = bytearray(out.getvalue())
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, len(data) + 5)
    with pytest.raises(ImageError, match="directory at byte"):
        list(split(bytes(data)))


def test_pages_that_share_their_pixels_are_refused():
    # Each page of such a file would be a copy of the whole file: a small one could fill memory.
    out = io.BytesIO()
    tifffile.imwrite(out, np.zeros((1, 64, 64), np.uint8), photometric="minisblack", metadata=None)
    data = out.getvalue()
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    size = 2 + 12 * count + 4
    for _ in range(3):
        place = len(data) + len(data) % 2
        directory = data[first : first + size - 4]
        data = data.ljust(place, b"\x00") + directory + bytes(4)
        (end,) = [place - size] if data[first + size - 4 : first + size] != bytes(4) else [first]
        data = data[: end + size - 4] + struct.pack("<I", place) + data[end + size :]
    with pytest.raises(ImageError, match="share") as caught:
        list(split(data))
    assert caught.value.reason is Reason.CORRUPT_IMAGE
