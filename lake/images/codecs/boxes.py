"""Boxes of ISO base media files (ISO 14496-12), which JPEG 2000's files have too (T.800, annex I)."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_MOST = 1 << 10  # of one parent: bounds time


class Box(NamedTuple):
    """A box: its type, and where its content starts and ends."""

    kind: bytes
    start: int
    end: int


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes of a file, or within another one. What reaches beyond it ends there.

    Args:
      data: the whole file.
      start: where the first one begins.
      end: where their parent ends; None for the file.
    """
    position, last = start, len(data) if end is None else min(end, len(data))
    for _ in range(_MOST):
        if position + 8 > last:
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1 and position + 16 <= last:
            (size,), head = struct.unpack_from(">Q", data, position + 8), 16
        size = size or last - position  # 0: up to the end
        if size < head:
            return
        yield Box(kind, position + head, min(position + size, last))
        position += size


def inner(data: bytes, *path: bytes) -> Iterator[Box]:
    """The boxes in the first box at a path of types; none if there is no such box.

    Args:
      data: the whole file.
      path: types from the outermost on; ``meta`` has a version before its boxes.
    """
    found: Iterator[Box] = boxes(data)
    for kind in path:
        parent = next((box for box in found if box.kind == kind), None)
        if parent is None:
            return
        found = boxes(data, parent.start + 4 * (kind == b"meta"), parent.end)
    yield from found
