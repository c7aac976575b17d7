"""Streams of bzip2, xz and Zstandard: unpacked in bounded steps, and packed again.

They are told by their first bytes. Those of bzip2 are letters, so the start of its first block counts too.
"""

import bz2
import lzma
import re
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO

import pyarrow as pa

from lake.core.errors import ShardError
from lake.core.records import Shard
from lake.formats.common.shard_errors import damage

_STEP = 1 << 20  # bytes per read, and the most that one step gives
_MEMORY = 256 << 20  # most bytes of xz's dictionary
_STARTS = {
    "bzip2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
}
_UNPACKERS: dict[str, Callable[[], Any]] = {
    "bzip2": bz2.BZ2Decompressor,
    "xz": partial(lzma.LZMADecompressor, format=lzma.FORMAT_XZ, memlimit=_MEMORY),
}


def packing_of(head: bytes) -> str | None:
    """The name of a stream's packing; None for any other stream.

    >>> packing_of(bz2.compress(b"")), packing_of(lzma.compress(b"")), packing_of(b"BZh9.png")
    ('bzip2', 'xz', None)
    """
    return next((name for name, start in _STARTS.items() if start.match(head)), None)


def unpacked(shard: Shard, stream: BinaryIO, packing: str) -> Iterator[bytes]:
    """Blocks of a stream.

    Args:
      shard: for errors.
      stream: at its start.
      packing: as ``packing_of`` gave it.

    Raises:
      ShardError: it is damaged, truncated, or something follows its end.
    """
    if packing == "zstd":
        with damage(shard):
            source = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")
            while block := source.read(_STEP):
                yield block
        return
    data = stream.read(_STEP)
    while data:
        if packing_of(data) != packing:
            raise ShardError(shard.path, f"data after the {packing} stream's end", stream.tell() - len(data))
        unpacker = _UNPACKERS[packing]()
        yield from _one(shard, stream, packing, unpacker, data)
        data = (unpacker.unused_data + stream.read(_STEP)).lstrip(b"\0")


def _one(shard: Shard, stream: BinaryIO, packing: str, unpacker: Any, data: bytes) -> Iterator[bytes]:
    """Blocks of one of the streams that a file may have one after another."""
    while not unpacker.eof:
        try:
            block = unpacker.decompress(data, _STEP)
        except (OSError, lzma.LZMAError) as error:
            raise ShardError(shard.path, f"the {packing} stream is damaged ({error})", stream.tell()) from error
        if block:
            yield block
        data = b""
        if unpacker.needs_input and not unpacker.eof and not (data := stream.read(_STEP)):
            raise ShardError(shard.path, f"the {packing} stream is truncated", stream.tell())


def packer(packing: str) -> Any:
    """An object that packs: ``compress`` takes bytes and ``flush`` ends; both give packed bytes."""
    if packing == "bzip2":
        return bz2.BZ2Compressor(1)
    return lzma.LZMACompressor(preset=0) if packing == "xz" else _Zstd()


class _Zstd:
    """Packs by Zstandard, of which Python's library has no packer before 3.14."""

    def __init__(self) -> None:
        self._out = _Kept()
        self._stream = pa.CompressedOutputStream(pa.PythonFile(self._out, mode="w"), "zstd")

    def compress(self, data: bytes) -> bytes:
        self._stream.write(data)
        return self._out.take()

    def flush(self) -> bytes:
        self._stream.close()
        return self._out.take()


class _Kept(BytesIO):
    """Bytes that stay when Arrow closes the file."""

    def close(self) -> None:
        """Keep what was written."""

    def take(self) -> bytes:
        data = self.getvalue()
        self.seek(0)
        self.truncate()
        return data
