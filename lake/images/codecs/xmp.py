"""XMP packets (ISO 16684-1): copied from image to image, but for what they say of turns and sides."""

import re

_MOST = 1 << 20  # bytes of a packet that is copied
_SIDES = {b"tiff:ImageWidth": 0, b"tiff:ImageLength": 1, b"exif:PixelXDimension": 0, b"exif:PixelYDimension": 1}
_TURN = re.compile(rb'(tiff:Orientation(?:="|>))[0-9]')  # as ``exif`` finds it
_SIDE = re.compile(rb"(" + b"|".join(_SIDES) + rb')((?:="|>))[0-9]{1,10}')
_PREVIEWS = b"<xmp:Thumbnails>", b"</xmp:Thumbnails>"


def restated(packet: bytes, width: int, height: int, *, upright: bool) -> bytes:
    """A packet for other pixels: without previews, with their sides, and with no turn to be made.

    Args:
      packet: the packet.
      width: of the pixels.
      height: of the pixels.
      upright: whether the pixels were turned as the packet says.

    Returns:
      A packet; empty if the given one is no text in UTF-8, or longer than a MiB.

    >>> restated(b'<x tiff:Orientation="6" tiff:ImageWidth="4000"/>', 30, 20, upright=True)
    b'<x tiff:Orientation="1" tiff:ImageWidth="30"/>'
    """
    packet = packet.rstrip(b"\x00")
    if len(packet) >= _MOST or not _is_text(packet):
        return b""
    before, begun, rest = packet.partition(_PREVIEWS[0])
    _, ended, after = rest.partition(_PREVIEWS[1])
    if begun and ended:
        packet = before + after
    if upright:
        packet = _TURN.sub(rb"\g<1>1", packet)
    sides = b"%d" % width, b"%d" % height
    return _SIDE.sub(lambda found: found[1] + found[2] + sides[_SIDES[found[1]]], packet)


def _is_text(packet: bytes) -> bool:
    try:
        return "\x00" not in packet.decode()
    except UnicodeDecodeError:
        return False
