"""The index at the end of an Arrow file: its schema, and the places of its dictionaries and record batches.

See ``File.fbs`` in Arrow's ``format``.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from lake.formats.arrow.metadata import SCHEMA, Table, root_table
from lake.formats.common.array_rows import exactly

FILE_MAGIC = b"ARROW1"  # at the begin and at the end
_TAIL = 4 + len(FILE_MAGIC)  # bytes after the index: its length and the magic number
_LONGEST = 256 << 20  # bytes
_BLOCK = struct.Struct("<qi4xq")  # place, length of the metadata and what is before them, length of the body
_PADDING = 64  # the most bytes between messages; each of them has more
_DICTIONARIES, _BATCHES = 2, 3  # fields
# A message that holds nothing but a schema: the place of its table at 16; from 4 on its size and those of its fields'
# places; and the table: the way back to them, the way to the schema, the version, and the kind.
_MESSAGE = struct.Struct("<I HHHHH2x iIhB5x")
_TABLE, _FIELDS, _SIZES, _PLACES = 16, 4, (10, 12), (8, 10, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIndex:
    """What the index of a file says.

    Attributes:
      schema: metadata of a message with the file's schema, as streams begin with one.
      blocks: place of each further message, dictionaries first, and bytes until its body.
    """

    schema: bytes
    blocks: Sequence[tuple[int, int]]


def read_index(stream: BinaryIO, size: int) -> FileIndex:
    """Read the index of a file.

    Args:
      stream: the file.
      size: its bytes.

    Raises:
      ValueError: there is none, or its messages do not follow one another.
    """
    stream.seek(max(0, size - _TAIL))
    tail = stream.read(_TAIL)
    length = int.from_bytes(tail[:4], "little")
    if not tail.endswith(FILE_MAGIC) or not 0 < length <= min(size - _TAIL, _LONGEST):
        raise ValueError(f"the file ends in {tail[-6:]!r}, after an index of {length} bytes")
    stream.seek(size - _TAIL - length)
    data = exactly(stream, length, "the index")
    try:
        index = root_table(data)
        blocks = [*_blocks(index, _DICTIONARIES), *_blocks(index, _BATCHES)]
        _check_places(blocks, length, size - _TAIL - length)
        return FileIndex(schema=_schema(data, index), blocks=[block[:2] for block in blocks])
    except struct.error as error:
        raise ValueError(str(error)) from error


def _blocks(index: Table, field: int) -> list[tuple[int, int, int]]:
    """Place of each message, bytes until its body, and the place after it."""
    found = _BLOCK.iter_unpack(index.vector(field, _BLOCK.size))
    return [(place, length, place + length + body) for place, length, body in found]


def _check_places(blocks: Sequence[tuple[int, int, int]], longest: int, end: int) -> None:
    """Check that messages follow one another: none is left out, and none is read a million times.

    Args:
      blocks: of all messages but the first, which is the schema.
      longest: bytes that the first one may have; the index has a schema, too.
      end: where the index begins.

    Raises:
      ValueError: they do not.
    """
    stop, room = 0, longest + _PADDING
    for place, length, after in [*sorted(blocks), (end, 0, end)]:
        if length < 0 or not 0 <= place - stop < room:
            raise ValueError(f"messages end at byte {stop}, and the next one begins at byte {place}")
        stop, room = after, _PADDING


def _schema(data: bytes, index: Table) -> bytes:
    """A message around the index, in which the schema's table stays where it is. Places are relative."""
    if (schema := index.table(1)) is None:
        raise ValueError("no schema")
    way = _MESSAGE.size + schema.at - (_TABLE + 4)
    version = index.number(0, "<h")
    return _MESSAGE.pack(_TABLE, *_SIZES, *_PLACES, _TABLE - _FIELDS, way, version, SCHEMA) + data
