"""Many plain images of the target's own size and colours in one call, outside the interpreter lock.

Pillow takes and returns the interpreter lock several times for each image: for small images two threads are no
faster than one. Here a TensorFlow graph holds one decoding operation for each image of a chunk, so Python is entered
once for a chunk. Chunks of 256 small images cost about 1 us of Python for each image, and 40 ms once to build the
graph; larger ones gain nothing and take longer to build.

What is plain (``Header.plain``: 8-bit grey or RGB PNG, baseline JPEG of usual sampling) decodes to the same bits as
in ``exact``. TensorFlow's PNG decoder also refuses all that ``exact`` refuses; where it refuses, ``exact`` has the say.
"""

import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.images import png
from pipeline.images.base import Format, Header, Target
from pipeline.images.exact import turn_of
from pipeline.records import Array

CHUNK = 256  # small images in one call
_CHUNK_BYTES = 4 << 20  # of pixels in one call: bounds memory where images are large
_MOST_OVERHEAD = 1 << 20  # bytes that a file may have beyond its raw pixels
_tracing = threading.Lock()


class Bulk:
    """Decodes what fits a target; any number of threads may use one.

    ``chunk`` images are decoded in one call; fewer cost as much.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._shape = target.fixed
        size = int(np.prod(self._shape))
        self.chunk = max(1, min(CHUNK, _CHUNK_BYTES // max(size, 1)))
        self._png = _png_start(self._shape)
        self.most_bytes = size + _MOST_OVERHEAD

    def takes(self, header: Header, size: int) -> bool:
        """Whether an image of this header and number of bytes is decoded here."""
        return (
            header.plain
            and (header.height, header.width, header.channels) == self._shape
            and turn_of(header, self._target) == 1
            and size <= self.most_bytes
        )

    def plain_pngs(self, files: pa.Array) -> Array:
        """Which of the files, bool ``[n]``, are by their first and last bytes PNGs of IHDR, one IDAT and IEND only.

        Args:
          files: ``pa.BinaryArray`` or ``pa.LargeBinaryArray``; nulls are False.
        """
        found = np.zeros(len(files), bool)
        starts, sizes, data = _buffers(files)
        candidates = np.flatnonzero((sizes >= _PNG_SMALLEST) & (sizes <= self.most_bytes))
        if self._png is not None and len(candidates):
            starts, ends = starts[candidates], (starts + sizes)[candidates]
            good = _at(data, starts, "V29") == np.frombuffer(self._png, "V29")
            good &= _at(data, starts + 33, ">u4") == sizes[candidates] - _PNG_SMALLEST
            good &= _at(data, starts + 37, "V4") == np.frombuffer(b"IDAT", "V4")
            good &= _at(data, ends - len(_IEND), "V12") == np.frombuffer(_IEND, "V12")
            found[candidates] = good
        return found

    def decode(self, kind: Format, files: Array) -> tuple[Array, Array]:
        """Pixels uint8 ``[n, H, W, C]`` and which of them are good, bool ``[n]``.

        Where an image is damaged its whole chunk is not good: decode these one by one.

        Args:
          kind: PNG or JPEG.
          files: what ``takes`` or ``plain_pngs`` agreed to, object ``[n]`` of bytes.
        """
        pixels = np.empty((len(files), *self._shape), np.uint8)
        good = np.ones(len(files), bool)
        graph = _graph(kind, self.chunk, self._shape[2])
        for start, chunk in _chunks(files, self.chunk):
            stop = min(start + self.chunk, len(files))
            decoded = _run(graph, chunk)
            if decoded is None or decoded.shape[1:] != self._shape:
                good[start:stop] = False
            else:
                pixels[start:stop] = decoded[: stop - start]
        return pixels, good


_IEND = b"\x00\x00\x00\x00IEND\xae\x42\x60\x82"
_PNG_SMALLEST = 8 + 25 + 12 + len(_IEND)  # signature, IHDR, an empty IDAT


def _png_start(shape: tuple[int, ...]) -> bytes | None:
    """Signature and IHDR up to its CRC, of the plain PNG of a shape."""
    color = {1: 0, 3: 2}.get(shape[-1])
    if color is None or len(shape) != 3:
        return None
    sides = shape[1].to_bytes(4) + shape[0].to_bytes(4)
    return png.SIGNATURE + b"\x00\x00\x00\rIHDR" + sides + bytes((8, color, 0, 0, 0))


def _buffers(files: pa.Array) -> tuple[Array, Array, Array]:
    """Start and size of each file, int64 ``[n]`` (size -1 for null), and the bytes they lie in."""
    kind = np.int64 if pa.types.is_large_binary(files.type) else np.int32
    _, offsets, data = files.buffers()
    bounds = np.frombuffer(offsets, kind)[files.offset : files.offset + len(files) + 1].astype(np.int64)
    sizes = np.diff(bounds)
    if files.null_count:
        sizes[files.is_null().to_numpy(zero_copy_only=False)] = -1
    return bounds[:-1], sizes, np.frombuffer(data if data is not None else b"", np.uint8)


def _at(data: Array, positions: Array, dtype: str) -> Array:
    """The values that begin at these bytes; voids are compared whole, which is 5 times faster than byte by byte."""
    width = np.dtype(dtype).itemsize
    values: Array = np.ndarray((len(data) - width + 1,), dtype, data, strides=(1,))[positions]
    return values


def _chunks(files: Array, size: int) -> Iterator[tuple[int, Array]]:
    """Start and files of each chunk; the last is filled up by repeating its first."""
    for start in range(0, len(files), size):
        chunk = files[start : start + size]
        missing = size - len(chunk)
        yield start, np.concatenate([chunk, np.repeat(chunk[:1], missing)]) if missing else chunk


def _run(graph: Callable[[Any], Any], chunk: Array) -> Array | None:
    from model.backend import tensorflow

    tf = tensorflow()
    try:
        return np.asarray(memoryview(graph(tf.constant(chunk))))
    except tf.errors.InvalidArgumentError:
        return None  # no loss: each file of the chunk is decoded, and judged, by ``exact``


def _graph(kind: Format, size: int, channels: int) -> Callable[[Any], Any]:
    with _tracing:
        return _traced(kind, size, channels)


@cache
def _traced(kind: Format, size: int, channels: int) -> Callable[[Any], Any]:
    from model.backend import tensorflow

    tf = tensorflow()

    def decode(files: Any) -> Any:
        return tf.stack([_operation(tf, kind, file, channels) for file in tf.unstack(files, size)])

    signature = [tf.TensorSpec([size], tf.string)]
    function = tf.function(decode, input_signature=signature, autograph=False)
    graph: Callable[[Any], Any] = function.get_concrete_function()
    return graph


def _operation(tf: Any, kind: Format, file: Any, channels: int) -> Any:
    if kind is Format.PNG:
        return tf.raw_ops.DecodePng(contents=file, channels=channels)
    return tf.raw_ops.DecodeJpeg(contents=file, channels=channels, dct_method="INTEGER_ACCURATE")
