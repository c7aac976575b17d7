"""The metadata of an Arrow message, as far as it says how many bytes follow and what they unpack to.

Metadata are a FlatBuffer (https://flatbuffers.dev/internals) of the schemas ``Message.fbs`` in Arrow's ``format``.
Arrow allocates what they ask for, so they are looked at first.
"""

import struct
from dataclasses import dataclass

SCHEMA, DICTIONARY, BATCH = 1, 2, 3  # kinds of messages, MessageHeader in Message.fbs
_BUFFER = struct.Struct("<qq")  # offset and length of a buffer in the body
_NODE = struct.Struct("<qq")  # rows and nulls of a column


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageMetadata:
    """What a message says of its body.

    Attributes:
      kind: SCHEMA, DICTIONARY, BATCH, or another one.
      body: bytes of the body.
      packed: places of the compressed buffers in the body; empty if they are not compressed.
      rows: number of rows of a BATCH.
      agreed: whether its first column says the same number.
    """

    kind: int
    body: int
    packed: tuple[int, ...] = ()
    rows: int = 0
    agreed: bool = False


def read_metadata(data: bytes) -> MessageMetadata:
    """Parse the metadata of a message.

    Raises:
      ValueError: they are none.
    """
    try:
        message = root_table(data)
        kind, body = message.number(1, "<B"), message.number(3, "<q")
        batch = message.table(2) if kind in (DICTIONARY, BATCH) else None
        rows = batch.number(0, "<q") if kind == BATCH and batch is not None else 0
        nodes = batch.vector(1, _NODE.size) if kind == BATCH and batch is not None else b""
        agreed = len(nodes) >= _NODE.size and _NODE.unpack_from(nodes)[0] == rows
        if kind == DICTIONARY and batch is not None:
            batch = batch.table(1)
        packed = batch is not None and batch.table(3) is not None
        buffers = _buffers(batch) if packed and batch else ()
        return MessageMetadata(kind=kind, body=body, packed=buffers, rows=rows, agreed=agreed)
    except struct.error as error:
        raise ValueError(f"metadata of {len(data)} bytes that are no message of Arrow") from error


def root_table(data: bytes) -> "Table":
    """The table that a FlatBuffer is.

    Raises:
      struct.error: there is none.
    """
    return Table(data, _number("<I", data, 0))


def _buffers(batch: "Table") -> tuple[int, ...]:
    """Offsets of the buffers of a record batch that have a length of their own in front."""
    found = _BUFFER.iter_unpack(batch.vector(2, _BUFFER.size))
    return tuple(offset for offset, length in found if length > 0)


class Table:
    """A table in a FlatBuffer: fields by number, some of which are left out.

    Args:
      data: the FlatBuffer.
      at: place of the table.

    Attributes:
      at: place of the table.

    Raises:
      struct.error: it leads out of the data.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self.at = data, at
        self._vtable = at - _number("<i", data, at)
        self._size = _number("<H", data, self._vtable)

    def number(self, field: int, format: str) -> int:
        """A number; 0 if it is left out."""
        at = self._place(field)
        return 0 if at is None else _number(format, self._data, at)

    def table(self, field: int) -> "Table | None":
        """A table; None if it is left out."""
        at = self._place(field)
        return None if at is None else Table(self._data, at + _number("<I", self._data, at))

    def vector(self, field: int, size: int) -> bytes:
        """The bytes of a vector of structs of ``size`` bytes."""
        if (at := self._place(field)) is None:
            return b""
        at += _number("<I", self._data, at)
        start, length = at + 4, _number("<I", self._data, at) * size
        if start + length > len(self._data):
            raise struct.error("a vector that ends after the data")
        return self._data[start : start + length]

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = _number("<H", self._data, self._vtable + entry) if entry + 2 <= self._size else 0
        return self.at + offset if offset else None


def _number(format: str, data: bytes, at: int) -> int:
    if at < 0:  # which Python counts from the end
        raise struct.error("a place before the data")
    number: int = struct.unpack_from(format, data, at)[0]
    return number
