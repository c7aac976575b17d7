"""A window that hops over what a first pass does not need."""

from collections.abc import Iterator
from typing import BinaryIO

from lake.core.records import ByteRange, Shard
from lake.formats.common.byte_stream import BLOCK, Window
from lake.formats.common.shard_errors import reading
from lake.storage import store_for
from lake.storage.location import is_local

_NEAR = 128 << 10  # bytes that a disk reads as fast as it finds another place; also of one read
_FAR = 8 << 20  # bytes that a store sends in the time of a request


class Hops(Window):
    """A window over a plain shard, for headers that are far apart: long data between them is not read.

    On a disk every longer gap is hopped over. A store is asked for another place only where the gap is as long as what
    it sends meanwhile; else all bytes are read, at the speed of the store.

    Args:
      shard: a plain one.
      begin: the first byte.
    """

    __slots__ = ("_file", "_hop")

    def __init__(self, shard: Shard, begin: int = 0) -> None:
        super().__init__(shard, byte_range=ByteRange(begin=begin))
        near = is_local(shard.uri)
        self._hop = _NEAR if near else _FAR
        with reading(shard):
            self._file = store_for(shard.uri).open(shard.uri, sparse=begin > 0)
            self._file.seek(begin)
        self._blocks = _read_on(shard, self._file, _NEAR if near else BLOCK)

    def skip(self, count: int) -> bool:
        gap = count - (len(self.data) - self.pos)
        if gap < self._hop:
            return super().skip(count)
        if self.offset + count > self._shard.size:
            return False
        with reading(self._shard):
            self._base, self.data, self.pos = self._file.seek(self.offset + count), b"", 0
        return True

    def close(self) -> None:
        super().close()
        self._file.close()


def _read_on(shard: Shard, file: BinaryIO, size: int) -> Iterator[bytes]:
    with reading(shard):
        while block := file.read(size):
            yield block
