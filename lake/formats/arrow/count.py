"""The number of rows of an Arrow file or stream, told from the metadata of its messages alone."""

import struct
from collections.abc import Iterator
from io import SEEK_END
from typing import BinaryIO

from lake.formats.arrow.index import FILE_MAGIC, read_index
from lake.formats.arrow.metadata import read_metadata

_CONTINUES = b"\xff\xff\xff\xff"
_LONGEST = 1 << 20  # bytes of the metadata of a record batch
_START = struct.Struct("<4si")  # four bytes FF, and the length of the metadata


def count_rows(stream: BinaryIO, most: int) -> int | None:
    """Count the rows.

    Args:
      stream: the file or stream, which can be sought in.
      most: messages that are looked at.

    Returns:
      The number; None if there are more messages, or one is damaged or of an old kind, as reading them will tell.
    """
    size = stream.seek(0, SEEK_END)
    stream.seek(0)
    is_file = stream.read(len(FILE_MAGIC)) == FILE_MAGIC
    total = 0
    try:
        places = _of_file(stream, size) if is_file else _of_stream(stream, size)
        for number, rows in enumerate(places):
            if number >= most or rows < 0:
                return None
            total += rows
    except (ValueError, struct.error, OSError):
        return None
    return total


def _of_file(stream: BinaryIO, size: int) -> Iterator[int]:
    for place, _ in read_index(stream, size).blocks:
        stream.seek(place)
        yield _rows(stream)[0]


def _of_stream(stream: BinaryIO, size: int) -> Iterator[int]:
    place = 0
    while place < size:
        stream.seek(place)
        rows, length = _rows(stream)
        if not length:
            return
        yield rows
        place += length


def _rows(stream: BinaryIO) -> tuple[int, int]:
    """Rows of the message at the current place, and its bytes; nothing of the end of a stream."""
    start, length = _START.unpack(stream.read(_START.size))
    if start != _CONTINUES or not 0 <= length <= _LONGEST:
        raise ValueError(start)
    if not length:
        return 0, 0
    metadata = read_metadata(stream.read(length))
    return metadata.rows, _START.size + length + metadata.body
