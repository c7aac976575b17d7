"""Decode a batch of images of many sizes to a model's channels, each at its own size or at that of its bucket."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from lake.core.records import Array, Fault, Reason, Records
from lake.images import decode_one
from lake.images.decode_arrays import decode_arrays
from lake.images.decoder import Decoder, present
from lake.images.header import header_for
from lake.images.types import Group, ImageError, Resize, Target

_MOST = 1 << 22  # samples (pixels times channels) of a group of several images


class _Kind(NamedTuple):
    """Images that are decoded together."""

    size: tuple[int, int]  # (height, width) that they are decoded to
    pages: int


class SizedDecoder:
    """Decodes a batch group by group, as the caller consumes them. Thread-safe.

    Images are decoded as by ``Decoder``, to the target's channels, so that the same policies apply.

    Args:
      target: ``(None, None, C)``, and whether images go into buckets.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        # One for each size; photographs may have any, and those of one camera have few.
        self._decoder = lru_cache(maxsize=64)(lambda size: Decoder(_of_size(target, size)))

    def groups(self, records: Records, faults: dict[int, Fault]) -> Iterator[Group]:
        """Decode a batch. Each group is decoded when the iterator reaches it.

        A group holds at most about 4 million samples, or one image. At the iterator's end every position of the batch
        was in one group or is in ``faults``. A bad record never raises.

        Args:
          records: encoded images, or pixels ``[n, H, W, K]``.
          faults: receives the faults of reading and those found here, by position.

        Yields:
          Groups whose pixels ``[m, H, W, C]`` have one shape and dtype, with ``original``.
        """
        faults.update(records.faults)
        if isinstance(records.payload, np.ndarray):
            yield from self._arrays(records.payload, faults)
        else:
            yield from self._images(records, records.payload, faults)

    def _images(self, records: Records, column: pa.Array, faults: dict[int, Fault]) -> Iterator[Group]:
        kinds: defaultdict[_Kind, dict[int, tuple[int, int]]] = defaultdict(dict)
        for position in np.flatnonzero(present(column, faults)).tolist():
            try:
                header = header_for(column[position].as_py(), self._target)
            except ImageError as error:
                faults[position] = error.fault()
                continue
            own = decode_one.upright_size(header, self._target)
            kinds[_Kind(_size(self._target, own), header.pages)][position] = own
        for kind, sizes in kinds.items():
            positions = np.array(list(sizes), np.int64)
            for some in self._parts(positions, kind.size):
                decoded = self._decoder(kind.size).decode(records.take(some))
                faults.update({int(some[at]): fault for at, fault in decoded.faults.items()})
                for group in decoded.groups:
                    found = some[group.positions]
                    original = np.array([sizes[position] for position in found.tolist()], np.int32)
                    yield Group(positions=found, pixels=group.pixels, pages=kind.pages, original=original)

    def _arrays(self, payload: Array, faults: dict[int, Fault]) -> Iterator[Group]:
        try:
            own = self._own_size(payload)
        except ImageError as error:
            faults.update({p: error.fault() for p in range(len(payload)) if p not in faults})
            return
        size = _size(self._target, own)
        for some in self._parts(np.arange(len(payload)), size):
            known = {at: faults[p] for at, p in enumerate(some.tolist()) if p in faults}
            decoded = decode_arrays(payload[some], _of_size(self._target, size), known)
            faults.update({int(some[at]): fault for at, fault in decoded.faults.items()})
            for group in decoded.groups:
                original = np.tile(np.array(own, np.int32), (len(group.positions), 1))
                yield Group(positions=some[group.positions], pixels=group.pixels, original=original)

    def _own_size(self, payload: Array) -> tuple[int, int]:
        if payload.ndim != 4:
            raise ImageError(Reason.WRONG_SIZE, f"numbers of shape {payload.shape[1:]}, the model takes images")
        height, width = payload.shape[1:3]
        if height * width > self._target.max_pixels:
            text = f"{width}x{height} pixels, more than the {self._target.max_pixels} that are allowed"
            raise ImageError(Reason.TOO_MANY_PIXELS, text)
        if not height * width:
            raise ImageError(Reason.WRONG_SIZE, f"{width}x{height} pixels")
        return height, width

    def _parts(self, positions: Array, size: tuple[int, int]) -> Iterator[Array]:
        step = max(1, _MOST // (size[0] * size[1] * (self._target.shape[2] or 1)))
        for start in range(0, len(positions), step):
            yield positions[start : start + step]


def sized(target: Target, size: tuple[int, int]) -> Target:
    """The target of one size for an image of a size.

    Args:
      target: ``(None, None, C)``, and whether images go into buckets.
      size: (height, width) of the upright image.

    >>> sized(Target(shape=(None, None, 3)), (48, 64)).shape
    (48, 64, 3)
    """
    return _of_size(target, _size(target, size))


def _size(target: Target, own: tuple[int, int]) -> tuple[int, int]:
    return own if target.buckets is None else target.buckets.nearest(*own)


def _of_size(target: Target, size: tuple[int, int]) -> Target:
    cropped = None if target.buckets is None else Resize.CROP
    return replace(target, shape=(*size, target.shape[2]), resize=cropped, buckets=None)
