"""BMP by its two headers (Microsoft: BITMAPFILEHEADER, BITMAPCOREHEADER, BITMAPINFOHEADER, BITMAPV5HEADER)."""

import struct

from pipeline.images.base import Format, Header, ImageError
from pipeline.records import Reason

_CORE = 12  # size of OS/2's first header, with 16-bit fields
_DEPTHS = (1, 2, 4, 8, 16, 24, 32)


def header(data: bytes) -> Header:
    """Read from the information header; a negative height (rows from the top) counts by its amount.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    width, height, depth = _fields(data)
    if depth not in _DEPTHS:
        raise ImageError(Reason.CORRUPT_IMAGE, f"BMP: {depth} bits per pixel")
    palette = depth <= 8
    return Header(
        format=Format.BMP,
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
