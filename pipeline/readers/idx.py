"""Headers of IDX, the format of MNIST (http://yann.lecun.com/exdb/mnist, "THE IDX FILE FORMAT"), and its file names."""

import re
from typing import BinaryIO

import numpy as np

from pipeline.readers.layout import Layout, exactly

# third byte of the magic number -> element type; all are big-endian
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CODES = {np.dtype(kind): code for code, kind in _TYPES.items()}
_IMAGES = re.compile(r"images([-.])idx3")
_NAMED = re.compile(r"[-.]idx([1-4])-[a-z]+(\.gz)?$")


def is_images(name: str, head: bytes) -> bool:
    """Whether a file is IDX with two to four dimensions, by a name like MNIST's, or else by content."""
    if named := _NAMED.search(name):
        return named[1] != "1"
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in _TYPES and 2 <= head[3] <= 4


def labels_of(name: str) -> tuple[str, ...]:
    """Names that the file of labels beside a file of images may have; empty where the name is not like MNIST's."""
    other, count = _IMAGES.subn(r"labels\1idx1", name)
    if not count:
        return ()
    return (other, other.removesuffix(".gz") if other.endswith(".gz") else other + ".gz")


def read_header(magic: bytes, stream: BinaryIO) -> Layout:
    """Parse the header that begins with ``magic`` and goes on in a stream, which is left at the first element.

    Raises:
      ValueError: it is not such a header.
      EOFError: the stream ends within it.
    """
    if magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 4:
        raise ValueError(f"no .npy and no IDX header but {magic!r}")
    sides = np.frombuffer(exactly(stream, 4 * magic[3], "the header"), ">u4")
    kind = _TYPES[magic[2]]
    return Layout(dtype=np.dtype(kind), descr=kind, shape=tuple(sides.tolist()), fortran=False, offset=4 + 4 * magic[3])


def header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The header of an array of one to four dimensions whose elements are big-endian.

    Raises:
      ValueError: the format has no such element type (uint16, for one).
    """
    if dtype not in _CODES:
        raise ValueError(f"IDX has no element type {dtype}")
    return bytes([0, 0, _CODES[dtype], len(shape)]) + np.array(shape, ">u4").tobytes()
