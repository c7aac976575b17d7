"""Bits of a sample of an AVIF, by its boxes (AV1 in ISO base media files, section 2.3.3; ISO 23008-12, section 9.3)."""

from collections.abc import Iterator

from lake.core.records import Reason
from lake.images.codecs.boxes import Box, inner
from lake.images.types import ImageError

_PROPERTIES = (b"meta", b"iprp")
_MARK = b"\x81"  # first byte of an av1C box
_WIDE, _TWELVE = 0x40, 0x20
_MOST_PARTS = 1 << 12  # bounds time


def depth(data: bytes) -> int:
    """Bits of a sample: those of all parts of the file, or those that the image itself states.

    A thumbnail or a gain map may have other ones than the image.

    Args:
      data: the whole file.

    Raises:
      ImageError: UNSUPPORTED_IMAGE for parts of several depths, where the image states none, and for very many.
    """
    if data.count(b"av1C") > _MOST_PARTS:
        raise ImageError(Reason.UNSUPPORTED_IMAGE, f"AVIF of more than {_MOST_PARTS} parts")
    found = {_coded(data, place) for place in _places(data)} - {0}
    if len(found) > 1:
        found = {_stated(data, box) for box in _properties(data)} - {0} or found
    if len(found) > 1:
        raise ImageError(Reason.UNSUPPORTED_IMAGE, f"AVIF of parts with {sorted(found)} bits")
    return found.pop() if found else 8


def _places(data: bytes) -> Iterator[int]:
    """Where av1C boxes have their content: of items and of tracks, which a search finds without a parser of either."""
    at = data.find(b"av1C")
    while at >= 0:
        yield at + 4
        at = data.find(b"av1C", at + 4)


def _coded(data: bytes, start: int) -> int:
    """Bits by the content of an av1C box; 0 if it is none."""
    if data[start : start + 1] != _MARK or start + 4 > len(data):
        return 0
    return (12 if data[start + 2] & _TWELVE else 10) if data[start + 2] & _WIDE else 8


def _stated(data: bytes, box: Box) -> int:
    """Bits by a property of an image; 0 for one of another kind."""
    if box.kind == b"pixi":  # a version, the number of channels, and the bits of each
        return _number(data, box.start + 5, 1)
    return _coded(data, box.start) if box.kind == b"av1C" else 0


def _properties(data: bytes) -> Iterator[Box]:
    """The properties of the primary image."""
    known = list(inner(data, *_PROPERTIES, b"ipco"))
    images = [box.start for box in inner(data, b"meta") if box.kind == b"pitm"]
    primary = [_number(data, start + 4, 4 if data[start] else 2) for start in images]
    for box in inner(data, *_PROPERTIES):
        if box.kind == b"ipma":
            for item, index in _associations(data, box):
                if item in primary and 0 < index <= len(known):
                    yield known[index - 1]


def _associations(data: bytes, box: Box) -> Iterator[tuple[int, int]]:
    """Item and index of each property, by an ipma box."""
    of_item, of_index = 4 if data[box.start] else 2, 2 if data[box.start + 3] & 1 else 1
    position = box.start + 8
    while position < box.end:
        item, count = _number(data, position, of_item), _number(data, position + of_item, 1)
        position += of_item + 1
        for _ in range(count):
            yield item, _number(data, position, of_index) & (0x7FFF if of_index == 2 else 0x7F)
            position += of_index


def _number(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size])
