"""The bytes of one shard as a window that moves forward; compressed ones are decompressed.

Gzip (RFC 1952) and zlib (RFC 1950) are handled here, bzip2, xz and Zstandard by ``packing``.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import ByteRange, Shard
from lake.formats.common.packing import packing_of, unpacked
from lake.formats.common.shard_errors import reading
from lake.storage import store_for

BLOCK = 1 << 20  # bytes per read from the store; also the most that one step of decompression gives
_START = 64 << 10  # bytes of the first read where little more is needed
_HEAD = 1024  # decompressed bytes from which a format is recognised
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's wbits for a gzip header and trailer, both checked
ZLIB_WINDOW = 15  # the same for those of zlib


class Window:
    """A moving window over a shard: ``data[pos:]`` was read and is not yet used; ``need`` reads on and keeps only that.

    It holds one block and what was last needed. The caller uses and advances ``data`` and ``pos``, which keeps inner
    loops free of calls.

    Args:
      shard: plain or gzip.
      is_plain: tells by its first bytes that a shard is not zlib, whose header has no magic number; None where no
        shard is zlib.
      proven: yield nothing that a gzip checksum contradicts. The stream is decompressed twice for that. A truncated
        stream has no checksum, so what there is of it is given.
      byte_range: the bytes of a plain shard that the window moves over; None for all. Positions are those in it.
      sparse: only the shard's beginning will be read, so that not even a small one is fetched whole.

    Attributes:
      data: bytes that were read.
      pos: index of the first byte that was not used yet.
    """

    __slots__ = ("_base", "_blocks", "_end", "_shard", "data", "pos")

    def __init__(
        self,
        shard: Shard,
        *,
        is_plain: Callable[[bytes], bool] | None = None,
        proven: bool = False,
        byte_range: ByteRange | None = None,
        sparse: bool = False,
    ) -> None:
        self.data, self.pos = b"", 0
        self._shard, self._base = shard, byte_range.begin if byte_range else 0
        self._end = byte_range.end if byte_range else None
        self._blocks = _part(shard, byte_range) if byte_range else _blocks(shard, is_plain, proven, sparse)

    @property
    def offset(self) -> int:
        """Position of ``pos`` in the shard's (decompressed) bytes."""
        return self._base + self.pos

    @property
    def at_edge(self) -> bool:
        """Whether the position is where the next slice of the shard begins."""
        return self.offset == self._end

    def need(self, count: int) -> bool:
        """Make ``count`` bytes available from ``pos`` on.

        Returns:
          False if the shard ends before; then the rest of it is available.

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
        """Pass over ``count`` bytes without holding them; False if the shard ends before.

        Raises:
          ShardError: the gzip stream is damaged.
          UnreadableError: the store failed.
        """
        while count > (have := len(self.data) - self.pos):
            count -= have
            self.pos = len(self.data)
            if not self.need(1):
                return False
        self.pos += count
        return True

    def damage(self, problem: str, offset: int | None = None) -> ShardError:
        """An error that says what is wrong, for the caller to raise or to keep.

        Args:
          problem: in words.
          offset: of the damage; None for the current position.
        """
        return ShardError(self._shard.path, problem, self.offset if offset is None else offset)

    def close(self) -> None:
        """Close the store's stream."""
        self._blocks.close()  # type: ignore[attr-defined]


def decompressed(head: bytes, window: int = _GZIP_WINDOW) -> bytes:
    """The first bytes of a file, decompressed as far as possible if they are gzip.

    Args:
      head: the first bytes.
      window: ``ZLIB_WINDOW`` if they are zlib.
    """
    if window == _GZIP_WINDOW and not head.startswith(_GZIP):
        return head
    try:
        return zlib.decompressobj(window).decompress(head, _HEAD)
    except zlib.error:
        return b""


def window_of(shard: Shard, is_plain: Callable[[bytes], bool] | None = None) -> int | None:
    """The kind of compression of a shard, by its first bytes, as zlib's ``wbits``; None for a plain one.

    Args:
      shard: the file.
      is_plain: as of ``Window``.

    Raises:
      UnreadableError: the store failed.
    """
    return _window(_head(shard), is_plain)


def is_compressed(shard: Shard, is_plain: Callable[[bytes], bool] | None = None) -> bool:
    """Whether a shard is compressed, by its first bytes.

    Args:
      shard: the file.
      is_plain: as of ``Window``.

    Raises:
      UnreadableError: the store failed.
    """
    head = _head(shard)
    return packing_of(head) is not None or _window(head, is_plain) is not None


def packing(shard: Shard) -> str | None:
    """The packing of a shard of bzip2, xz or Zstandard, by its first bytes; None for any other.

    Raises:
      UnreadableError: the store failed.
    """
    return packing_of(_head(shard))


def _head(shard: Shard) -> bytes:
    with reading(shard), store_for(shard.uri).open(shard.uri, sparse=True) as stream:
        return stream.read(_HEAD)


