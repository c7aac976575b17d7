"""GIF headers (GIF89a specification: https://www.w3.org/Graphics/GIF/spec-gif89a.txt)."""

import struct

from lake.core.records import Reason
from lake.images.types import Codec, Header, ImageCodec, ImageError


def header(data: bytes) -> Header:
    """Parse the logical screen and the place of the first frame on it.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE, if it is truncated, has no frame, or its first frame reaches beyond the screen.
    """
    if len(data) < 13:
        raise _cut_off()
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position, transparent = _first_frame(data, 13 + _table(flags))
    if position + 10 > len(data):
        raise _cut_off()
    left, top, across, down = struct.unpack_from("<HHHH", data, position + 1)
    if not (across and down) or left + across > width or top + down > height:
        place = f"{across}x{down} at ({left}, {top}) on {width}x{height}"
        raise ImageError(Reason.CORRUPT_IMAGE, f"GIF: first frame of {place}")
    return Header(
        format=ImageCodec.GIF,
        width=width,
        height=height,
        channels=3,
        alpha=transparent,
        palette=True,
        pages=1 + _has_another(data, position),
    )


def _cut_off() -> ImageError:
    return ImageError(Reason.CORRUPT_IMAGE, "GIF: cut off before its first frame")


def _table(flags: int) -> int:
    """Size of a colour table in bytes."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _first_frame(data: bytes, position: int) -> tuple[int, bool]:
    """Position of the first image descriptor, and whether a graphic control extension names a transparent colour."""
    transparent = False
    while data[position : position + 1] == b"\x21":
        if data[position + 1 : position + 3] == b"\xf9\x04":
            transparent = bool(data[position + 3] & 1) if position + 3 < len(data) else False
        position = _after_blocks(data, position + 2)
    if data[position : position + 1] != b"\x2c":
        raise ImageError(Reason.CORRUPT_IMAGE, f"GIF: no frame at byte {position} of {len(data)}")
    return position, transparent


def _has_another(data: bytes, position: int) -> bool:
    """Whether a frame follows the one at this position. What is damaged after that one has none."""
    try:
        _first_frame(data, _after_blocks(data, position + 11 + _table(data[position + 9])))
    except ImageError:
        return False
    return True


def _after_blocks(data: bytes, position: int) -> int:
    while position < len(data):
        size = data[position]
        position += 1 + size
        if not size:
            return position
    raise _cut_off()


CODEC = Codec(
    name=ImageCodec.GIF,
    suffixes=(".gif",),
    magic=(b"GIF87a", b"GIF89a"),
    header=header,
    plugin=("PIL.GifImagePlugin", "GifImageFile"),
)
