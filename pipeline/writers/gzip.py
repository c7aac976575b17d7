"""Gzip on its way to a store."""

import zlib

from pipeline.storage import Sink

_LEVEL = 1  # images are compressed already
_WINDOW = 31  # zlib's wbits for a gzip header, without name and time stamp, and trailer
_BLOCK = 1 << 20


class GzipSink(Sink):
    """Compresses into another sink; ``size`` and ``crc32c`` are of the compressed bytes.

    These depend on what is written alone, not on where one write ends and the next begins: the compressor is given
    blocks of one size, for not every implementation of zlib would do the same with others. Memory: such a block and
    the largest write.
    """

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink.uri)
        self._sink = sink
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW)
        self._waiting = bytearray()

    @property
    def crc32c(self) -> str:
        return self._sink.crc32c

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self._waiting += view
        whole = len(self._waiting) // _BLOCK * _BLOCK
        for start in range(0, whole, _BLOCK):
            self._pass_on(self._deflate.compress(self._waiting[start : start + _BLOCK]))
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
        self._pass_on(self._deflate.compress(self._waiting) + self._deflate.flush())

    def _pass_on(self, data: bytes) -> None:
        self._sink.write(data)
        self.size = self._sink.size
