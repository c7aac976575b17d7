"""The messages of an Arrow IPC stream or file, checked before Arrow reads them.

A stream is one message after another: four bytes FF, the length of the metadata, the metadata, and a body
(https://arrow.apache.org/docs/format/Columnar.html, "IPC Streaming Format"). A file, as also Feather's version 2 is,
has an index of its messages at the end, without which some are not found. It is given to Arrow as a stream.
"""

import mmap
from collections.abc import Iterator, Sequence
from io import SEEK_END
from tempfile import TemporaryFile
from typing import BinaryIO, TypeAlias

import pyarrow as pa

from lake.formats.arrow.index import FILE_MAGIC, FileIndex, read_index
from lake.formats.arrow.metadata import BATCH, DICTIONARY, SCHEMA, MessageMetadata, read_metadata
from lake.formats.common.array_rows import exactly

_FEATHER_1 = b"FEA1"
_CONTINUES = b"\xff\xff\xff\xff"
_START = 8  # bytes before the metadata: these, and their length
_LONGEST = 64 << 20  # bytes of metadata; a schema of 100,000 columns has about a fifth of it
_SPOOLED = 64 << 20  # a longer body goes through a file, so that it does not fill memory
_UNPACKED = 2 << 30  # bytes of a compressed batch, or of all compressed dictionaries, that Arrow unpacks at once
_CHUNK = 1 << 20

_Parts: TypeAlias = Sequence[bytes | memoryview]  # of a message


def begins_arrow(head: bytes) -> bool:
    """Whether a file that begins with these bytes is an Arrow file or stream.

    Args:
      head: the first bytes; of a stream the first message's metadata, or as much of them as there is.

    >>> begins_arrow(b"ARROW1" + bytes(2)), begins_arrow(bytes([255, 255, 255, 255, 8, 0, 0, 0]))
    (True, False)
    """
    if head.startswith(FILE_MAGIC):
        return True
    if not head.startswith(_CONTINUES) or not 0 < int.from_bytes(head[4:8], "little") <= _LONGEST:
        return False
    try:
        return read_metadata(head[_START:]).kind == SCHEMA
    except ValueError:
        return False


