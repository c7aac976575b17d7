"""Vectors and images in ``.npy`` files (NEP 1), read without pickle and without trusting the header's size."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from io import BytesIO

import numpy as np

from lake.core.records import Array, Fault, Reason, Stage
from lake.formats.common.array_rows import RowLayout
from lake.formats.common.npy import MAGIC, read_npy_header
from lake.formats.common.pixels import channels_last, image_file
from lake.images.types import ImageError, PixelLayout


def vector(data: bytes) -> Array | str:
    """The one-dimensional array in a ``.npy`` file.

    Args:
      data: the whole file.

    Returns:
      float32 ``[d]``, or the reason why there is none.
    """
    layout = npy_layout(data, (1,), "one dimension")
    if isinstance(layout, str):
        return layout
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, and its record a reject
        return np.frombuffer(data, layout.dtype, layout.rows, layout.offset).astype(np.float32)


def image(data: bytes, layout: PixelLayout | None = None) -> bytes:
    """The image in a ``.npy`` file as a lossless image file; any other file as it is.

    Args:
      data: the whole file: ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``.
      layout: of three sides; None for channels first where the last side is no number of channels.

    Raises:
      ImageError: the array is damaged, or no image.
    """
    if not data.startswith(MAGIC):
        return data
    rows = npy_layout(data, (2, 3), "two or three dimensions")
    if isinstance(rows, str):
        raise ImageError(Reason.INVALID_RECORD, rows, Stage.READ)
    elements = np.frombuffer(data, rows.dtype, offset=rows.offset)
    pixels = elements.reshape(rows.shape, order="F" if rows.fortran else "C")
    return image_file(channels_last(pixels, layout))


def images(files: Sequence[bytes | None], faults: dict[int, Fault], layout: PixelLayout | None) -> list[bytes | None]:
    """Files as image files.

    Args:
      files: whole files, ``[n]``, some of which are ``.npy``; None for a missing one.
      faults: by position; extended here.
      layout: of arrays of three sides.
    """
    found = list[bytes | None]()
    for position, data in enumerate(files):
        try:
            found.append(None if data is None else image(data, layout))
        except ImageError as error:
            found.append(None)
            faults.setdefault(position, replace(error.fault(), data=data))
    return found


def npy_layout(data: bytes, dimensions: Collection[int], words: str) -> RowLayout | str:
    """How the array of a ``.npy`` file is laid out, or in words why it holds none that is wanted.

    Args:
      data: the whole file.
      dimensions: how many sides it may have.
      words: the same for people.
    """
    if not data.startswith(MAGIC) or len(data) < 12:
        return "not a .npy file"
    width = 2 if data[6] == 1 else 4
    layout = _layout(data[: 8 + width + int.from_bytes(data[8 : 8 + width], "little")])
    if layout is None or layout.dtype is None or layout.dtype.kind not in "biuf" or len(layout.shape) not in dimensions:
        return f"a .npy file that does not hold {words} of plain numbers"
    if len(data) != layout.end:
        return f"{len(data)} bytes where the .npy header announces {layout.end}"
    return layout


def vectors(files: Sequence[bytes | None], length: int, faults: dict[int, Fault]) -> Array:
    """The vectors of several ``.npy`` files as rows.

    Args:
      files: whole files, ``[n]``; None for a missing one.
      length: numbers that a vector must have.
      faults: by position; extended here.

    Returns:
      float32 ``[n, length]``; a row without a vector is zeros.
    """
    rows = np.zeros((len(files), length), np.float32)
    for position, data in enumerate(files):
        if data is None:
            continue
        found = vector(data)
        if isinstance(found, str):
            fault = Fault(stage=Stage.READ, reason=Reason.INVALID_RECORD, detail=found, data=data)
        elif len(found) != length:
            detail = f"{len(found)} values, not {length}"
            fault = Fault(stage=Stage.READ, reason=Reason.WRONG_LENGTH, detail=detail, data=data)
        else:
            rows[position] = found
            continue
        faults.setdefault(position, fault)
    return rows


# The files of a shard usually have the same header, so it is parsed once.
@lru_cache(maxsize=1 << 10)
def _layout(header: bytes) -> RowLayout | None:
    try:
        return read_npy_header(b"", BytesIO(header))
    except (ValueError, EOFError):
        return None
