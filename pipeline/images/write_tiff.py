"""TIFF of one page (TIFF 6.0, Adobe, 1992): strips of Deflate, of integers with horizontal differences.

Written here because Pillow has no 16-bit or floating colour. Floats are compressed as they are: not every reader knows
the floating predictor.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from pipeline.records import Array

_STRIP = 1 << 18  # bytes of pixels
_LEVEL = 3
_DEFLATE = 8
_SHORT, _LONG, _UNDEFINED = 3, 4, 7
_UNSIGNED, _FLOAT = 1, 3
_FORMATS = {_SHORT: "H", _LONG: "I"}


def write(pixels: Array, profile: bytes) -> bytes:
    """A TIFF file of pixels uint8, uint16 or float32 ``[H, W, K]`` with K 1 to 4, with an ICC profile if one is given.

    The file is little-endian, with unassociated alpha for K 2 and 4, and the directory after the pixels.
    """
    rows = max(_STRIP // max(pixels[:1].nbytes, 1), 1)
    strips = list(_strips(pixels, rows))
    size = 8 + sum(map(len, strips))
    entries = _entries(pixels, rows, [len(strip) for strip in strips])
    if profile:
        entries[34675] = _UNDEFINED, len(profile), profile
    directory = _directory(size + size % 2, entries)
    return b"".join((b"II\x2a\x00", struct.pack("<I", size + size % 2), *strips, bytes(size % 2), directory))


def _strips(pixels: Array, rows: int) -> Iterator[bytes]:
    for top in range(0, len(pixels), rows):
        strip = np.ascontiguousarray(pixels[top : top + rows], pixels.dtype.newbyteorder("<"))
        if strip.dtype.kind == "u":
            strip = np.concatenate([strip[:, :1], strip[:, 1:] - strip[:, :-1]], axis=1)
        yield zlib.compress(strip.data, _LEVEL)


def _entries(pixels: Array, rows: int, sizes: list[int]) -> dict[int, tuple[int, int, bytes]]:
    """Type, number and bytes of the values of each tag."""
    height, width, channels = pixels.shape
    integers = pixels.dtype.kind == "u"
    starts = np.cumsum([8, *sizes[:-1]]).tolist()
    values = {
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, [8 * pixels.dtype.itemsize] * channels),
        259: (_SHORT, [_DEFLATE]),
        262: (_SHORT, [1 if channels < 3 else 2]),  # grey from black, RGB
        273: (_LONG, starts),
        277: (_SHORT, [channels]),
        278: (_LONG, [rows]),
        279: (_LONG, sizes),
        284: (_SHORT, [1]),  # samples of a pixel side by side
        317: (_SHORT, [2 if integers else 1]),
        338: (_SHORT, [2] * (channels in (2, 4))),
        339: (_SHORT, [_UNSIGNED if integers else _FLOAT] * channels),
    }
    packed = {tag: (kind, struct.pack(f"<{len(v)}{_FORMATS[kind]}", *v)) for tag, (kind, v) in values.items() if v}
    return {tag: (kind, len(values[tag][1]), data) for tag, (kind, data) in packed.items()}


def _directory(start: int, entries: dict[int, tuple[int, int, bytes]]) -> bytes:
    """The directory that begins at a byte of the file, and after it the values that are longer than four bytes."""
    place = start + 2 + 12 * len(entries) + 4
    rows, rest = [], []
    for tag, (kind, count, data) in sorted(entries.items()):
        field = data.ljust(4, b"\x00")
        if len(data) > 4:
            field = struct.pack("<I", place)
            rest.append(data + bytes(len(data) % 2))
            place += len(rest[-1])
        rows.append(struct.pack("<HHI", tag, kind, count) + field)
    return b"".join((struct.pack("<H", len(rows)), *rows, bytes(4), *rest))
