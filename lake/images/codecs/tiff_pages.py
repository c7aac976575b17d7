"""The pages of a TIFF: its directories (TIFF 6.0, Adobe, 1992, section 2), and what stacks say of themselves."""

import re
from collections.abc import Iterator

from lake.images.codecs.tiff_directory import SHORT, Entry, Layout, entries_at, following, layout_of

_SUBFILE, _OLD_SUBFILE, _DESCRIPTION, _PLANES = 254, 255, 270, 33629  # the last one has a value per plane (MetaMorph)
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType: a smaller copy of another page, a transparency mask
_OLD_REDUCED = 2  # value of SubfileType
_TEXT = 2
_MOST_PAGES = 1 << 16  # bounds time and memory
_MOST_TEXT = 1 << 12  # bytes of a description that are searched
# ImageJ writes a large stack with the directory of its first page alone.
_IMAGEJ = re.compile(rb"\AImageJ=[^\n]*\n(?:[^\n]*\n)*?images=([0-9]{1,9})\n")


def places(data: bytes) -> Iterator[int]:
    """Where the directories of pages begin, in order: of images that are neither smaller copies nor masks of others.

    A place beyond the file counts as a page, which is lost.

    Args:
      data: the whole file.

    Raises:
      ImageError: the header is damaged.
    """
    layout = layout_of(data)
    return (place for place in _chain(data, layout) if not _is_secondary(data, layout, place))


def first(data: bytes) -> int:
    """Where the directory of the first page begins; of the first image if there are only copies and masks.

    Args:
      data: the whole file.

    Raises:
      ImageError: the header is damaged.
    """
    return next(places(data), _start(data, layout_of(data)))


def count(data: bytes) -> int:
    """The number of pages, by directories or by what the first one says of a stack; at least 1.

    Args:
      data: the whole file.

    Raises:
      ImageError: the header is damaged.
    """
    return max(sum(1 for _ in places(data)), _stated(data, layout_of(data)))


def _start(data: bytes, layout: Layout) -> int:
    return layout.number_at(data, layout.first, layout.place)


def _chain(data: bytes, layout: Layout) -> Iterator[int]:
    """The places of all directories. The chain ends at 0, beyond the file, or where it was before."""
    seen = set[int]()
    place = _start(data, layout)
    while place and place not in seen and len(seen) < _MOST_PAGES:
        seen.add(place)
        yield place
        place = following(data, layout, place)


def _is_secondary(data: bytes, layout: Layout, place: int) -> bool:
    # Entries are sorted, and these are the lowest tags.
    subfile, old = _find(data, layout, place, _SUBFILE, 2), _find(data, layout, place, _OLD_SUBFILE, 2)
    reduced = subfile and _number(data, layout, subfile) & (_REDUCED | _MASK)
    return bool(reduced) or bool(old and _number(data, layout, old) == _OLD_REDUCED)


def _number(data: bytes, layout: Layout, entry: Entry) -> int:
    return layout.number_at(data, entry.place, "H" if entry.kind == SHORT else "I")


def _find(data: bytes, layout: Layout, place: int, tag: int, most: int = 1 << 16) -> Entry | None:
    """One tag among the first entries of a directory."""
    return next((entry for found, entry in entries_at(data, layout, place, most) if found == tag), None)


def _stated(data: bytes, layout: Layout) -> int:
    start = _start(data, layout)
    planes = _find(data, layout, start, _PLANES)
    text = _find(data, layout, start, _DESCRIPTION)
    head = data[text.place : text.place + min(text.number, _MOST_TEXT)] if text and text.kind == _TEXT else b""
    found = _IMAGEJ.match(head)
    return max(planes.number if planes else 1, int(found[1]) if found else 1)
