"""EXIF as tags of a TIFF, in whose directory it is, and as the block that other formats have (CIPA DC-008, 4.5)."""

from collections.abc import Callable
from typing import TypeAlias

from lake.images.codecs.tiff_directory import SHORT, Directory, Values, directory_at, written
from lake.images.codecs.tiff_tags import ORIENTATION
from lake.images.types import ImageError

DIRECTORIES = (34665, 34853)  # tags of directories of their own: of the picture, and of GPS
_TEXTS = (271, 272, 305, 306, 315, 33432)  # maker, model, software, time, artist, copyright
_BOUND = {37500, 40965}  # the maker's note, and a further directory: both hold places in the file that was
_POINTERS = {4: "I", 13: "I", 16: "Q", 18: "Q"}  # formats of a place in the file, by type
_MOST = 1 << 20  # bytes of values that are copied
_HEAD = b"II\x2a\x00\x08\x00\x00\x00"  # of a block whose directory follows

Tags: TypeAlias = dict[int, Values | dict[int, Values]]


def of_directory(tags: Directory) -> Tags:
    """The EXIF of a TIFF, with the lowest byte first; none if it has neither details of the picture nor a place.

    Args:
      tags: the directory of a page.
    """
    found = directories(tags, Directory.little)
    return {**_outer(tags), **found} if found else {}


def directories(tags: Directory, values: Callable[[Directory, int], Values]) -> dict[int, dict[int, Values]]:
    """The directories of EXIF that a directory leads to, without what would not hold in another file.

    Args:
      tags: the directory.
      values: gives type and values of a tag.
    """
    found = {tag: inner for tag in DIRECTORIES if (inner := _inner(tags, tag)) is not None}
    return {tag: {name: values(inner, name) for name in _kept(inner)} for tag, inner in found.items() if _kept(inner)}


def block(tags: Tags) -> bytes:
    """An EXIF block without prefix; empty if there are no tags."""
    return _HEAD + written("<", len(_HEAD), tags) if tags else b""


def of_block(data: bytes) -> Tags:
    """The tags of a TIFF that say an EXIF block; none if it is damaged.

    Args:
      data: the block, without prefix.
    """
    try:
        tags = directory_at(data, int.from_bytes(data[4:8], "little" if data[:2] == b"II" else "big"))
    except ImageError:
        return {}
    return {**_outer(tags), **directories(tags, Directory.little)}


def turned(orientation: int) -> Tags:
    """The tags of an image that is to be turned."""
    return {ORIENTATION: (SHORT, orientation.to_bytes(2, "little"))}


def _outer(tags: Directory) -> Tags:
    return {tag: tags.little(tag) for tag in (ORIENTATION, *_TEXTS) if _is_small(tags, tag)}


def _inner(tags: Directory, tag: int) -> Directory | None:
    pointer = tags.entries.get(tag)
    if pointer is None or pointer.kind not in _POINTERS:
        return None
    try:
        return directory_at(tags.data, tags.layout.number_at(tags.data, pointer.place, _POINTERS[pointer.kind]))
    except ImageError:
        return None


def _kept(tags: Directory) -> list[int]:
    kept = [tag for tag in tags.entries if tag not in _BOUND and _is_small(tags, tag)]
    # Values may overlap, so all of them could be far more than the file.
    return kept if sum(tags.entries[tag].size for tag in kept) <= _MOST else []


def _is_small(tags: Directory, tag: int) -> bool:
    return tags.is_whole(tag) and tags.entries[tag].size <= _MOST