def _window(head: bytes, is_plain: Callable[[bytes], bool] | None) -> int | None:
    if head.startswith(_GZIP):
        return _GZIP_WINDOW
    zlibs = len(head) > 1 and head[0] & 15 == 8 and not int.from_bytes(head[:2]) % 31  # RFC 1950, 2.2
    return ZLIB_WINDOW if zlibs and is_plain is not None and not is_plain(head) else None


def _blocks(shard: Shard, is_plain: Callable[[bytes], bool] | None, proven: bool, sparse: bool) -> Iterator[bytes]:
    with reading(shard), store_for(shard.uri).open(shard.uri, sparse=sparse) as stream:
        head = stream.read(_START if sparse else BLOCK)
        if (packing := packing_of(head)) is not None:
            yield from _unpacked(shard, stream, packing, proven)
            return
        if (window := _window(head, is_plain)) is None:
            yield from _plain(stream, head)
            return
        trusted, damage = _verified(shard, window) if proven else (0, None)
        blocks = filter(None, _inflated(shard, stream, head, window))
        yield from blocks if damage is None else _until(trusted, blocks, damage)


def _part(shard: Shard, byte_range: ByteRange) -> Iterator[bytes]:
    """Blocks of some bytes of a plain shard."""
    left = (shard.size if byte_range.end is None else byte_range.end) - byte_range.begin
    with reading(shard), store_for(shard.uri).open(shard.uri) as stream:
        stream.seek(byte_range.begin)
        while block := stream.read(min(BLOCK, left)):
            left -= len(block)
            yield block


def _unpacked(shard: Shard, stream: BinaryIO, packing: str, proven: bool) -> Iterator[bytes]:
    """Blocks of bzip2, xz or Zstandard; none if the stream is damaged and only what is proven counts."""
    if proven:
        with store_for(shard.uri).open(shard.uri) as first:
            for _ in unpacked(shard, first, packing):
                pass
    stream.seek(0)
    yield from unpacked(shard, stream, packing)


def _plain(stream: BinaryIO, block: bytes) -> Iterator[bytes]:
    while block:
        yield block
        block = stream.read(BLOCK)


def _inflated(shard: Shard, stream: BinaryIO, data: bytes, window: int) -> Iterator[bytes]:
    """Decompressed blocks. An empty block marks a point up to which no checksum contradicts the data."""
    # A file may have several members (RFC 1952, 2.2), and zeros after them. Each step's output is bounded, however well
    # the data is compressed.
    inflate, name = zlib.decompressobj(window), "gzip" if window == _GZIP_WINDOW else "zlib"
    while data:
        before = inflate.copy()  # for the search after an error; costs a thousandth of the step
        try:
            block = inflate.decompress(data, BLOCK)
        except zlib.error as error:
            block, good = _decodable(before, data)
            if block:
                yield block
            problem = f"the {name} stream is damaged ({_reason(error)}), which shows in the compressed file"
            raise ShardError(shard.path, problem, stream.tell() - len(data) + good) from error
        if block:
            yield block
        if inflate.eof:
            yield b""
            data = _next_member(shard, stream, inflate.unused_data, window)
            inflate = zlib.decompressobj(window) if data else inflate
        else:
            data = inflate.unconsumed_tail or stream.read(BLOCK)
    if not inflate.eof:
        yield b""
        raise ShardError(shard.path, f"the {name} stream is truncated", stream.tell())


def _decodable(inflate: "zlib._Decompress", data: bytes) -> tuple[bytes, int]:
    """What decompresses before the first bad byte, and the position of that byte in ``data``.

    The position is narrowed down in steps of 64 KiB, 4 KiB, 256, 16 and 1.
    """
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


def _reason(error: zlib.error) -> str:
    return str(error).rpartition(": ")[2]


def _next_member(shard: Shard, stream: BinaryIO, data: bytes, window: int) -> bytes:
    while data or (data := stream.read(BLOCK)):
        if data := data.lstrip(b"\0"):
            name = "gzip" if window == _GZIP_WINDOW else "zlib"
            if window != _GZIP_WINDOW or not _GZIP.startswith(data[:2]):
                raise ShardError(shard.path, f"data after the {name} stream's end", stream.tell() - len(data))
            return data
    return b""


def _verified(shard: Shard, window: int) -> tuple[int, ShardError | None]:
    """How many decompressed bytes no gzip checksum contradicts, and the damage after them."""
    count = trusted = 0
    try:
        with store_for(shard.uri).open(shard.uri) as stream:
            for block in _inflated(shard, stream, stream.read(BLOCK), window):
                count += len(block)
                trusted = trusted if block else count
    except UnreadableError:
        raise
    except ShardError as damage:
        return trusted, damage
    return count, None


def _until(count: int, blocks: Iterator[bytes], damage: ShardError) -> Iterator[bytes]:
    """The first ``count`` bytes, followed by the error."""
    for block in blocks:
        if part := block[:count]:
            yield part
        count -= len(part)
        if not count:
            break
    raise damage
