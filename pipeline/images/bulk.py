"""Many plain images of the target's own size and colours in one call, outside the interpreter lock.

Pillow takes and returns the interpreter lock several times for each image: for small images two threads are no
faster than one. Here a TensorFlow graph holds one decoding operation for each image of a chunk, so Python is entered
once for a chunk. Chunks of 256 small images cost about 1 us of Python for each image, and 40 ms once to build the
graph; larger ones gain nothing and take longer to build.

What is plain (``Header.plain``: 8-bit grey or RGB PNG, baseline JPEG of usual sampling) decodes to the same bits as
in ``exact``. TensorFlow's PNG decoder also refuses all that ``exact`` refuses; where it refuses, ``exact`` has the say.

One damaged image fails the graph of its whole chunk. A second graph then sifts the chunk: it decodes image by image and
drops what fails, which takes 1.4 to 2 times as long, however many are bad. From then on files are looked over first for
damage that leaves a trace (a wrong CRC, a scan without an end), so that these fail no more chunks.
"""

import threading
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from pipeline.images import jpeg, png
from pipeline.images.base import Format, Header, Target
from pipeline.images.exact import turn_of
from pipeline.records import Array

CHUNK = 256  # small images in one call
_CHUNK_BYTES = 4 << 20  # of pixels in one call: bounds memory where images are large
_MOST_OVERHEAD = 1 << 20  # bytes that a file may have beyond its raw pixels
_INTACT = {Format.PNG: png.intact, Format.JPEG: jpeg.intact}
_Graph: TypeAlias = Callable[[Any], Any]  # files [chunk] -> which decode, ascending [m], and their pixels [m, H, W, C]
_tracing = threading.Lock()


class Bulk:
    """Decodes what fits a target; any number of threads may use one.

    ``chunk`` images are decoded in one call, or a quarter of it; fewer cost as much.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._shape = target.fixed
        size = int(np.prod(self._shape))
        self.chunk = max(1, min(CHUNK, _CHUNK_BYTES // max(size, 1)))
        self._png = _png_start(self._shape)
        self.most_bytes = size + _MOST_OVERHEAD
        self._wary = False  # since a first chunk failed: look files over before they are decoded

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
            good = _at(data, starts, "V33") == np.frombuffer(self._png, "V33")
            good &= _at(data, starts + 33, ">u4") == sizes[candidates] - _PNG_SMALLEST
            good &= _at(data, starts + 37, "V4") == np.frombuffer(b"IDAT", "V4")
            good &= _at(data, ends - len(_IEND), "V12") == np.frombuffer(_IEND, "V12")
            found[candidates] = good
        return found

    def decode(self, kind: Format, files: Array) -> tuple[Array, Array]:
        """Which files are good, ascending int ``[m]``, and their pixels, uint8 ``[m, H, W, C]``.

        What is not good is damaged, or may be: decode these one by one.

        Args:
          kind: PNG or JPEG.
          files: what ``takes`` or ``plain_pngs`` agreed to, object ``[n]`` of bytes.
        """
        pixels = np.empty((len(files), *self._shape), np.uint8)
        hopeful, good, count = self._hopeful(kind, files), [], 0
        for start, size in _chunks(len(hopeful), self.chunk):
            positions = hopeful[start : start + size]
            found, decoded = self._decoded(kind, files[positions], size)
            good.append(positions[found])
            pixels[count : count + len(found)] = decoded
            count += len(found)
        return np.concatenate([hopeful[:0], *good]), pixels[:count]

    def header(self, kind: Format) -> Header:
        """Of each file that ``decode`` takes, as far as it matters to pixels."""
        height, width, channels = self._shape
        return Header(format=kind, height=height, width=width, channels=channels, plain=True)

    def _hopeful(self, kind: Format, files: Array) -> Array:
        """Positions of the files that show no damage, or of all as long as there has been none."""
        if not self._wary:
            return np.arange(len(files))
        return np.flatnonzero([_INTACT[kind](data) for data in files.tolist()])

    def _decoded(self, kind: Format, files: Array, size: int) -> tuple[Array, Array]:
        """Which files of a chunk decode, int ``[m]``, and their pixels uint8 ``[m, H, W, C]``."""
        chunk = _filled(files, size)
        for make in (_whole, _sifting):
            result = _run(_graph(make, kind, size, self._shape[2]), chunk)
            if result is not None and result[1].shape[1:] == self._shape:
                count = np.searchsorted(result[0], len(files))
                return result[0][:count], result[1][:count]
            self._wary = True
        return np.empty(0, int), np.empty((0, *self._shape), np.uint8)


_IEND = b"\x00\x00\x00\x00IEND\xae\x42\x60\x82"
_PNG_SMALLEST = 8 + 25 + 12 + len(_IEND)  # signature, IHDR, an empty IDAT


def _png_start(shape: tuple[int, ...]) -> bytes | None:
    """Signature and IHDR of the plain PNG of a shape."""
    color = {1: 0, 3: 2}.get(shape[-1])
    if color is None or len(shape) != 3:
        return None
    head = b"IHDR" + shape[1].to_bytes(4) + shape[0].to_bytes(4) + bytes((8, color, 0, 0, 0))
    return png.SIGNATURE + b"\x00\x00\x00\r" + head + zlib.crc32(head).to_bytes(4)


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


def _chunks(count: int, most: int) -> Iterator[tuple[int, int]]:
    """Start and size of each chunk; the last ones are quarters where that leaves less to fill up."""
    quarter, start = max(most // 4, 1), 0
    while start < count:
        size = most if count - start > 3 * quarter else quarter
        yield start, size
        start += size


def _filled(files: Array, size: int) -> Array:
    """As many files as a chunk has, the first one repeated."""
    missing = size - len(files)
    return np.concatenate([files, np.repeat(files[:1], missing)]) if missing else files


def _run(graph: _Graph, chunk: Array) -> tuple[Array, Array] | None:
    from model.backend import tensorflow

    tf = tensorflow()
    try:
        found, pixels = graph(tf.constant(chunk))
    except tf.errors.InvalidArgumentError:
        return None  # no loss: what decodes here in no way is decoded, and judged, by ``exact``
    return np.asarray(memoryview(found)), np.asarray(memoryview(pixels))


def _graph(make: Callable[..., Any], kind: Format, size: int, channels: int) -> _Graph:
    with _tracing:
        return _traced(make, kind, size, channels)


@cache
def _traced(make: Callable[..., Any], kind: Format, size: int, channels: int) -> _Graph:
    from model.backend import tensorflow

    tf = tensorflow()
    decode = partial(make, tf, partial(_operation, tf, kind, channels), size)
    function = tf.function(decode, input_signature=[tf.TensorSpec([size], tf.string)], autograph=False)
    graph: _Graph = function.get_concrete_function()
    return graph


def _whole(tf: Any, operation: _Graph, size: int, files: Any) -> Any:
    return tf.range(size), tf.stack([operation(file) for file in tf.unstack(files, size)])


def _sifting(tf: Any, operation: _Graph, size: int, files: Any) -> Any:
    every = tf.data.Dataset.from_tensor_slices((tf.range(size), files))
    decoded = every.map(lambda position, file: (position, operation(file)))
    return decoded.ignore_errors().batch(size).get_single_element()  # errors again: ``exact`` says what is wrong


def _operation(tf: Any, kind: Format, channels: int, file: Any) -> Any:
    if kind is Format.PNG:
        return tf.raw_ops.DecodePng(contents=file, channels=channels)
    return tf.raw_ops.DecodeJpeg(contents=file, channels=channels, dct_method="INTEGER_ACCURATE")
