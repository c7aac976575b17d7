"""Split a TIFF into files of one page each, which the decoder of one page reads."""

import struct
from collections.abc import Iterator

from lake.images.codecs import exif_tags, tiff_pages
from lake.images.codecs.tiff_directory import LONG, LONG8, SHORT, Directory, corrupt, directory_at, written

_PARTS = {273: 279, 324: 325}  # tags of the places of strips and tiles, and of their sizes
_OTHERS = {254, 255, *exif_tags.DIRECTORIES}  # what says which page of its file this is, and places in it


def split(data: bytes) -> Iterator[bytes]:
    """Each page as a classic file of its own, in order. All of them together are no larger than the file twice.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE, if a directory or strips reach beyond the file, or pages share their strips.
    """
    room = len(data)
    for place in tiff_pages.places(data):
        page, parts = _page(directory_at(data, place), room)
        room -= parts
        yield page


def _page(tags: Directory, room: int) -> tuple[bytes, int]:
    """A page as a file, and the bytes of its strips or tiles, of which there may be at most ``room``."""
    order, size = tags.layout.order, len(tags.data)
    kept = [tag for tag, entry in tags.entries.items() if 0 < entry.size <= size - entry.place and tag not in _OTHERS]
    entries = {tag: tags.classic(tag) for tag in kept}
    body = bytearray(tags.data[:2] + struct.pack(order + "HI", 42, 0))
    parts = 0
    for tag in _PARTS.keys() & entries.keys():
        if _PARTS[tag] in entries:
            blocks = list(_blocks(tags, tag))
            parts += sum(stop - start for start, stop in blocks)
            if parts > room:
                raise corrupt("pages share their strips")
            entries[tag] = LONG, _copied(tags, blocks, body)
    body += bytes(len(body) % 2)
    struct.pack_into(order + "I", body, 4, len(body))
    exif = exif_tags.directories(tags, Directory.classic)
    return bytes(body) + written(order, len(body), {**entries, **exif}), parts


def _blocks(tags: Directory, tag: int) -> Iterator[tuple[int, int]]:
    """Where the strips or tiles of a page begin and end."""
    for start, size in zip(_integers(tags, tag), _integers(tags, _PARTS[tag]), strict=False):
        if start + size > len(tags.data):
            raise corrupt(f"strips or tiles reach beyond the file's {len(tags.data)} bytes")
        yield start, start + size


def _integers(tags: Directory, tag: int) -> tuple[int, ...]:
    if tags.entries[tag].kind not in (SHORT, LONG, LONG8):
        raise corrupt(f"strips or tiles of type {tags.entries[tag].kind}")
    return tags.values(tag, ())


def _copied(tags: Directory, blocks: list[tuple[int, int]], body: bytearray) -> bytes:
    """Append strips or tiles to a file, and give their new places."""
    places = []
    for start, stop in blocks:
        places.append(len(body))
        body += tags.data[start:stop]
    return struct.pack(f"{tags.layout.order}{len(places)}I", *places)
