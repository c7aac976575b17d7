"""Write TIFF of one page or more (TIFF 6.0, Adobe): strips of Deflate, with horizontal differencing for integers.

Pillow has no 16-bit or floating colour, hence this writer. Floats are compressed without a predictor, since not every
reader knows the floating one.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from lake.core.records import Array
from lake.images.codecs.tiff_directory import SIZES, Values

_STRIP = 1 << 18  # bytes of pixels
_LEVEL = 3
_DEFLATE = 8
_SHORT, _LONG = 3, 4
_KINDS = {"u": 1, "i": 2, "f": 3}  # sample formats: unsigned, signed, floating
_MOST_COLORS = 4  # channels; more are bands
_Entries: TypeAlias = dict[int, tuple[int, int, bytes]]  # type, number and bytes of the values, by tag
_FORMATS = {_SHORT: "H", _LONG: "I"}


def write(pixels: Array, tags: Mapping[int, Values]) -> bytes:
    """Encode a TIFF file: little-endian, unassociated alpha, the directory after the pixels.

    Args:
      pixels: integers of any type or float32 ``[H, W, K]`` with K 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGB, alpha)
        or more (bands).
      tags: type and values, little-endian, of tags that do not determine pixels.
    """
    return write_pages([pixels], [tags])


def write_pages(pages: Sequence[Array], tags: Sequence[Mapping[int, Values]]) -> bytes:
    """Encode a TIFF file of several pages, each as ``write`` does, one after the other.

    Args:
      pages: pixels, as of ``write``.
      tags: of each page, as of ``write``.
    """
    parts, places, size = list[tuple[bytes, _Entries]](), list[int](), 8
    for pixels, more in zip(pages, tags, strict=True):
        body, entries = _page(pixels, more, size)
        parts.append((body, entries))
        places.append(size + len(body))
        size = places[-1] + len(_directory(places[-1], entries, 0))
    file = [b"II\x2a\x00", struct.pack("<I", places[0])]
    for (body, entries), place, following in zip(parts, places, [*places[1:], 0], strict=True):
        file += [body, _directory(place, entries, following)]
    return b"".join(file)


def _page(pixels: Array, tags: Mapping[int, Values], start: int) -> tuple[bytes, _Entries]:
    """The strips of a page that begins at a byte of the file, and the entries of its directory."""
    rows = max(_STRIP // max(pixels[:1].nbytes, 1), 1)
    strips = list(_strips(pixels, rows))
    entries = _entries(pixels, rows, [len(strip) for strip in strips], start)
    entries |= {tag: (kind, len(values) // SIZES[kind], values) for tag, (kind, values) in tags.items()}
    size = sum(map(len, strips))
    return b"".join((*strips, bytes(size % 2))), entries


def _strips(pixels: Array, rows: int) -> Iterator[bytes]:
    for top in range(0, len(pixels), rows):
        strip = np.ascontiguousarray(pixels[top : top + rows], pixels.dtype.newbyteorder("<"))
        if strip.dtype.kind != "f":
            strip = np.concatenate([strip[:, :1], strip[:, 1:] - strip[:, :-1]], axis=1)
        yield zlib.compress(strip.data, _LEVEL)


def _entries(pixels: Array, rows: int, sizes: list[int], start: int) -> _Entries:
    """Type, number and bytes of the values of each tag."""
    height, width, channels = pixels.shape
    extra = [0] * (channels - 1) if channels > _MOST_COLORS else [2] * (channels in (2, 4))  # bands, or alpha
    starts = np.cumsum([start, *sizes[:-1]]).tolist()
    values = {
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, [8 * pixels.dtype.itemsize] * channels),
        259: (_SHORT, [_DEFLATE]),
        262: (_SHORT, [2 if channels in (3, 4) else 1]),  # BlackIsZero, RGB
        273: (_LONG, starts),
        277: (_SHORT, [channels]),
        278: (_LONG, [rows]),
        279: (_LONG, sizes),
        284: (_SHORT, [1]),  # chunky: the samples of a pixel are adjacent
        317: (_SHORT, [1 if pixels.dtype.kind == "f" else 2]),
        338: (_SHORT, extra),
        339: (_SHORT, [_KINDS[pixels.dtype.kind]] * channels),
    }
    packed = {tag: (kind, struct.pack(f"<{len(v)}{_FORMATS[kind]}", *v)) for tag, (kind, v) in values.items() if v}
    return {tag: (kind, len(values[tag][1]), data) for tag, (kind, data) in packed.items()}


def _directory(start: int, entries: _Entries, following: int) -> bytes:
    """The directory that starts at a byte of the file, followed by the values that are longer than four bytes.

    ``following`` is where the next directory starts, 0 for none.
    """
    place = start + 2 + 12 * len(entries) + 4
    rows, rest = [], []
    for tag, (kind, count, data) in sorted(entries.items()):
        field = data.ljust(4, b"\x00")
        if len(data) > 4:
            field = struct.pack("<I", place)
            rest.append(data + bytes(len(data) % 2))
            place += len(rest[-1])
        rows.append(struct.pack("<HHI", tag, kind, count) + field)
    return b"".join((struct.pack("<H", len(rows)), *rows, struct.pack("<I", following), *rest))
