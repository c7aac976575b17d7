"""TIFF directories, classic (TIFF 6.0, Adobe, 1992, section 2) and of BigTIFF, which has places of 64 bits."""

import struct
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from lake.core.records import Reason
from lake.images.types import ImageError

SHORT, LONG, RATIONAL, LONG8 = 3, 4, 5, 16
# Bytes by type.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", SHORT: "H", LONG: "I", LONG8: "Q"}
_WORDS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}  # bytes whose order counts, by type; else 1
_BIG = 43  # version in the header
_MOST_VALUES = 1 << 20  # values of one tag: no image of an allowed size has more strips
_MOST_BYTES = (1 << 32) - 1  # of a classic file

Values: TypeAlias = tuple[int, bytes]  # type, and the values' bytes


class Layout(NamedTuple):
    """How a file is laid out: byte order "<" or ">", and the struct formats and sizes of its directories."""

    order: str
    place: str  # format of a place in the file, and of a number of values
    number: str  # format of the number of entries
    entry: int  # bytes of an entry
    first: int  # where the place of the first directory is

    @property
    def room(self) -> int:
        """Bytes of values that stand in an entry itself."""
        return struct.calcsize("<" + self.place)

    def number_at(self, data: bytes, place: int, format: str) -> int:
        """The number at a place of the file; 0 beyond its end."""
        whole = place + struct.calcsize("<" + format) <= len(data)
        return int(struct.unpack_from(self.order + format, data, place)[0]) if whole else 0


class Entry(NamedTuple):
    """An entry: type, number of its values, and where they are in the file."""

    kind: int
    number: int
    place: int

    @property
    def size(self) -> int:
        """Bytes of the values; 0 for an unknown type."""
        return SIZES.get(self.kind, 0) * self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A directory: its entries by tag."""

    data: bytes
    layout: Layout
    entries: Mapping[int, Entry]

    def values(self, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """The integers of a tag."""
        if tag not in self.entries:
            return default
        kind, count, place = self.entries[tag]
        if kind not in _INTEGERS:
            raise corrupt(f"tag {tag} of type {kind}")
        return struct.unpack_from(f"{self.layout.order}{count}{_INTEGERS[kind]}", self.data, place)

    def value(self, tag: int, default: int) -> int:
        """The first integer of a tag."""
        return self.values(tag, (default,))[0]

    def content(self, tag: int) -> bytes:
        """The bytes of a tag's values; empty if it has none, and cut off at the end of the file."""
        entry = self.entries.get(tag)
        return self.data[entry.place : entry.place + entry.size] if entry else b""

    def is_whole(self, tag: int) -> bool:
        """Whether a tag is there with all of its values, which are of a type of classic files."""
        entry = self.entries.get(tag)
        return entry is not None and 0 < entry.size <= len(self.data) - entry.place and entry.kind < LONG8

    def little(self, tag: int) -> Values:
        """Type and values of a tag, with the lowest byte first."""
        kind, content = self.entries[tag].kind, self.content(tag)
        word = _WORDS.get(kind, 1)
        if self.layout.order == ">" and word > 1:
            content = np.frombuffer(content, f">u{word}").astype(f"<u{word}").tobytes()
        return kind, content

    def fraction(self, tag: int) -> float | None:
        """The first value of a tag of fractions; None if there is none."""
        if not self.is_whole(tag) or self.entries[tag].kind != RATIONAL:
            return None
        above, below = struct.unpack_from(self.layout.order + "II", self.data, self.entries[tag].place)
        return above / below if below else None

    def check(self, tag: int, *, single: bool) -> None:
        """Check the type, number and place of a tag's values.

        Raises:
          ImageError: CORRUPT_IMAGE.
        """
        entry = self.entries[tag]
        if entry.kind not in SIZES or not 0 < entry.number <= (1 if single else _MOST_VALUES):
            raise corrupt(f"tag {tag} of type {entry.kind} with {entry.number} values")
        if entry.place + entry.size > len(self.data):
            raise corrupt(f"the {entry.number} values of tag {tag} reach beyond the file's {len(self.data)} bytes")

    def classic(self, tag: int) -> Values:
        """Type and values of a tag as a classic directory has them: places and numbers of 64 bits become 32.

        Raises:
          ImageError: UNSUPPORTED_IMAGE for one that does not fit.
        """
        kind, content = self.entries[tag].kind, self.content(tag)
        if kind != LONG8:
            return kind, content
        values = self.values(tag, ())
        if max(values) > _MOST_BYTES:
            raise unsupported(f"{max(values)} in tag {tag}")
        return LONG, struct.pack(f"{self.layout.order}{len(values)}I", *values)


