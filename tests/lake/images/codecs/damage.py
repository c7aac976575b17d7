"""Damaged files of images, and what becomes of them."""

from collections.abc import Callable, Iterator

import numpy as np

from lake.images import decode_one
from lake.images.header import read_header
from lake.images.types import ImageError
from tests.conftest import Pixels


def stored(data: bytes) -> Pixels:
    """The pixels of a file as they are stored."""
    return decode_one.decode_stored(data, read_header(data))


def count_rejects(files: Iterator[bytes]) -> int:
    """How many files are refused. The others have pixels of the size that their header says."""
    rejects = 0
    for data in files:
        try:
            header = read_header(data, max_pixels=1 << 20)
            assert stored(data).shape[:2] == (header.height, header.width)
        except ImageError:
            rejects += 1
    return rejects


def damaged(
    rng: np.random.Generator, data: bytes, count: int, reach: Callable[[int], int] = lambda _: 1 << 30
) -> Iterator[bytes]:
    """A file with up to five bytes changed, and every third time cut too.

    Args:
      rng: chooses bytes and values.
      data: the file.
      count: how many to make.
      reach: the number of a damaged file -> how many bytes at the file's start may change.
    """
    for number in range(count):
        changed = bytearray(data)
        for at in rng.integers(0, min(len(data), reach(number)), 1 + number % 5):
            changed[at] = rng.integers(256)
        yield bytes(changed[: len(data) if number % 3 else rng.integers(1, len(data))])
