"""The one tag that affects pixels: Orientation, of EXIF (tag 274, CIPA DC-008) or of XMP (tiff:Orientation)."""

import re
import struct

_ORIENTATION = 274
_DETAILS, _WIDTH, _HEIGHT = 34665, 40962, 40963
_SHORT, _LONG = 3, 4
_PREFIX = b"Exif\x00\x00"
# By type. A rational number is two values. ASCII, BYTE and UNDEFINED are no numbers, and count as no orientation.
_NUMBERS = {3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q"}
_NOT_NUMBERS = {1, 2, 7}
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_NONE = 0  # a tag whose value is no orientation


def turn(stated: int | None, xmp: bytes) -> int:
    """Orientation 1..8 of an image. XMP counts only where EXIF says nothing, as in Pillow.

    A damaged or impossible value counts as 1. It is metadata, so its damage does not make the image bad.

    Args:
      stated: what ``find`` or ``number`` gave.
      xmp: the XMP packet, or its beginning; empty if there is none.
    """
    if stated is None and (found := _XMP.search(xmp)):
        stated = int(found[1])
    return stated if stated is not None and 1 <= stated <= 8 else 1


def find(block: bytes) -> int | None:
    r"""The value of the tag in an EXIF block; None if the block is damaged or does not have it.

    Args:
      block: a TIFF header and its first directory, with or without ``Exif\0\0`` before them.
    """
    block = block.removeprefix(_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return None
    (start,) = struct.unpack_from(order + "I", block, 4)
    for position in _entries(block, order, start):
        if struct.unpack_from(order + "H", block, position)[0] == _ORIENTATION:
            return number(block, order, block[position : position + 12])
    return None


def number(data: bytes, order: str, entry: bytes) -> int | None:
    """The first value of a directory entry, 0 if it is no whole number; None if it lies beyond the data.

    Args:
      data: what offsets count from the start of.
      order: byte order, "<" or ">".
      entry: the 12 bytes of the entry.
    """
    kind, count, start = struct.unpack(order + "HII", entry[2:])
    if kind not in _NUMBERS:
        return _NONE if kind in _NOT_NUMBERS else None
    layout = struct.Struct(order + _NUMBERS[kind])
    source, at = (entry, 8) if layout.size * count <= 4 else (data, start)
    if not count or at + layout.size > len(source):
        return None
    value, *divisor = layout.unpack_from(source, at)
    if divisor:
        value = value / divisor[0] if divisor[0] else _NONE
    return int(value) if value in range(1, 9) else _NONE


def restated(block: bytes, width: int, height: int, *, upright: bool) -> bytes:
    """An EXIF block for other pixels: without its preview, with their sides, and with no turn to be made.

    Args:
      block: with or without its prefix.
      width: of the pixels.
      height: of the pixels.
      upright: whether the pixels were turned as the block says.

    Returns:
      A block without prefix; empty if the given one is damaged.
    """
    block = block.removeprefix(_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return b""
    made = bytearray(block)
    (start,) = struct.unpack_from(order + "I", block, 4)
    first = _entries(block, order, start)
    if not first:
        return b""
    for position in first:
        tag, _, _, value = struct.unpack_from(order + "HHII", block, position)
        if tag == _ORIENTATION and upright:
            made[position : position + 12] = struct.pack(order + "HHIHxx", tag, _SHORT, 1, 1)
        elif tag == _DETAILS:
            for inner in _entries(block, order, value):
                (side,) = struct.unpack_from(order + "H", block, inner)
                if side in (_WIDTH, _HEIGHT):
                    sides = {_WIDTH: width, _HEIGHT: height}
                    made[inner : inner + 12] = struct.pack(order + "HHII", side, _LONG, 1, sides[side])
    if first.stop + 4 <= len(made):
        made[first.stop : first.stop + 4] = bytes(4)  # no directory of a preview, which shows the former pixels
    return bytes(made)


def _entries(block: bytes, order: str, start: int) -> range:
    """Positions of the 12-byte directory entries that lie within the block."""
    if start + 2 > len(block):
        return range(0)
    (count,) = struct.unpack_from(order + "H", block, start)
    first = start + 2
    return range(first, first + 12 * min(count, (len(block) - first) // 12), 12)
