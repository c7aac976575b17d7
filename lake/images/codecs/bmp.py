"""BMP headers (Microsoft: BITMAPFILEHEADER, BITMAPCOREHEADER, BITMAPINFOHEADER, BITMAPV5HEADER)."""

import struct

from lake.core.records import Reason
from lake.images.types import Codec, Header, ImageCodec, ImageError

_CORE = 12  # bytes of BITMAPCOREHEADER, of OS/2, whose fields have 16 bits
_DEPTHS = (1, 2, 4, 8, 16, 24, 32)


def header(data: bytes) -> Header:
    """Parse the information header. A negative height means that rows are stored from the top; its amount counts.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE; UNSUPPORTED_IMAGE for a header of an unknown size.
    """
    width, height, depth = _fields(data)
    if depth not in _DEPTHS:
        raise ImageError(Reason.CORRUPT_IMAGE, f"BMP: {depth} bits per pixel")
    palette = depth <= 8
    return Header(
        format=ImageCodec.BMP,
        width=width,
        height=abs(height),
        channels=3,
        depth=depth if palette else 8,
        alpha=depth == 32,
        palette=palette,
    )


def _fields(data: bytes) -> tuple[int, int, int]:
    size = int.from_bytes(data[14:18], "little")
    if len(data) < 14 + size or size < _CORE:
        raise ImageError(Reason.CORRUPT_IMAGE, "BMP: cut off in its header")
    if size == _CORE:
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
    else:
        if size < 40:
            raise ImageError(Reason.UNSUPPORTED_IMAGE, f"BMP with a header of {size} bytes")
        width, height, _, depth = struct.unpack_from("<iiHH", data, 18)
    if width < 0:
        raise ImageError(Reason.CORRUPT_IMAGE, f"BMP: {width} pixels wide")
    return width, height, depth


CODEC = Codec(
    name=ImageCodec.BMP,
    suffixes=(".bmp",),
    magic=(b"BM",),
    header=header,
    plugin=("PIL.BmpImagePlugin", "BmpImageFile"),
)
