"""Vectors in ``.npy`` files (numpy.lib.format): read without pickle and without trusting what a header announces."""

from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO

import numpy as np

from pipeline.readers.layout import Layout
from pipeline.readers.npy import MAGIC, read_header
from pipeline.records import Array, Fault, Reason, Stage


def vector(data: bytes) -> Array | str:
    """The one-dimensional array in a ``.npy`` file as float32 ``[d]``, or why there is none."""
    if not data.startswith(MAGIC) or len(data) < 12:
        return "not a .npy file"
    width = 2 if data[6] == 1 else 4
    layout = _layout(data[: 8 + width + int.from_bytes(data[8 : 8 + width], "little")])
    if layout is None or layout.dtype is None or layout.dtype.kind not in "biuf" or len(layout.shape) != 1:
        return "a .npy file that does not hold one dimension of plain numbers"
    if len(data) != layout.end:
        return f"{len(data)} bytes where the .npy header announces {layout.end}"
    with np.errstate(over="ignore"):  # a double that float32 cannot hold becomes infinite, and as such a reject
        return np.frombuffer(data, layout.dtype, layout.rows, layout.offset).astype(np.float32)


def vectors(files: Sequence[bytes | None], length: int, faults: dict[int, Fault]) -> Array:
    """Vectors of ``.npy`` files as rows, float32 ``[n, length]``; a row without one is zeros, and in ``faults``."""
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


# All files of a shard that are well made begin with the same header.
@lru_cache(maxsize=1 << 10)
def _layout(header: bytes) -> Layout | None:
    try:
        return read_header(b"", BytesIO(header))
    except (ValueError, EOFError):
        return None
