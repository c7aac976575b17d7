"""Write TIFF of one page or more (TIFF 6.0, Adobe): strips of Deflate, with horizontal differencing for integers.

Pillow has no 16-bit or floating colour, hence this writer. Floats are compressed without a predictor, since not every
reader knows the floating one.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from lake.core.records import Array
from lake.images.codecs.exif_tags import Tags
from lake.images.codecs.tiff_directory import LONG, SHORT, written

_STRIP = 1 << 18  # bytes of pixels
_LEVEL = 3
_DEFLATE = 8
_KINDS = {"u": 1, "i": 2, "f": 3}  # sample formats: unsigned, signed, floating
_MOST_COLORS = 4  # channels; more are bands
_BAND, _ALPHA = 0, 2  # of samples beside the colours
_FORMATS = {SHORT: "H", LONG: "I"}


def write(pixels: Array, tags: Tags, colors: int | None = None) -> bytes:
    """Encode a TIFF file: little-endian, unassociated alpha, the directory after the pixels.

    Args:
      pixels: integers of any type or float32 ``[H, W, K]`` with K 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGB, alpha)
        or more (bands).
      tags: type and values, little-endian, of tags that do not determine pixels.
      colors: 1 (grey) or 3 (RGB) channels, where all others are bands; None where the last of two or four is alpha.
    """
    return write_pages([pixels], [tags], [colors])


def write_pages(pages: Sequence[Array], tags: Sequence[Tags], colors: Sequence[int | None]) -> bytes:
    """Encode a TIFF file of several pages, each as ``write`` does, one after the other.

    Args:
      pages: pixels, as of ``write``.
      tags: of each page, as of ``write``.
      colors: of each page, as of ``write``.
    """
    parts, places, size = list[tuple[bytes, Tags]](), list[int](), 8
    for pixels, more, own in zip(pages, tags, colors, strict=True):
        body, entries = _page(pixels, more, size, own)
        parts.append((body, entries))
        places.append(size + len(body))
        size = places[-1] + len(written("<", places[-1], entries))
    file = [b"II\x2a\x00", struct.pack("<I", places[0])]
    for (body, entries), place, following in zip(parts, places, [*places[1:], 0], strict=True):
        file += [body, written("<", place, entries, following)]
    return b"".join(file)


def _page(pixels: Array, tags: Tags, start: int, colors: int | None) -> tuple[bytes, Tags]:
    """The strips of a page that begins at a byte of the file, and the entries of its directory."""
    rows = max(_STRIP // max(pixels[:1].nbytes, 1), 1)
    strips = list(_strips(pixels, rows))
    entries = {**_entries(pixels, rows, [len(strip) for strip in strips], start, colors), **tags}
    size = sum(map(len, strips))
    return b"".join((*strips, bytes(size % 2))), entries


def _strips(pixels: Array, rows: int) -> Iterator[bytes]:
    for top in range(0, len(pixels), rows):
        strip = np.ascontiguousarray(pixels[top : top + rows], pixels.dtype.newbyteorder("<"))
        if strip.dtype.kind != "f":
            strip = np.concatenate([strip[:, :1], strip[:, 1:] - strip[:, :-1]], axis=1)
        yield zlib.compress(strip.data, _LEVEL)


def _entries(pixels: Array, rows: int, sizes: list[int], start: int, colors: int | None) -> Tags:
    """Type and values of each tag."""
    height, width, channels = pixels.shape
    if colors is None and channels <= _MOST_COLORS:
        colors, extra = (3 if channels > 2 else 1), [_ALPHA] * (channels in (2, 4))
    else:
        colors = colors or 1
        extra = [_BAND] * (channels - colors)
    starts = np.cumsum([start, *sizes[:-1]]).tolist()
    values = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [8 * pixels.dtype.itemsize] * channels),
        259: (SHORT, [_DEFLATE]),
        262: (SHORT, [2 if colors == 3 else 1]),  # RGB, BlackIsZero
        273: (LONG, starts),
        277: (SHORT, [channels]),
        278: (LONG, [rows]),
        279: (LONG, sizes),
        284: (SHORT, [1]),  # chunky: the samples of a pixel are adjacent
        317: (SHORT, [1 if pixels.dtype.kind == "f" else 2]),
        338: (SHORT, extra),
        339: (SHORT, [_KINDS[pixels.dtype.kind]] * channels),
    }
    return {tag: (kind, struct.pack(f"<{len(v)}{_FORMATS[kind]}", *v)) for tag, (kind, v) in values.items() if v}