class MessageStream:
    """A stream for Arrow to read, whose messages were checked.

    No length is believed that leads out of the shard, and compressed buffers are counted by what they unpack to. The
    body of a large message is given as the mapping of a temporary file: whatever a batch takes, memory holds some
    pages of it.

    Args:
      stream: the shard.
      passed: how many of its record batches are left out, from the first one on.

    Attributes:
      closed: always False; Arrow asks.
      rows: of the message that was given last, a record batch, if its head says them twice and its bytes can hold them;
        else None.
    """

    closed = False

    def __init__(self, stream: BinaryIO, passed: int = 0) -> None:
        self._passed = passed
        self._stream, self._size, self._at = stream, stream.seek(0, SEEK_END), 0
        self._waiting: list[memoryview] = []
        self.rows: int | None = None
        self._dictionaries = 0
        stream.seek(0)
        is_file = stream.read(len(FILE_MAGIC)) == FILE_MAGIC
        stream.seek(0)
        self._messages = self._of_file() if is_file else self._of_stream()

    def read(self, size: int) -> memoryview:
        """The next ``size`` bytes of the stream; fewer after its end.

        Raises:
          pa.ArrowInvalid: a message is damaged, cut, or unpacks to more than is allowed.
        """
        parts = list[memoryview]()
        while size > 0 and (self._waiting or self._load()):
            part, rest = self._waiting[0][:size], self._waiting[0][size:]
            self._waiting[:1] = [rest] if len(rest) else []
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def close(self) -> None:
        """Arrow closes what it was given; the shard is closed by its owner."""

    def _load(self) -> bool:
        """Make the next message available; False after the last one."""
        self.rows = None
        self._waiting = [memoryview(part) for part in next(self._messages, ()) if len(part)]
        return bool(self._waiting)

    def _of_stream(self) -> Iterator[_Parts]:
        while True:
            start = self._exactly(_START, "the start of a message")
            if start.startswith(_FEATHER_1) and self._at == _START:
                raise pa.ArrowInvalid("a Feather file of version 1; write it again as version 2")
            if not start.startswith(_CONTINUES):
                raise self._damage(f"no message begins with {start[:4].hex()}")
            if not (length := int.from_bytes(start[4:], "little")):
                break
            data, metadata = self._metadata(length)
            if not self._passes(metadata):
                yield start, data, self._body(metadata)
        if self._at < self._size:
            raise self._damage(f"{self._size - self._at} bytes follow its end")
        yield (start,)

    def _of_file(self) -> Iterator[_Parts]:
        index = self._index()
        yield self._start(len(index.schema)), index.schema
        for place, length in index.blocks:
            self._seek(place)
            # Old writers left the first four bytes out.
            start = self._exactly(4, "the start of a message")
            start = self._exactly(4, "the start of a message") if start == _CONTINUES else start
            data, metadata = self._metadata(int.from_bytes(start, "little"))
            self._seek(place + length)
            if not self._passes(metadata):
                yield self._start(len(data)), data, self._body(metadata)
        yield (self._start(0),)

    def _index(self) -> FileIndex:
        try:
            return read_index(self._stream, self._size)
        except ValueError as error:
            raise pa.ArrowInvalid(f"its index is damaged or cut: {error}") from error

    def _start(self, length: int) -> bytes:
        return _CONTINUES + length.to_bytes(4, "little")

    def _metadata(self, length: int) -> tuple[bytes, MessageMetadata]:
        if not 0 < length <= _LONGEST:
            raise self._damage(f"a message whose metadata have {length} bytes")
        data = self._exactly(length, "the metadata of a message")
        try:
            return data, read_metadata(data)
        except ValueError as error:
            raise self._damage(str(error)) from error

    def _passes(self, metadata: MessageMetadata) -> bool:
        """Pass over the body of a message that is left out."""
        if metadata.kind != BATCH or not self._passed:
            return False
        self._check_body(metadata)
        self._seek(self._at + metadata.body)
        self._passed -= 1
        return True

    def _check_body(self, metadata: MessageMetadata) -> None:
        left = self._size - self._at
        if not 0 <= metadata.body <= left:
            raise self._damage(f"it is cut, or damaged: a message of {metadata.body} bytes, of which there are {left}")

    def _body(self, metadata: MessageMetadata) -> memoryview:
        self._check_body(metadata)
        spooled = metadata.body > _SPOOLED
        body = self._mapped(metadata.body) if spooled else memoryview(self._exactly(metadata.body, "a message"))
        self._check_unpacked(metadata, body)
        # A forged head could make billions of rows of nothing.
        if metadata.kind == BATCH and metadata.agreed and 0 < metadata.rows <= metadata.body:
            self.rows = metadata.rows
        return body

    def _mapped(self, size: int) -> memoryview:
        with TemporaryFile() as file:
            for start in range(0, size, _CHUNK):
                file.write(self._exactly(min(_CHUNK, size - start), "a message"))
            file.flush()
            # The mapping lives as long as Arrow needs it for an array.
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))

    def _check_unpacked(self, metadata: MessageMetadata, body: memoryview) -> None:
        lengths = (int.from_bytes(body[at : at + 8], "little", signed=True) for at in metadata.packed)
        unpacked = sum(max(length, 0) for length in lengths)  # -1 for a buffer that is not compressed
        if metadata.kind == DICTIONARY:  # all of which stay in memory
            self._dictionaries += unpacked
            unpacked = self._dictionaries
        if unpacked > _UNPACKED:
            remedy = "write smaller record batches, or uncompressed ones"
            raise self._damage(f"a message that unpacks to {unpacked:,} bytes, and the most is {_UNPACKED:,}; {remedy}")

    def _exactly(self, size: int, what: str) -> bytes:
        if size > self._size - self._at:
            raise self._damage(f"it is cut within {what}")
        data = exactly(self._stream, size, what)
        self._at += size
        return data

    def _seek(self, place: int) -> None:
        self._at = self._stream.seek(place)

    def _damage(self, problem: str) -> pa.ArrowInvalid:
        return pa.ArrowInvalid(f"{problem}, at byte {self._at}")
