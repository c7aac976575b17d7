"""Headers of NumPy's ``.npy``, by NEP 1 (https://numpy.org/neps/nep-0001-npy-format.html), versions 1.0 to 3.0.

NumPy's own reader is not used: it would unpickle, map or allocate what the header asks for.
"""

import ast
import re
from io import BytesIO
from typing import BinaryIO

import numpy as np

from pipeline.readers.layout import Layout, exactly

MAGIC = b"\x93NUMPY"

# Elements of a size that the name tells. What is left out: objects (pickles, which are code) and structures.
_PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[US]\d{1,9}|[mM]8(\[\d{0,9}[A-Za-z]{1,2}\])?)")
_LONGEST = 10_000  # characters of a header that are parsed, as in NumPy: parsing more can exhaust the stack


def read_header(lead: bytes, stream: BinaryIO) -> Layout:
    """Parse the header that begins with ``lead`` and goes on in a stream, which is left at the first element.

    Raises:
      ValueError: it is not such a header.
      EOFError: the stream ends within it.
    """
    lead += exactly(stream, 8 - len(lead), "the header")
    if lead[:6] != MAGIC or lead[6] not in (1, 2, 3):
        raise ValueError(f"no .npy header of version 1 to 3 but {lead!r}")
    width = 2 if lead[6] == 1 else 4
    length = int.from_bytes(exactly(stream, width, "the header"), "little")
    if length > _LONGEST:
        raise ValueError(f"a .npy header of {length} bytes; the most is {_LONGEST}")
    words = exactly(stream, length, "the header").decode("utf-8" if lead[6] == 3 else "latin-1")
    return _layout(words, 8 + width + length)


def header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The header, version 1.0, of a row-major array: the same bytes as ``numpy.save`` makes."""
    out = BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, fields)
    return out.getvalue()


def _layout(words: str, offset: int) -> Layout:
    fields = _literal(words)
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise ValueError(f"not a .npy header: {words[:100]!r}")
    shape, fortran, descr = fields["shape"], fields["fortran_order"], fields["descr"]
    if not isinstance(fortran, bool) or not isinstance(shape, tuple) or not all(_is_size(side) for side in shape):
        raise ValueError(f"not a shape and order of a .npy header: {words[:100]!r}")
    plain = isinstance(descr, str) and _PLAIN.fullmatch(descr)
    dtype = _dtype(descr) if plain else None
    fortran = fortran and len(shape) > 1
    return Layout(dtype=dtype, descr=str(descr)[:100], shape=shape, fortran=fortran, offset=offset)


def _literal(words: str) -> object:
    try:
        return ast.literal_eval(words)
    except (SyntaxError, TypeError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a .npy header: {words[:100]!r}") from error


def _dtype(descr: str) -> np.dtype:
    try:
        return np.dtype(descr)
    except TypeError as error:  # a unit of time that there is not
        raise ValueError(f"no element type of a .npy header: {descr!r}") from error


def _is_size(side: object) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and side >= 0
