"""Headers and file names of IDX, the format of MNIST (http://yann.lecun.com/exdb/mnist, "THE IDX FILE FORMAT")."""

import re
from typing import BinaryIO

import numpy as np

from lake.formats.common.array_rows import RowLayout, exactly

# Element type by the third byte of the magic number; all are big-endian.
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CODES = {np.dtype(kind): code for code, kind in _TYPES.items()}
_IMAGES = re.compile(r"images([-.])idx3")
_NAMED = re.compile(r"[-.]idx([1-4])-[a-z]+(\.gz)?$")


def is_images(name: str, head: bytes) -> bool:
    """Whether a file is IDX with two to four dimensions, by a name like MNIST's or else by content.

    Args:
      name: of the file.
      head: its first bytes.

    >>> is_images("train-images-idx3-ubyte.gz", b""), is_images("train-labels-idx1-ubyte.gz", b"")
    (True, False)
    """
    if named := _NAMED.search(name):
        return named[1] != "1"
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in _TYPES and 2 <= head[3] <= 4


def labels_of(name: str) -> tuple[str, ...]:
    """Names that the label file beside an image file may have; empty if the name is not like MNIST's.

    >>> labels_of("t10k-images-idx3-ubyte.gz")
    ('t10k-labels-idx1-ubyte.gz', 't10k-labels-idx1-ubyte')
    """
    other, count = _IMAGES.subn(r"labels\1idx1", name)
    if not count:
        return ()
    return (other, other.removesuffix(".gz") if other.endswith(".gz") else other + ".gz")


def read_idx_header(magic: bytes, stream: BinaryIO) -> RowLayout:
    """Parse a header. The stream is left at the first element.

    Args:
      magic: the first four bytes, already read.
      stream: the rest.

    Raises:
      ValueError: this is no IDX header.
      EOFError: the stream ends within it.
    """
    if magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 4:
        raise ValueError(f"no .npy and no IDX header but {magic!r}")
    sides = np.frombuffer(exactly(stream, 4 * magic[3], "the header"), ">u4")
    kind = _TYPES[magic[2]]
    return RowLayout(
        dtype=np.dtype(kind), descr=kind, shape=tuple(sides.tolist()), fortran=False, offset=4 + 4 * magic[3]
    )


def idx_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The header of an array.

    Args:
      dtype: big-endian.
      shape: one to four dimensions.

    Raises:
      ValueError: IDX has no such element type (uint16, for example).

    >>> idx_header(np.dtype("u1"), (60000, 28, 28)).hex()
    '000008030000ea600000001c0000001c'
    """
    if dtype not in _CODES:
        raise ValueError(f"IDX has no element type {dtype}")
    return bytes([0, 0, _CODES[dtype], len(shape)]) + np.array(shape, ">u4").tobytes()
