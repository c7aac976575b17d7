"""Arrays in streams: their layout, and their rows in blocks, without the whole array in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

import numpy as np

from lake.core.records import Array

_BLOCK = 8 << 20  # bytes of a column-major array that are gathered at once


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLayout:
    """The layout of an array as its header describes it.

    Attributes:
      dtype: of one element; None if elements are objects or structures.
      descr: the element type as the header spells it.
      shape: of the array; the first dimension counts rows.
      fortran: column-major order, in which a row is scattered over the stream.
      offset: byte at which the elements begin.
    """

    dtype: np.dtype | None
    descr: str
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def rows(self) -> int:
        """Number of rows; 1 for a single value."""
        return self.shape[0] if self.shape else 1

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return prod(self.shape[1:]) * (self.dtype.itemsize if self.dtype else 0)

    @property
    def end(self) -> int:
        """Bytes of the stream: header and elements.

        >>> RowLayout(dtype=np.dtype("<f4"), descr="<f4", shape=(10, 3), fortran=False, offset=128).end
        248
        """
        return self.offset + self.rows * self.row_bytes


def blocks(stream: BinaryIO, layout: RowLayout, start: int, stop: int, size: int) -> Iterator[Array]:
    """Rows ``[start, stop)`` as arrays ``[size, ...]`` in the stream's byte order; the last may be smaller.

    Args:
      stream: positioned at the first element. It must be able to seek if ``start`` is not 0 or the array is
        column-major.
      layout: of the array.
      start: first row.
      stop: end of the rows, exclusive.
      size: rows of a block.

    Raises:
      EOFError: the stream ends early, or goes on after the last row.
    """
    yield from (_column_major if layout.fortran else _row_major)(stream, layout, start, stop, size)
    if stop == layout.rows and not layout.fortran and stream.read(1):  # also makes gzip and zip check their CRC
        raise EOFError(f"more bytes follow the last of its {layout.rows} rows")


def _row_major(stream: BinaryIO, layout: RowLayout, start: int, stop: int, size: int) -> Iterator[Array]:
    if start:
        stream.seek(layout.offset + start * layout.row_bytes)
    for at in range(start, stop, size):
        count = min(size, stop - at)
        data = exactly(stream, count * layout.row_bytes, f"row {at}")
        yield np.frombuffer(data, layout.dtype).reshape(count, *layout.shape[1:])


def _column_major(stream: BinaryIO, layout: RowLayout, start: int, stop: int, size: int) -> Iterator[Array]:
    step = max(1, _BLOCK // (layout.row_bytes * size)) * size
    for at in range(start, stop, step):
        block = _gathered(stream, layout, at, min(step, stop - at))
        for first in range(0, len(block), size):
            yield np.ascontiguousarray(block[first : first + size])


def _gathered(stream: BinaryIO, layout: RowLayout, at: int, count: int) -> Array:
    """``count`` rows of a column-major array, with one read for each element of a row."""
    assert layout.dtype is not None  # elements of an unknown type have no rows
    item, places = layout.dtype.itemsize, prod(layout.shape[1:])
    columns = np.empty((places, count), layout.dtype)
    for place in range(places):
        stream.seek(layout.offset + (place * layout.rows + at) * item)
        columns[place] = np.frombuffer(exactly(stream, count * item, f"row {at}"), layout.dtype)
    return columns.reshape(*reversed(layout.shape[1:]), count).transpose()


def exactly(stream: BinaryIO, size: int, what: str) -> bytes:
    """Read ``size`` bytes from a stream that may return fewer at a time.

    Args:
      stream: to read from.
      size: number of bytes.
      what: is read, for the error.

    Raises:
      EOFError: the stream ends before.
    """
    data = stream.read(size)
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise EOFError(f"it ends within {what}: {size - len(data)} bytes are missing")
        data += more
    return data
