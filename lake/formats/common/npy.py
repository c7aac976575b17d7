"""Headers of NumPy's ``.npy``, versions 1.0 to 3.0 (NEP 1: https://numpy.org/neps/nep-0001-npy-format.html).

NumPy's own reader is not used, since it would unpickle, map or allocate whatever a header asks for. Nor is Python's
parser: in 3.11 it fails now and then when two threads use it at once (https://github.com/python/cpython/issues/106905).
"""

import re
from io import BytesIO
from math import prod
from typing import BinaryIO

import numpy as np

from lake.formats.common.array_rows import RowLayout, exactly

MAGIC = b"\x93NUMPY"

# Element types of a fixed size. Objects are left out, since they are pickles and thus code, and so are structures.
_PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[US]\d{1,9}|[mM]8(\[\d{0,9}[A-Za-z]{1,2}\])?)")
_MOST = (1 << 63) - 1  # elements; more have no size that a file could have
_LONGEST = 10_000  # most characters of a header, as in NumPy

# The literal of a dict, whose three fields NumPy writes sorted and other tools in any order. Python 2 wrote ``28L``.
_SIZE = r"\d+L?"
_FIELD = re.compile(
    r"""\s*(['"])(?P<name>descr|fortran_order|shape)\1\s*:\s*
    (?P<value> '[^'\\\n]*' | "[^"\\\n]*" | \[.*\]              # a type, or a structure of types
    | True | False
    | \(\s*\) | \(\s*SIZE\s*,\s*(SIZE\s*,\s*)*(SIZE\s*)?\)  # a shape
    )\s*(,|(?=\}))""".replace("SIZE", _SIZE),
    re.VERBOSE | re.DOTALL,
)


def read_npy_header(lead: bytes, stream: BinaryIO) -> RowLayout:
    """Parse a header. The stream is left at the first element.

    Args:
      lead: the first bytes, already read; up to 8.
      stream: the rest.

    Raises:
      ValueError: this is no ``.npy`` header.
      EOFError: the stream ends within it.

    >>> header = npy_header(np.dtype("<f4"), (10, 3))
    >>> layout = read_npy_header(b"", BytesIO(header))
    >>> layout.shape, layout.descr, layout.offset == len(header)
    ((10, 3), '<f4', True)
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


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The header (version 1.0) of a row-major array: the same bytes as ``numpy.save`` writes.

    Args:
      dtype: of the elements.
      shape: of the array.
    """
    out = BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, fields)
    return out.getvalue()


def _layout(words: str, offset: int) -> RowLayout:
    fields = _fields(words)
    descr, fortran, sides = fields["descr"], fields["fortran_order"], fields["shape"]
    if descr[0] not in "'\"[" or fortran not in ("True", "False") or sides[0] != "(":
        raise ValueError(f"not a type, order and shape of a .npy header: {words[:100]!r}")
    numbers = re.findall(r"\d+", sides)
    shape = tuple(int(number[-20:]) for number in numbers)
    if any(len(number) > 20 for number in numbers) or prod(max(side, 1) for side in shape) > _MOST:
        raise ValueError(f"a shape of more than {_MOST} elements: {words[:100]!r}")
    if descr[0] != "[":
        descr = descr[1:-1]
    dtype = _dtype(descr) if _PLAIN.fullmatch(descr) else None
    return RowLayout(
        dtype=dtype, descr=descr[:100], shape=shape, fortran=fortran == "True" and len(shape) > 1, offset=offset
    )


def _fields(words: str) -> dict[str, str]:
    """The three fields by name, as they are written."""
    text = words.strip()
    fields, count, at = {}, 0, 1
    while found := _FIELD.match(text, at):
        fields[found["name"]] = found["value"]
        count, at = count + 1, found.end()
    if text[:1] != "{" or text[at:].strip() != "}" or not len(fields) == count == 3:
        raise ValueError(f"not a .npy header: {words[:100]!r}")
    return fields


def _dtype(descr: str) -> np.dtype:
    try:
        return np.dtype(descr)
    except TypeError as error:  # an unknown unit of time
        raise ValueError(f"no element type of a .npy header: {descr!r}") from error
