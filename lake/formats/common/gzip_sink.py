"""Sinks that compress on the way to a store: with gzip (RFC 1952), zlib (RFC 1950), or any other compressor."""

import zlib
from typing import Any

from lake.storage import Sink

_LEVEL = 1  # images are compressed already
_WINDOW = 31  # zlib's wbits for gzip, whose header then has no name or timestamp
_BLOCK = 1 << 20  # bytes per call of the compressor


class PackedSink(Sink):
    """Compresses into another sink. ``size`` and ``crc32c`` are those of the compressed bytes.

    The compressed bytes depend only on the data, not on how it is cut into writes. The compressor is therefore given
    blocks of one size, since some implementations of zlib are sensitive to that. Memory is one block and the largest
    write.

    Args:
      sink: receives the compressed bytes.
      compressor: an object that compresses, as of ``zlib.compressobj``.
    """

    def __init__(self, sink: Sink, compressor: Any) -> None:
        super().__init__(sink.uri)
        self._sink = sink
        self._compressor = compressor
        self._waiting = bytearray()

    @property
    def crc32c(self) -> str:
        return self._sink.crc32c

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self._waiting += view
        whole = len(self._waiting) // _BLOCK * _BLOCK
        for start in range(0, whole, _BLOCK):
            self._pass_on(self._compressor.compress(self._waiting[start : start + _BLOCK]))
        del self._waiting[:whole]
        return view.nbytes

    def finish(self) -> None:
        self._end()
        self._sink.finish()

    def publish(self) -> None:
        self._end()
        self._sink.publish()

    def abort(self) -> None:
        self._sink.abort()

    def _end(self) -> None:
        self._pass_on(self._compressor.compress(self._waiting) + self._compressor.flush())

    def _pass_on(self, data: bytes) -> None:
        self._sink.write(data)
        self.size = self._sink.size


class GzipSink(PackedSink):
    """Compresses with gzip or zlib.

    Args:
      sink: receives the compressed bytes.
      window: zlib's ``wbits``, which tells gzip from zlib.
    """

    def __init__(self, sink: Sink, window: int = _WINDOW) -> None:
        super().__init__(sink, zlib.compressobj(_LEVEL, zlib.DEFLATED, window))
