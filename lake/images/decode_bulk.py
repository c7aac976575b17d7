"""Decode many plain images of the target's size and colours in one call, outside the interpreter lock (GIL).

Pillow takes and releases the interpreter lock several times per image, so for small images two threads are no faster
than one. Here a TensorFlow graph has one decoding operation for each image of a chunk, and Python is entered once per
chunk. Chunks of 256 small images cost about 1 us of Python per image, and 40 ms once to build the graph. Larger chunks
gain nothing and take longer to build.

A process that runs its model without TensorFlow does not import it for images. There files are decoded one by one
(``file_by_file``), which takes the lock once for each, so threads take turns (``turns``).

A plain image (``Header.plain``: 8-bit grey or RGB PNG, or baseline JPEG of usual sampling) decodes to the same bits as
in ``decode_one``. TensorFlow's PNG decoder also refuses everything that ``decode_one`` refuses; what it refuses is
decoded and judged by ``decode_one``.

One damaged image fails the graph of its whole chunk. A second graph then salvages the chunk: it decodes image by image
and drops those that fail, which takes 1.4 to 2 times as long however many are bad. From then on files are first
screened for damage that is cheap to see (a wrong CRC, a scan without an end), so that those fail no more chunks.
"""

import threading
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from io import BytesIO
from math import prod
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from lake.core.records import Array
from lake.core.tensorflow import is_started
from lake.images.codecs import png, png_write
from lake.images.decode_one import turn_of
from lake.images.file_by_file import INTACT, decode_files
from lake.images.turns import in_turn
from lake.images.types import Header, ImageCodec, Target

CHUNK = 256  # small images per call
_CHUNK_BYTES = 4 << 20  # bytes of pixels per call: bounds memory for larger images
_MOST_OVERHEAD = 1 << 20  # bytes that a file may have beyond the size of its pixels
_Graph: TypeAlias = Callable[[Any], Any]  # files [chunk] -> positions that decode, ascending [m]; pixels [m, H, W, C]
_tracing = threading.Lock()  # else threads that need the same graph would each build it


