"""The index of an MPO: several JPEG in one file (CIPA DC-007, Multi-Picture Format, section 5.2)."""

import struct

_MARK = b"MPF\x00"
_ENTRIES = 0xB002
_ENTRY = 16  # bytes of an entry of the index
_THUMBNAIL = 0x010000  # the two large thumbnails have types 0x010001 and 0x010002
_KIND = 0xFF0000
_MOST_PICTURES = 1 << 12
# A picture that only says how bright the first one is shown (Ultra HDR, ISO 21496-1) is none by itself.
_GAIN_MAPS = (b"http://ns.adobe.com/hdr-gain-map/1.0/", b"HDRGainMap", b"urn:iso:std:iso:ts:21496:-1")


def pictures(block: bytes) -> int:
    """The number of pictures by the index, previews not counted; 0 if the block is no index or damaged.

    Args:
      block: content of an APP2 segment.
    """
    start = len(_MARK)
    order = {b"II": "<", b"MM": ">"}.get(block[start : start + 2])
    if not block.startswith(_MARK) or order is None or len(block) < start + 8:
        return 0
    place = start + struct.unpack_from(order + "I", block, start + 4)[0]
    if place + 2 > len(block):
        return 0
    (count,) = struct.unpack_from(order + "H", block, place)
    for at in range(place + 2, min(place + 2 + 12 * count, len(block) - 11), 12):
        tag, _, size, first = struct.unpack_from(order + "HHII", block, at)
        if tag == _ENTRIES:
            return _counted(block, order, start + first, min(size // _ENTRY, _MOST_PICTURES))
    return 0


def is_gain_map(block: bytes) -> bool:
    """Whether an APP1 or APP2 segment says that another picture of the file is a gain map.

    Args:
      block: content of the segment.
    """
    return any(mark in block for mark in _GAIN_MAPS)


def _counted(block: bytes, order: str, first: int, count: int) -> int:
    places = range(first, min(first + _ENTRY * count, len(block) - 3), _ENTRY)
    return sum(struct.unpack_from(order + "I", block, at)[0] & _KIND != _THUMBNAIL for at in places)
