"""Decode many tiny PNGs as one: their rows, unpacked file by file, are the rows of one tall PNG.

libpng takes as long to begin and end a file as zlib takes to unpack one of 28x28. In the tall image a row of zeros lies
below each image, so the filters of the next one's first row see what they see at the top of an image: zeros.
"""

import zlib
from math import prod

import numpy as np

from lake.core.records import Array
from lake.images.codecs import png, png_write

_MOST = 32 * 32  # numbers of an image: libpng unpacks larger ones faster than Python's zlib


def pays(shape: tuple[int, ...]) -> bool:
    """Whether images of a shape are decoded faster so than file by file."""
    return prod(shape) <= _MOST


def decode_tall(files: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Decode those PNGs that have an IHDR, one IDAT and an IEND, and no damage.

    Args:
      files: object ``[n]`` of bytes, 8-bit PNGs of this shape, not interlaced.
      shape: (H, W, C), with C 1 or 3.

    Returns: Positions of what was decoded, ascending int ``[m]``, and the pixels, uint8 ``[m, H, W, C]``. Others may be
      good, too.
    """
    height, width, channels = shape
    row = 1 + width * channels  # its filter's number comes first
    found = [_unpacked(data, height * row) for data in files.tolist()]
    good = [position for position, rows in enumerate(found) if rows]
    parts = [rows for rows in found if rows]
    pixels = _pixels(bytes(row).join([*parts, b""]), (len(parts) * (height + 1), width, channels))
    if pixels is None:
        return np.empty(0, int), np.empty((0, *shape), np.uint8)
    return np.array(good, int), pixels.reshape(len(parts), height + 1, width, channels)[:, :-1]


def _unpacked(data: bytes, size: int) -> bytes | None:
    """The rows of a PNG, filtered, of so many bytes in all; None if it has others or is damaged."""
    # Where the stated window is smaller than the rows, how far back a match may lie is left to libpng.
    if not (packed := png.only_idat(data)) or 1 << (packed[0] >> 4) + 8 < size:
        return None
    unpacker = zlib.decompressobj()
    try:
        rows = unpacker.decompress(packed, size + 1)  # no more: a small file may hold gigabytes of zeros
    except zlib.error:
        return None
    return rows if unpacker.eof and len(rows) == size else None


def _pixels(rows: bytes, shape: tuple[int, int, int]) -> Array | None:
    """What filtered rows show, uint8 ``[H, W, C]``; None without rows, or if one names no filter."""
    import imagecodecs

    if not rows:
        return None
    pixels = np.empty(shape, np.uint8)
    # Without ``out`` each failure of ``png_decode`` takes a reference from None, until the process ends of it.
    try:
        imagecodecs.png_decode(png_write.write_filtered(rows, shape), out=pixels[..., 0] if shape[2] == 1 else pixels)
    except imagecodecs.PngError:
        return None
    return pixels