class BulkDecoder:
    """Decodes plain images that already have a target's shape. Thread-safe.

    Args:
      target: of one size.

    Attributes:
      chunk: images that are decoded in one call. A quarter of it is possible too; fewer images cost as much as that.
      most_bytes: the largest file that is decoded here.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._shape = target.fixed
        size = int(np.prod(self._shape))
        self.chunk = max(1, min(CHUNK, _CHUNK_BYTES // max(size, 1)))
        self._png = _png_start(self._shape)
        self.most_bytes = size + _MOST_OVERHEAD
        self._screens = False  # set when a chunk fails: from then on, files are screened before they are decoded

    def takes(self, header: Header, size: int) -> bool:
        """Whether an image is decoded here.

        Args:
          header: of the image.
          size: bytes of the file.
        """
        return (
            header.plain
            and self._target.takes_as_it_is(self._shape[:2])
            and (header.height, header.width, header.channels) == self._shape
            and turn_of(header, self._target) == 1
            and size <= self.most_bytes
        )

    def plain_pngs(self, files: pa.Array) -> Array:
        """Which files are plain PNGs of the target's shape, by their first and last bytes.

        Such a PNG consists of exactly IHDR, one IDAT and IEND.

        Args:
          files: ``pa.BinaryArray`` or ``pa.LargeBinaryArray`` ``[n]``; nulls are False.

        Returns:
          bool ``[n]``.
        """
        found = np.zeros(len(files), bool)
        starts, sizes, data = file_buffers(files)
        candidates = np.flatnonzero((sizes >= _PNG_SMALLEST) & (sizes <= self.most_bytes))
        if self._png is not None and len(candidates) and self._target.takes_as_it_is(self._shape[:2]):
            starts, ends = starts[candidates], (starts + sizes)[candidates]
            good = _at(data, starts, "V33") == np.frombuffer(self._png, "V33")
            # The length of the chunk after IHDR leaves room for IEND only.
            good &= _at(data, starts + 33, ">u4") == sizes[candidates] - _PNG_SMALLEST
            good &= _at(data, starts + 37, "V4") == np.frombuffer(b"IDAT", "V4")
            good &= _at(data, ends - len(_IEND), "V12") == np.frombuffer(_IEND, "V12")
            found[candidates] = good
        return found

    def decode(self, kind: str, files: Array) -> tuple[Array, Array]:
        """Decode files of one format.

        Args:
          kind: PNG or JPEG.
          files: object ``[n]`` of bytes that ``takes`` or ``plain_pngs`` accepted.

        Returns: Positions of the good files, ascending int ``[m]``, and their pixels, uint8 ``[m, H, W, C]``. The other
          files may be damaged and are for ``decode_one``.
        """
        pixels = np.empty((len(files), *self._shape), np.uint8)
        candidates, good, count = self._screened(kind, files), [], 0
        for start, size in _chunks(len(candidates), self.chunk):
            positions = candidates[start : start + size]
            found, decoded = self._decoded(kind, files[positions], size)
            good.append(positions[found])
            pixels[count : count + len(found)] = decoded
            count += len(found)
        return np.concatenate([candidates[:0], *good]), pixels[:count]

    def header(self, kind: str) -> Header:
        """The header of every file that ``decode`` takes, as far as pixels depend on it."""
        height, width, channels = self._shape
        return Header(format=kind, height=height, width=width, channels=channels, plain=True)

    def _screened(self, kind: str, files: Array) -> Array:
        """Positions of the files to decode: all, or once a chunk has failed, those that show no damage."""
        if not self._screens:
            return np.arange(len(files))
        return np.flatnonzero([INTACT[kind](data) for data in files.tolist()])

    def _decoded(self, kind: str, files: Array, size: int) -> tuple[Array, Array]:
        """Positions of the files of a chunk that decode, int ``[m]``, and their pixels uint8 ``[m, H, W, C]``."""
        if not is_started():
            with in_turn(prod(self._shape)):
                return decode_files(kind, files, self._shape)
        chunk = _filled(files, size, _blank(kind, self._shape))
        for make in (_whole, _salvaging):
            result = _run(_graph(make, kind, size, self._shape[2]), chunk)
            if result is not None and result[1].shape[1:] == self._shape:
                count = np.searchsorted(result[0], len(files))  # what follows is padding
                return result[0][:count], result[1][:count]
            self._screens = True
        return np.empty(0, int), np.empty((0, *self._shape), np.uint8)


_IEND = b"\x00\x00\x00\x00IEND\xae\x42\x60\x82"
_PNG_SMALLEST = 8 + 25 + 12 + len(_IEND)  # signature, IHDR, an empty IDAT


def _png_start(shape: tuple[int, ...]) -> bytes | None:
    """Signature and IHDR of the plain PNG of a shape; None if the shape is no grey or RGB image."""
    color = {1: 0, 3: 2}.get(shape[-1])
    if color is None or len(shape) != 3:
        return None
    head = b"IHDR" + shape[1].to_bytes(4) + shape[0].to_bytes(4) + bytes((8, color, 0, 0, 0))
    return png.SIGNATURE + b"\x00\x00\x00\r" + head + zlib.crc32(head).to_bytes(4)


def file_buffers(files: pa.Array) -> tuple[Array, Array, Array]:
    """Where each file lies in an Arrow buffer.

    Args:
      files: binary, of 32 or 64 bits.

    Returns:
      Start and size of each file, int64 ``[n]`` (size -1 for null), and the buffer as uint8.

    >>> [part.tolist() for part in file_buffers(pa.array([b"ab", None, b"c"]))]
    [[0, 2, 2], [2, -1, 1], [97, 98, 99]]
    """
    kind = np.int64 if pa.types.is_large_binary(files.type) else np.int32
    _, offsets, data = files.buffers()
    bounds = np.frombuffer(offsets, kind)[files.offset : files.offset + len(files) + 1].astype(np.int64)
    sizes = np.diff(bounds)
    if files.null_count:
        sizes[files.is_null().to_numpy(zero_copy_only=False)] = -1
    return bounds[:-1], sizes, np.frombuffer(data if data is not None else b"", np.uint8)


def _at(data: Array, positions: Array, dtype: str) -> Array:
    """The values at these byte positions. Void types are compared whole, 5 times faster than byte by byte."""
    width = np.dtype(dtype).itemsize
    values: Array = np.ndarray((len(data) - width + 1,), dtype, data, strides=(1,))[positions]
    return values


def _chunks(count: int, most: int) -> Iterator[tuple[int, int]]:
    """Start and size of each chunk. The last chunks are quarters if that leaves less to pad."""
    quarter, start = max(most // 4, 1), 0
    while start < count:
        size = most if count - start > 3 * quarter else quarter
        yield start, size
        start += size


def _filled(files: Array, size: int, blank: bytes) -> Array:
    """The files, padded to the size of a chunk with a blank image, so that a slow file is decoded once."""
    padding = np.empty(size - len(files), object)
    padding[:] = blank
    return np.concatenate([files, padding]) if len(padding) else files


@cache
def _blank(kind: str, shape: tuple[int, ...]) -> bytes:
    """A black image of a format, which decodes to this shape."""
    pixels = np.zeros(shape, np.uint8)
    if kind == ImageCodec.PNG:
        return png_write.write(pixels, b"")
    from PIL import Image

    out = BytesIO()
    Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels).save(out, "JPEG")
    return out.getvalue()


def _run(graph: _Graph, chunk: Array) -> tuple[Array, Array] | None:
    from lake.core.tensorflow import tensorflow

    tf = tensorflow()
    try:
        found, pixels = graph(tf.constant(chunk))
    except tf.errors.InvalidArgumentError:
        return None  # files that no graph decodes are decoded, and judged, by ``decode_one``
    return np.asarray(memoryview(found)), np.asarray(memoryview(pixels))


def _graph(make: Callable[..., Any], kind: str, size: int, channels: int) -> _Graph:
    with _tracing:
        return _traced(make, kind, size, channels)


@cache
def _traced(make: Callable[..., Any], kind: str, size: int, channels: int) -> _Graph:
    from lake.core.tensorflow import tensorflow

    tf = tensorflow()
    decode = partial(make, tf, partial(_operation, tf, kind, channels), size)
    function = tf.function(decode, input_signature=[tf.TensorSpec([size], tf.string)], autograph=False)
    graph: _Graph = function.get_concrete_function()
    return graph


def _whole(tf: Any, operation: _Graph, size: int, files: Any) -> Any:
    return tf.range(size), tf.stack([operation(file) for file in tf.unstack(files, size)])


def _salvaging(tf: Any, operation: _Graph, size: int, files: Any) -> Any:
    every = tf.data.Dataset.from_tensor_slices((tf.range(size), files))
    # AutoGraph would parse this source on whichever thread meets the first damaged image, and Python's parser fails
    # now and then when two threads use it at once (python/cpython#106905).
    decoded = every.map(tf.autograph.experimental.do_not_convert(lambda position, file: (position, operation(file))))
    return decoded.ignore_errors().batch(size).get_single_element()  # ``decode_one`` finds what is wrong


def _operation(tf: Any, kind: str, channels: int, file: Any) -> Any:
    if kind is ImageCodec.PNG:
        return tf.raw_ops.DecodePng(contents=file, channels=channels)
    # Pillow uses libjpeg's accurate integer transform; TensorFlow's default is a faster one with other bits.
    return tf.raw_ops.DecodeJpeg(contents=file, channels=channels, dct_method="INTEGER_ACCURATE")
