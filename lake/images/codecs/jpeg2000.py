"""JPEG 2000 headers (ITU-T T.800: annex A, the codestream; annex I, its file), and samples of more than 8 bits."""

import struct
from dataclasses import replace
from itertools import chain

import numpy as np

from lake.core.records import Array, Reason
from lake.images.codecs.boxes import boxes, inner
from lake.images.codecs.depth import at_full_scale
from lake.images.codecs.plugin import header_of, opened
from lake.images.types import Codec, Header, ImageCodec, ImageError

_PLUGIN = ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile")
_FILE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ
_MOST_TILES = 1 << 16
_MOST_COMPONENTS = 4
_WIDE = {*range(8, 16)}  # depths, less one, of unsigned samples
_SIZ = 38  # bytes of SIZ without its components
_COLR = 3  # bytes of a colr box before what it holds; the first one is the method:
_ENUMERATED, _ICC = b"\x01", (b"\x02", b"\x03")
_COLOURS = (bytes((0, 0, 0, 16)), bytes((0, 0, 0, 17)))  # sRGB and grey


def header(data: bytes) -> Header:
    """Parse SIZ, and the boxes around the codestream, which must say the same.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE; UNSUPPORTED_IMAGE for signed samples, and of more than 8 bits for palettes, and
        colours other than grey and RGB with or without alpha, in this order.
    """
    start = _codestream(data)
    if data[start : start + 4] != _CODESTREAM or len(data) < start + 4 + _SIZ:
        raise _corrupt(f"no codestream at byte {start} of {len(data)}")
    *_, right, bottom, left, top, across, down, _, _, components = struct.unpack_from(">HHIIIIIIIIH", data, start + 4)
    depths = data[start + 4 + _SIZ : start + 4 + _SIZ + 3 * components : 3]
    if not (across and down and components) or right <= left or bottom <= top or len(depths) < components:
        raise _corrupt(f"{right - left}x{bottom - top} pixels of {components} components in tiles {across}x{down}")
    if -(-right // across) * -(-bottom // down) > _MOST_TILES:
        raise _corrupt(f"{right - left}x{bottom - top} pixels in tiles of {across}x{down}")
    wide = max(depths) > 7  # or signed, by the highest bit
    if wide:
        _check_wide(data, start, components)
    found = header_of(opened(data, ImageCodec.JPEG2000, _PLUGIN), ImageCodec.JPEG2000)
    if (found.width, found.height) != (right - left, bottom - top):
        raise _corrupt(f"{right - left}x{bottom - top} pixels in a file of {found.width}x{found.height}")
    if wide and found.channels + found.alpha != components:
        raise _corrupt(f"{components} components in a file of {found.channels + found.alpha}")
    return replace(found, depth=depths[0] + 1, raw=True) if wide else found


def samples(data: bytes, header: Header) -> Array:
    """The pixels of an image of more than 8 bits, by OpenJPEG, in imagecodecs: Pillow reduces colour to 8 bits.

    Args:
      data: the whole file.
      header: of it.

    Returns:
      ``[H, W, K]`` of uint16, with white at 65,535.

    Raises:
      Exception: of any kind, for a damaged file.
    """
    from imagecodecs import jpeg2k_decode

    # Of the boxes around it imagecodecs would apply the colour profile.
    pixels: Array = np.asarray(jpeg2k_decode(data[_codestream(data) :], numthreads=1))
    return at_full_scale(pixels, header.depth).reshape(header.height, header.width, header.channels + header.alpha)


def profile(data: bytes) -> bytes:
    """The ICC profile in the boxes; empty if there is none."""
    found = _colour(data)
    return found[_COLR:] if found[:1] in _ICC else b""


def _colour(data: bytes) -> bytes:
    """The first box that says the colours (colr); empty if there is none."""
    return next((data[box.start : box.end] for box in inner(data, b"jp2h") if box.kind == b"colr"), b"")


def _check_wide(data: bytes, start: int, components: int) -> None:
    """Check samples of more than 8 bits: unsigned, of one depth and size, without a palette, of grey or RGB."""
    sizes = data[start + 4 + _SIZ : start + 4 + _SIZ + 3 * components]
    depths, bits = {*sizes[::3]}, [1 + (depth & 127) for depth in sizes[::3]]
    if len(depths) > 1 or not depths <= _WIDE or components > _MOST_COMPONENTS or {*sizes[1::3], *sizes[2::3]} != {1}:
        raise _unsupported(f"{components} components of {bits} bits, signed, or of unequal size")
    colour = _colour(data)
    if colour[:1] == _ENUMERATED and colour[_COLR:] not in _COLOURS:
        raise _unsupported(f"{bits[0]} bits in colour space {int.from_bytes(colour[_COLR:])}")
    for box in inner(data, b"jp2h"):
        if box.kind == b"pclr":
            raise _unsupported(f"a palette with {bits[0]} bits")
        if box.kind == b"cdef" and data[box.start : box.end] != _in_order(components):
            raise _unsupported(f"{bits[0]} bits in channels of another order or kind")


def _in_order(components: int) -> bytes:
    """The content of a cdef box that says grey or RGB, and then alpha: number, type and colour of each."""
    colours = 1 if components < 3 else 3
    each = [(n, 0, n + 1) if n < colours else (n, 1, 0) for n in range(components)]
    return struct.pack(f">H{3 * components}H", components, *chain(*each))


def _codestream(data: bytes) -> int:
    """Where the codestream begins, in a file of boxes or by itself."""
    if data.startswith(_CODESTREAM):
        return 0
    for box in boxes(data):
        if box.kind == b"jp2c":
            return box.start
    raise _corrupt("no box with a codestream")


def _unsupported(problem: str) -> ImageError:
    return ImageError(Reason.UNSUPPORTED_IMAGE, f"JPEG 2000: {problem}")


def _corrupt(problem: str) -> ImageError:
    return ImageError(Reason.CORRUPT_IMAGE, f"JPEG 2000: {problem}")


CODEC = Codec(
    name=ImageCodec.JPEG2000,
    suffixes=(".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf"),
    magic=(_FILE, _CODESTREAM),
    header=header,
    profile=profile,
    plugin=_PLUGIN,
)
