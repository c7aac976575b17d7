"""ICC colour profiles (ICC.1:2022): copied from image to image, never applied."""

import struct
import zlib

from lake.images.codecs import CODECS, jpeg, png, tiff, webp
from lake.images.header import format_of
from lake.images.types import ImageCodec, ImageError

_HEADER = 128  # bytes
_MOST_BYTES = 16 << 20
_SPACES = {1: b"GRAY", 2: b"GRAY", 3: b"RGB ", 4: b"RGB "}  # by channels


def fitting_profile(data: bytes, channels: int) -> bytes:
    """The ICC profile in an image file, if it fits pixels with these channels; else empty.

    A damaged profile does not fit, nor does one of another colour space, as of CMYK that became RGB.

    Args:
      data: the whole file.
      channels: 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha); of more none fits.
    """
    try:
        profile = _embedded(data)
    except (ImageError, zlib.error):  # a bad profile does not make the image bad
        return b""
    if len(profile) < _HEADER or profile[36:40] != b"acsp" or profile[16:20] != _SPACES.get(channels):
        return b""
    (size,) = struct.unpack_from(">I", profile)
    return profile[:size] if _HEADER <= size <= len(profile) else b""


def _embedded(data: bytes) -> bytes:
    """The profile as the file has it. Most files have none, which a search tells before anything is parsed."""
    kind = format_of(data)
    if kind is ImageCodec.PNG:
        return _inflated(png.content(data, b"iCCP")) if data.find(b"iCCP", 0, data.find(b"IDAT")) > 0 else b""
    if kind is ImageCodec.JPEG:
        return jpeg.profile(data) if b"ICC_PROFILE\x00" in data else b""
    if kind is ImageCodec.WEBP:
        return webp.content(data, b"ICCP") if data[12:16] == b"VP8X" else b""
    if kind is ImageCodec.TIFF:
        return tiff.profile(data)
    found = CODECS[kind].profile
    return found(data) if found else b""


def _inflated(chunk: bytes) -> bytes:
    """The profile in an iCCP chunk, which follows its name and a byte for the compression method."""
    _, _, packed = chunk.partition(b"\x00")
    unpacker = zlib.decompressobj()
    profile = unpacker.decompress(packed[1:], _MOST_BYTES)
    return profile if unpacker.eof else b""
