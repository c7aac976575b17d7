"""Write PNG of 8 and 16 bits (PNG specification, third edition: https://www.w3.org/TR/png-3/).

8-bit pixels are filtered and compressed by Pillow's own coder, which runs outside the interpreter lock. It has no
16-bit colour and would copy a large image, so those are filtered here and compressed band by band.

Filtered photographs rarely repeat themselves: looking for runs alone (Z_RLE) compresses as well as level 6 and is three
times faster. Drawings and text do repeat themselves and would be several times larger. So a few rows of each large
image are compressed both ways first; ``docs/decisions/0005-encoding.md`` has the figures.
"""

import struct
import zlib

import numpy as np

from lake.core.records import Array
from lake.images.codecs.png import SIGNATURE
from lake.images.codecs.png_filter import filtered
from lake.images.codecs.png_text import XMP

_COLORS = {1: 0, 2: 4, 3: 2, 4: 6}  # colour type by channels
_RUNS = 1, zlib.Z_RLE  # level and strategy
_SEARCH = 6, zlib.Z_FILTERED
_TRIAL = 1, zlib.Z_FILTERED
_SMALL = 1 << 15  # no trial for images of at most this many bytes of pixels: it could save some kilobytes only
_BANDS = 4  # bands of rows that a trial compresses
_GAIN = 0.95  # a search pays if its trial is below this share of the size of runs
_LARGE = 1 << 24  # bytes of pixels above which Pillow's copy of the image would matter


def write(pixels: Array, profile: bytes, phys: bytes = b"", exif: bytes = b"", xmp: bytes = b"") -> bytes:
    """Encode a PNG file.

    Args:
      pixels: uint8 or uint16 ``[H, W, K]`` with K 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).
      profile: an ICC profile; empty for none.
      phys: content of a pHYs chunk, the resolution; empty for none.
      exif: an EXIF block without prefix; empty for none.
      xmp: an XMP packet; empty for none.
    """
    extra = _chunk(b"iCCP", b"ICC profile\x00\x00" + zlib.compress(profile)) if profile else b""
    extra += _chunk(b"pHYs", phys) if phys else b""
    extra += _chunk(b"eXIf", exif) if exif else b""
    extra += _chunk(b"iTXt", XMP + bytes(5) + xmp) if xmp else b""  # not compressed, in no language
    return b"".join((_start(pixels.shape, pixels.itemsize), extra, _chunk(b"IDAT", _packed(pixels)), _IEND))


def write_filtered(rows: bytes, shape: tuple[int, int, int]) -> bytes:
    """A PNG of 8 bits whose rows are filtered already; it is not compressed.

    Args:
      rows: of each the filter's number and the filtered bytes.
      shape: of the pixels, (H, W, K).
    """
    return b"".join((_start(shape, 1), _chunk(b"IDAT", zlib.compress(rows, 0)), _IEND))


def _start(shape: tuple[int, ...], itemsize: int) -> bytes:
    """Signature and IHDR."""
    height, width, channels = shape
    head = struct.pack(">IIBBBBB", width, height, 8 * itemsize, _COLORS[channels], 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", head)


def _chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(content, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", crc)))


_IEND = _chunk(b"IEND", b"")


def _packed(pixels: Array) -> bytes:
    """The rows, filtered and compressed."""
    if pixels.nbytes <= _SMALL:
        return _deflated(pixels, *_RUNS)
    # The trial searches at level 1, since it only has to tell whether the image repeats itself.
    trial = _rows(pixels)
    searched, runs = len(_deflated(trial, *_TRIAL)), len(_deflated(trial, *_RUNS))
    return _deflated(pixels, *(_SEARCH if searched < _GAIN * runs else _RUNS))


def _rows(pixels: Array) -> Array:
    """One row in 32, in bands spread over the image's height."""
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