def layout_of(data: bytes) -> Layout:
    """The layout of a file.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE; UNSUPPORTED_IMAGE for a BigTIFF of more than 4 GiB.
    """
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        raise corrupt("cut off in its header")
    if struct.unpack_from(order + "H", data, 2)[0] != _BIG:
        return Layout(order, "I", "H", 12, 4)
    if len(data) < 16 or struct.unpack_from(order + "HH", data, 4) != (8, 0):
        raise corrupt("BigTIFF: cut off in its header, or with places that have not 8 bytes")
    if len(data) > _MOST_BYTES:
        raise unsupported(f"BigTIFF of {len(data)} bytes")
    return Layout(order, "Q", "Q", 20, 8)


def entries_at(data: bytes, layout: Layout, place: int, most: int) -> Iterator[tuple[int, Entry]]:
    """Tag and entry of the first entries of a directory, as far as they lie within the file.

    Args:
      data: the whole file.
      layout: of the file.
      place: where the directory begins.
      most: entries to give.
    """
    start = place + struct.calcsize("<" + layout.number)
    count = min(layout.number_at(data, place, layout.number), most)
    for at in range(start, min(start + layout.entry * count, len(data) - layout.entry + 1), layout.entry):
        tag, kind, number = struct.unpack_from(f"{layout.order}HH{layout.place}", data, at)
        found = at + layout.entry - layout.room
        if SIZES.get(kind, 0) * number > layout.room:
            (found,) = struct.unpack_from(layout.order + layout.place, data, found)
        yield tag, Entry(kind, number, found)


def following(data: bytes, layout: Layout, place: int) -> int:
    """Where the directory after the one at a place begins; 0 if it is the last one or beyond the file."""
    count = layout.number_at(data, place, layout.number)
    end = place + struct.calcsize("<" + layout.number) + layout.entry * count
    return layout.number_at(data, end, layout.place)


def directory_at(data: bytes, place: int) -> Directory:
    """Read a directory.

    Args:
      data: the whole file.
      place: where the directory begins.

    Raises:
      ImageError: CORRUPT_IMAGE, if it is not within the file.
    """
    layout = layout_of(data)
    head = struct.calcsize("<" + layout.number)
    if place + head > len(data):
        raise corrupt(f"directory at byte {place} of {len(data)}")
    count = layout.number_at(data, place, layout.number)
    if place + head + layout.entry * count > len(data):
        raise corrupt(f"directory of {count} entries reaches beyond the file's {len(data)} bytes")
    return Directory(data=data, layout=layout, entries=dict(entries_at(data, layout, place, count)))


def written(order: str, start: int, entries: Mapping[int, Values | Mapping[int, Values]], following: int = 0) -> bytes:
    """A classic directory, and after it the values that are longer than four bytes.

    Args:
      order: byte order, "<" or ">".
      start: where in the file it will be.
      entries: by tag type and values, or a directory of its own.
      following: where the next directory is; 0 for none.
    """
    place = start + 2 + 12 * len(entries) + 4
    rows, rest = [], []
    for tag, found in sorted(entries.items()):
        if isinstance(found, Mapping):
            kind, values, number = LONG, written(order, place, found), 1
        else:
            kind, values = found
            number = len(values) // SIZES[kind]
        field = values.ljust(4, b"\x00")
        if len(values) > 4:
            field = struct.pack(order + "I", place)
            rest.append(values + bytes(len(values) % 2))
            place += len(rest[-1])
        rows.append(struct.pack(order + "HHI", tag, kind, number) + field)
    return b"".join((struct.pack(order + "H", len(rows)), *rows, struct.pack(order + "I", following), *rest))


def restated(tags: Directory, kept: Container[int], changed: Mapping[int, Values]) -> bytes:
    """The same file as a classic one, whose one directory has only some of the tags; strips stay where they are.

    Args:
      tags: the directory.
      kept: tags whose values stay.
      changed: type and values of tags that change; empty values leave a tag out.
    """
    entries = {tag: tags.classic(tag) for tag in tags.entries if tag in kept and tag not in changed}
    entries |= {tag: values for tag, values in changed.items() if values[1]}
    order, data = tags.layout.order, tags.data
    padding = bytes(len(data) % 2)  # a directory begins on a word boundary
    start = len(data) + len(padding)
    head = data[:2] + struct.pack(order + "HI", 42, start)
    return b"".join((head, data[8:], padding, written(order, start, entries)))


def corrupt(problem: str) -> ImageError:
    """The error of a damaged file."""
    return ImageError(Reason.CORRUPT_IMAGE, f"TIFF: {problem}")


def unsupported(problem: str) -> ImageError:
    """The error of a kind of file that is not read."""
    return ImageError(Reason.UNSUPPORTED_IMAGE, f"TIFF: {problem}")
