"""The bytes of one shard as a window that moves forward, decompressed where the shard is gzip."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.errors import ShardError
from pipeline.records import Shard
from pipeline.storage import store_for

BLOCK = 1 << 20  # bytes asked of a store at once; also the most that one step of decompression gives
_HEAD = 1024  # decompressed bytes that tell a format
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's wbits for a gzip header and trailer, both checked


class Window:
    """``data[pos:]`` is what was read and not yet used; ``need`` reads on and keeps only that.

    Memory: one block and what was last needed. ``data`` and ``pos`` are for the caller to use and to advance.
    """

    __slots__ = ("_base", "_blocks", "_shard", "data", "pos")

    def __init__(self, shard: Shard) -> None:
        self.data, self.pos = b"", 0
        self._shard, self._base = shard, 0
        self._blocks = _blocks(shard)

    @property
    def offset(self) -> int:
        """Position of ``pos`` in the shard's (decompressed) bytes."""
        return self._base + self.pos

    def need(self, count: int) -> bool:
        """Have ``count`` bytes from ``pos`` on; False where the shard ends before, and then what is left is there.

        Raises:
          ShardError: the store failed, or the gzip stream is damaged.
        """
        have = len(self.data) - self.pos
        if have >= count:
            return True
        parts = [self.data[self.pos :]]
        self._base, self.data, self.pos = self.offset, parts[0], 0
        while have < count and (block := next(self._blocks, b"")):
            parts.append(block)
            have += len(block)
        self.data = b"".join(parts)
        return have >= count

    def skip(self, count: int) -> bool:
        """Pass over ``count`` bytes without keeping them; False where the shard ends before."""
        while count > (have := len(self.data) - self.pos):
            count -= have
            self.pos = len(self.data)
            if not self.need(1):
                return False
        self.pos += count
        return True

    def damage(self, problem: str, offset: int | None = None) -> ShardError:
        """The error that says what is wrong at ``offset`` (default: here); for the caller to raise or to keep."""
        return ShardError(self._shard.path, problem, self.offset if offset is None else offset)

    def close(self) -> None:
        """Let go of the store's stream."""
        self._blocks.close()  # type: ignore[attr-defined]


def decompressed(head: bytes) -> bytes:
    """The first bytes of a file, decompressed as far as they go where they are gzip."""
    if not head.startswith(_GZIP):
        return head
    try:
        return zlib.decompressobj(_GZIP_WINDOW).decompress(head, _HEAD)
    except zlib.error:
        return b""


def is_gzip(shard: Shard) -> bool:
    """Whether a shard is compressed, by its first bytes.

    Raises:
      ShardError: the store failed.
    """
    try:
        with store_for(shard.uri).open(shard.uri) as stream:
            return stream.read(len(_GZIP)) == _GZIP
    except OSError as error:
        raise ShardError(shard.path, f"the store failed: {error}") from error


def _blocks(shard: Shard) -> Iterator[bytes]:
    try:
        with store_for(shard.uri).open(shard.uri) as stream:
            head = stream.read(BLOCK)
            yield from _gunzip(shard, stream, head) if head.startswith(_GZIP) else _plain(stream, head)
    except OSError as error:
        raise ShardError(shard.path, f"the store failed: {error}") from error


def _plain(stream: BinaryIO, block: bytes) -> Iterator[bytes]:
    while block:
        yield block
        block = stream.read(BLOCK)


def _gunzip(shard: Shard, stream: BinaryIO, data: bytes) -> Iterator[bytes]:
    # Members follow one another (RFC 1952, 2.2), perhaps with zeros behind them. Each step's output is bounded,
    # however well the data is compressed.
    inflate = zlib.decompressobj(_GZIP_WINDOW)
    while data:
        try:
            block = inflate.decompress(data, BLOCK)
        except zlib.error as error:
            raise ShardError(shard.path, f"the gzip stream is damaged near compressed byte {stream.tell()}") from error
        if block:
            yield block
        if inflate.eof:
            data = _next_member(stream, inflate.unused_data)
            inflate = zlib.decompressobj(_GZIP_WINDOW) if data else inflate
        else:
            data = inflate.unconsumed_tail or stream.read(BLOCK)
    if not inflate.eof:
        raise ShardError(shard.path, "the gzip stream is truncated", stream.tell())


def _next_member(stream: BinaryIO, data: bytes) -> bytes:
    while data or (data := stream.read(BLOCK)):
        if data := data.lstrip(b"\0"):
            return data
    return b""
