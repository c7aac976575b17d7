"""ICC colour profiles (ICC.1:2022): carried from image to image, never applied."""

import struct
import zlib

from pipeline.images import jpeg, png, tiff, webp
from pipeline.images.base import Format, ImageError
from pipeline.images.headers import format_of

_HEADER = 128  # bytes
_MOST_BYTES = 16 << 20
_SPACES = {1: b"GRAY", 2: b"GRAY", 3: b"RGB ", 4: b"RGB "}  # by channels


def profile(data: bytes, channels: int) -> bytes:
    """The profile inside an encoded image, for pixels of these channels; empty where there is none that fits.

    A profile that is damaged, or of other colours than the pixels have (CMYK that became RGB), does not fit.

    Args:
      data: the whole file.
      channels: 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).
    """
    try:
        found = _found(data)
    except (ImageError, zlib.error):  # metadata, not pixels: the image is good without it
        return b""
    if len(found) < _HEADER or found[36:40] != b"acsp" or found[16:20] != _SPACES[channels]:
        return b""
    (size,) = struct.unpack_from(">I", found)
    return found[:size] if _HEADER <= size <= len(found) else b""


def _found(data: bytes) -> bytes:
    """As the file has it. Most files have none, which a look at the bytes tells before anything is parsed."""
    kind = format_of(data)
    if kind is Format.PNG:
        return _inflated(png.content(data, b"iCCP")) if data.find(b"iCCP", 0, data.find(b"IDAT")) > 0 else b""
    if kind is Format.JPEG:
        return jpeg.profile(data) if b"ICC_PROFILE\x00" in data else b""
    if kind is Format.WEBP:
        return webp.content(data, b"ICCP") if data[12:16] == b"VP8X" else b""
    return tiff.profile(data) if kind is Format.TIFF else b""


def _inflated(chunk: bytes) -> bytes:
    """What an iCCP chunk holds after the profile's name and the byte for its compression."""
    _, _, packed = chunk.partition(b"\x00")
    unpacker = zlib.decompressobj()
    found = unpacker.decompress(packed[1:], _MOST_BYTES)
    return found if unpacker.eof else b""
