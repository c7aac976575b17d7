"""The bytes of one shard as a window that moves forward, decompressed where the shard is gzip."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.errors import ShardError, UnreadableError
from pipeline.readers.damage import reading
from pipeline.records import Shard
from pipeline.storage import store_for

BLOCK = 1 << 20  # bytes asked of a store at once; also the most that one step of decompression gives
_HEAD = 1024  # decompressed bytes that tell a format
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's wbits for a gzip header and trailer, both checked


class Window:
    """``data[pos:]`` is what was read and not yet used; ``need`` reads on and keeps only that.

    Memory: one block and what was last needed. ``data`` and ``pos`` are for the caller to use and to advance.

    Args:
      shard: plain or gzip.
      proven: give nothing of a gzip stream that its checksum contradicts. To know that beforehand it is decompressed
        twice. One that is merely cut off has no checksum: what there is of it is given.
    """

    __slots__ = ("_base", "_blocks", "_shard", "data", "pos")

    def __init__(self, shard: Shard, *, proven: bool = False) -> None:
        self.data, self.pos = b"", 0
        self._shard, self._base = shard, 0
        self._blocks = _blocks(shard, proven)

    @property
    def offset(self) -> int:
        """Position of ``pos`` in the shard's (decompressed) bytes."""
        return self._base + self.pos

    def need(self, count: int) -> bool:
        """Have ``count`` bytes from ``pos`` on; False where the shard ends before, and then what is left is there.

        Raises:
          ShardError: the gzip stream is damaged.
          UnreadableError: the store failed.
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
      UnreadableError: the store failed.
    """
    with reading(shard), store_for(shard.uri).open(shard.uri, sparse=True) as stream:
        return stream.read(len(_GZIP)) == _GZIP


def _blocks(shard: Shard, proven: bool) -> Iterator[bytes]:
    with reading(shard), store_for(shard.uri).open(shard.uri) as stream:
        head = stream.read(BLOCK)
        if not head.startswith(_GZIP):
            yield from _plain(stream, head)
            return
        trusted, damage = _proof(shard) if proven else (0, None)
        blocks = filter(None, _gunzip(shard, stream, head))
        yield from blocks if damage is None else _until(trusted, blocks, damage)


def _plain(stream: BinaryIO, block: bytes) -> Iterator[bytes]:
    while block:
        yield block
        block = stream.read(BLOCK)


def _gunzip(shard: Shard, stream: BinaryIO, data: bytes) -> Iterator[bytes]:
    """Decompressed blocks; an empty one says that nothing contradicts those before it."""
    # Members follow one another (RFC 1952, 2.2), perhaps with zeros behind them. Each step's output is bounded,
    # however well the data is compressed.
    inflate = zlib.decompressobj(_GZIP_WINDOW)
    while data:
        before = inflate.copy()  # costs a thousandth of the step
        try:
            block = inflate.decompress(data, BLOCK)
        except zlib.error as error:
            block, good = _sound(before, data)
            if block:
                yield block
            problem = f"the gzip stream is damaged ({_words(error)}), which shows in the compressed file"
            raise ShardError(shard.path, problem, stream.tell() - len(data) + good) from error
        if block:
            yield block
        if inflate.eof:
            yield b""
            data = _next_member(shard, stream, inflate.unused_data)
            inflate = zlib.decompressobj(_GZIP_WINDOW) if data else inflate
        else:
            data = inflate.unconsumed_tail or stream.read(BLOCK)
    if not inflate.eof:
        yield b""
        raise ShardError(shard.path, "the gzip stream is truncated", stream.tell())


def _sound(inflate: "zlib._Decompress", data: bytes) -> tuple[bytes, int]:
    """What comes out before the first byte over which decompression fails, and where in ``data`` that is."""
    out, at, step = list[bytes](), 0, 1 << 16
    while step:
        trial = inflate.copy()
        try:
            out.append(trial.decompress(data[at : at + step], BLOCK))
        except zlib.error:
            step >>= 4
        else:
            inflate, at = trial, at + step
    return b"".join(out), at


def _words(error: zlib.error) -> str:
    return str(error).rpartition(": ")[2]


def _next_member(shard: Shard, stream: BinaryIO, data: bytes) -> bytes:
    while data or (data := stream.read(BLOCK)):
        if data := data.lstrip(b"\0"):
            if not _GZIP.startswith(data[:2]):
                raise ShardError(shard.path, "data after the gzip stream's end", stream.tell() - len(data))
            return data
    return b""


def _proof(shard: Shard) -> tuple[int, ShardError | None]:
    """How many decompressed bytes the checksums of gzip do not contradict, and what is wrong behind them."""
    count = trusted = 0
    try:
        with store_for(shard.uri).open(shard.uri) as stream:
            for block in _gunzip(shard, stream, stream.read(BLOCK)):
                count += len(block)
                trusted = trusted if block else count
    except UnreadableError:
        raise
    except ShardError as damage:
        return trusted, damage
    return count, None


def _until(count: int, blocks: Iterator[bytes], damage: ShardError) -> Iterator[bytes]:
    """The first ``count`` bytes, and then the error."""
    for block in blocks:
        if kept := block[:count]:
            yield kept
        count -= len(kept)
        if not count:
            break
    raise damage
