"""Batches of images of many sizes: how large they are, and which of them wait for each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

import numpy as np

from lake.core.idle_threads import IdleThreads
from lake.core.records import Fault, Reason, Records, Stage
from lake.images.header import read_header
from lake.images.types import ImageError
from model.spatial import LARGEST_WHOLE

# The cores work on different batches. For images of any size a batch is small: thumbnails fill it by number,
# photographs, which take a second each, by bytes.
FEW = 64
ROOM = 1 << 19
_LARGE = 1 << 24  # pixels; of larger images one at a time is computed, which bounds the memory of the process

_one_large = BoundedSemaphore(1)


@contextmanager
def alone_if_large(records: Records, max_pixels: int, threads: IdleThreads) -> Iterator[None]:
    """Wait for the process's one slot for large images if the batch has one, and hold it during the block.

    Args:
      records: the batch.
      max_pixels: an image of more, by its header, is a reject.
      threads: of the pool that runs the batch, which helps who has the slot while it waits.
    """
    if not _has_large(records, max_pixels):
        yield
        return
    threads.acquire(_one_large)
    try:
        yield
    finally:
        _one_large.release()


def _has_large(records: Records, max_pixels: int) -> bool:
    if isinstance(records.payload, np.ndarray):
        return len(records) > 0 and records.payload[0].size > _LARGE
    return any(_pixels(data.as_py(), max_pixels) > _LARGE for data in records.payload if data.is_valid)


def _pixels(data: bytes, max_pixels: int) -> int:
    try:
        header = read_header(data, max_pixels)
    except ImageError:  # the decoder reports it
        return 0
    return header.width * header.height * header.pages


def too_large(height: int, width: int) -> Fault:
    """The fault of an image that a model which sees all of an image does not take.

    Args:
      height: of the image, in pixels.
      width: likewise.
    """
    detail = f"{height}x{width} pixels, and the model, which sees all of an image, takes {LARGEST_WHOLE}; give --bucket"
    return Fault(stage=Stage.MODEL, reason=Reason.TOO_MANY_PIXELS, detail=detail)
