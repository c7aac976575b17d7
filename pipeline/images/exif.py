"""The one EXIF tag that matters to pixels (CIPA DC-008: tag 274, Orientation)."""

import struct

_ORIENTATION = 274
_SHORT = 3
_PREFIX = b"Exif\x00\x00"


def orientation(block: bytes) -> int:
    """Orientation 1..8 from an EXIF block (a TIFF header and its first directory, with or without ``Exif`` before).

    A damaged block is metadata, not pixels: it counts as 1, which leaves the image as it is stored.
    """
    block = block.removeprefix(_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return 1
    (start,) = struct.unpack_from(order + "I", block, 4)
    for position in _entries(block, order, start):
        tag, kind, count, value = struct.unpack_from(order + "HHIH", block, position)
        if tag == _ORIENTATION:
            return value if (kind, count) == (_SHORT, 1) and 1 <= value <= 8 else 1
    return 1


def _entries(block: bytes, order: str, start: int) -> range:
    """Positions of the directory's entries of 12 bytes, as far as they are there."""
    if start + 2 > len(block):
        return range(0)
    (count,) = struct.unpack_from(order + "H", block, start)
    first = start + 2
    return range(first, first + 12 * min(count, (len(block) - first) // 12), 12)
