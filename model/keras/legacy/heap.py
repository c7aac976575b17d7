"""Texts of any length in an HDF5 file: that none is so long, and named so often, that reading the names fills memory.

An attribute with names may be a list of references to a heap within the file. HDF5 reads them all at once, and a
thousand references to one text of a megabyte are a gigabyte. So a long text may be referred to once or twice.
"""

import re
from collections.abc import Iterator
from itertools import islice

from model.keras.archive import refused

# HDF5 file format specification, version 3.0, III.E "Global Heap"; Keras writes addresses of 8 bytes.
# Version of the superblock -> where it has the size of addresses, and the address from which they count (II.A).
_SUPERBLOCK = {0: (13, 24), 1: (13, 28), 2: (9, 12), 3: (9, 12)}
_COLLECTION = re.compile(rb"GCOL\x01\0\0\0", re.DOTALL)
_HEADER = 16  # bytes of a collection's header, and of that of each object
_LONG = 1 << 10  # bytes; names of weights have some dozens
_MOST_LONG = 16  # long texts
_REFERENCES = 2  # to a long text: the configuration of the model is one, that of its training another


def check_heap(data: bytes, where: str) -> None:
    """Check that long texts in an HDF5 file are referred to once.

    Args:
      data: bytes of the whole file.
      where: name of the file, for messages.

    Raises:
      BundleError: one is referred to often.
    """
    if not _counts_from_start(data):
        raise refused(where, "its addresses are not as Keras writes them")
    found = ((length, collection, index) for collection, index, length in _objects(data) if length > _LONG)
    long = list(islice(found, _MOST_LONG + 1))
    if len(long) > _MOST_LONG:
        raise refused(where, f"its attributes have more than {_MOST_LONG} texts of more than {_LONG} bytes")
    for length, collection, index in long:
        if _times(data, collection, index) > _REFERENCES:
            raise refused(where, f"it refers to one text of {length} bytes again and again")


def _counts_from_start(data: bytes) -> bool:
    """Whether addresses in the file have 8 bytes and count from its beginning."""
    version = data[8] if len(data) > 8 else 0
    size, base = _SUPERBLOCK.get(version, (0, 0))
    return size > 0 and data[size] == 8 and _number(data, base, 8) == 0


def _objects(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Address of the collection, number and length of each object in the heaps of a file."""
    for found in _COLLECTION.finditer(data):
        start = found.start()
        end = min(len(data), start + _number(data, start + 8, 8))
        place = start + _HEADER
        while place + _HEADER <= end and (index := _number(data, place, 2)):
            length = _number(data, place + 8, 8)
            yield start, index, length
            place += _HEADER + (length + 7) // 8 * 8


def _times(data: bytes, collection: int, index: int) -> int:
    return data.count(collection.to_bytes(8, "little") + index.to_bytes(4, "little"))


def _number(data: bytes, place: int, size: int) -> int:
    return int.from_bytes(data[place : place + size], "little")
