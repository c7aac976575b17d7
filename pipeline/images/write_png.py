"""PNG of 8 and 16 bits (PNG specification, third edition: https://www.w3.org/TR/png-3/).

Pixels of 8 bits are filtered and compressed by Pillow's own coder, which does so outside the interpreter lock. It knows
no 16-bit colour, though, and would copy a large image, which are filtered here and compressed band by band.

Filtered photographs hardly repeat themselves: looking for runs alone (Z_RLE) is as small as searching at level 6 and
three times faster. Drawings and text do repeat themselves, and would be several times larger. So a few rows of a large
image are tried first; ``docs/decisions/0005-encoding.md`` has the figures.
"""

import struct
import zlib

import numpy as np

from pipeline.images.png import SIGNATURE
from pipeline.images.png_filter import filtered
from pipeline.records import Array

_COLORS = {1: 0, 2: 4, 3: 2, 4: 6}  # colour type by channels
_RUNS = 1, zlib.Z_RLE  # level and strategy
_SEARCH = 6, zlib.Z_FILTERED
_TRIAL = 1, zlib.Z_FILTERED
_SMALL = 1 << 15  # bytes of pixels that are not tried first: at worst some kilobytes are lost
_BANDS = 4
_GAIN = 0.95  # of the size of runs, at which searching pays
_LARGE = 1 << 24  # bytes of pixels


def write(pixels: Array, profile: bytes) -> bytes:
    """A PNG file of pixels uint8 or uint16 ``[H, W, K]`` with K 1 to 4, with an ICC profile if one is given."""
    height, width, channels = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, _COLORS[channels], 0, 0, 0)
    extra = _chunk(b"iCCP", b"ICC profile\x00\x00" + zlib.compress(profile)) if profile else b""
    return b"".join((SIGNATURE, _chunk(b"IHDR", head), extra, _chunk(b"IDAT", _packed(pixels)), _IEND))


def _chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(content, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", crc)))


_IEND = _chunk(b"IEND", b"")


def _packed(pixels: Array) -> bytes:
    """Filtered and compressed rows."""
    if pixels.nbytes <= _SMALL:
        return _deflated(pixels, *_RUNS)
    trial = _rows(pixels)
    searched, runs = len(_deflated(trial, *_TRIAL)), len(_deflated(trial, *_RUNS))
    return _deflated(pixels, *(_SEARCH if searched < _GAIN * runs else _RUNS))


def _rows(pixels: Array) -> Array:
    """A thirty-second of an image, in bands spread over its height."""
    height = len(pixels)
    step = -(-height // (32 * _BANDS))
    starts = [height * (2 * band + 1) // (2 * _BANDS) for band in range(_BANDS)]
    return np.concatenate([pixels[start : start + step] for start in starts])


def _deflated(pixels: Array, level: int, strategy: int) -> bytes:
    if pixels.dtype == np.uint16 or pixels.nbytes > _LARGE:
        coder = zlib.compressobj(level, strategy=strategy)
        parts = [coder.compress(rows.data) for rows in filtered(pixels)]
        return b"".join((*parts, coder.flush()))
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return image.tobytes("zip", image.mode, False, level, strategy, b"")
