"""A batch of records to pixels as they are: of any size, in grey or colour, with alpha, in their own depth."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.images import exact, geometry, numbers
from pipeline.images.base import Format, Group, Header, ImageError, Target
from pipeline.images.bulk import CHUNK, Bulk
from pipeline.images.decode import Decoder, joined, present
from pipeline.images.headers import sniff
from pipeline.records import Array, Fault, Reason, Records

_MOST = 1 << 22  # pixels times channels of a group of several images


class _Kind(NamedTuple):
    """Images that are decoded together: their pixels will have one shape and dtype, mostly."""

    bulk: Format | None  # PNG or JPEG that ``Bulk`` takes, if small: of large ones Pillow decodes each faster
    shape: tuple[int, int, int]
    depth: int


class NativeDecoder:
    """Decodes a batch group by group, as the caller asks for more; any number of threads may use one.

    Pixels have K channels: 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha), uint8, uint16 or float32, as the
    image has them. A palette counts as RGB, with alpha where it has transparency; CMYK becomes RGB by Pillow's rule.

    Args:
      target: of any size, ``(None, None, C)``; or ``(H, W, C)``: then another size is a reject, or resized. C and the
        policy on colour do not matter here. ``(d,)``: vectors, as ``Decoder`` gives them.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._bulk = lru_cache(maxsize=64)(lambda shape: Bulk(replace(target, shape=shape)))

    def groups(self, records: Records, faults: dict[int, Fault]) -> Iterator[Group]:
        """Groups whose pixels ``[m, H, W, K]`` share one shape and dtype, each decoded when it is asked for.

        A group holds about 4M samples at most, or one image. When the iterator is at its end, every position of the
        batch was in one group or is in ``faults``; what a record holds never raises.

        Args:
          records: images, or pixels ``[n, H, W, K]``.
          faults: receives what reading found and what is found here.
        """
        faults.update(records.faults)
        if len(self._target.shape) == 1:
            decoded = Decoder(self._target).decode(records)
            faults.update(decoded.faults)
            yield from decoded.groups
        elif isinstance(records.payload, np.ndarray):
            yield from self._arrays(records.payload, faults)
        else:
            yield from self._images(records.payload, faults)

    def _arrays(self, payload: Array, faults: dict[int, Fault]) -> Iterator[Group]:
        try:
            target = self._like(payload)
        except ImageError as error:
            faults.update({p: error.fault() for p in range(len(payload)) if p not in faults})
            return
        step = max(1, _MOST // max(int(np.prod(target.fixed)), 1))
        for start in range(0, len(payload), step):
            rows = payload[start : start + step]
            known = {p - start: faults[p] for p in range(start, start + len(rows)) if p in faults}
            decoded = numbers.decode(rows, target, known)
            faults.update({p + start: fault for p, fault in decoded.faults.items()})
            for group in decoded.groups:
                yield Group(positions=group.positions + start, pixels=group.pixels)

    def _like(self, payload: Array) -> Target:
        """The target for pixels of the payload's channels and, where it takes any, of its size."""
        if payload.ndim != 4:
            shape = payload.shape[1:]
            raise ImageError(Reason.WRONG_SIZE, f"numbers of shape {shape}, the model takes images")
        height, width, channels = payload.shape[1:]
        if channels not in (1, 2, 3, 4):
            raise ImageError(Reason.WRONG_CHANNELS, f"{channels} channels, images have 1 to 4")
        if height * width > self._target.max_pixels:
            text = f"{width}x{height} pixels, more than the {self._target.max_pixels} that are allowed"
            raise ImageError(Reason.TOO_MANY_PIXELS, text)
        if not height * width:
            raise ImageError(Reason.WRONG_SIZE, f"{width}x{height} pixels")
        size = (height, width) if self._target.any_size else self._target.size
        return replace(self._target, shape=(*size, channels))

    def _images(self, column: pa.Array, faults: dict[int, Fault]) -> Iterator[Group]:
        kinds: defaultdict[_Kind, dict[int, Header]] = defaultdict(dict)
        for position, header, kind in self._sorted(column, faults):
            kinds[kind][position] = header
        for kind, headers in kinds.items():
            yield from self._of_kind(kind, headers, column, faults)

    def _sorted(self, column: pa.Array, faults: dict[int, Fault]) -> Iterator[tuple[int, Header, _Kind]]:
        """Position, header and kind of each image that may be decoded."""
        rest = present(column, faults)
        common: tuple[Header, _Kind] | None = None  # mostly, one encoder wrote all, of one size
        for position in np.flatnonzero(rest).tolist():
            if common is not None and not rest[position]:
                yield position, *common
                continue
            data = column[position].as_py()
            if (header := self._header(data, position, faults)) is not None:
                kind = self._kind(header, len(data))
                yield position, header, kind
                if common is None and kind.bulk is Format.PNG:
                    common = header, kind
                    rest &= ~self._bulk(kind.shape).plain_pngs(column)

    def _header(self, data: bytes, position: int, faults: dict[int, Fault]) -> Header | None:
        target = self._target
        try:
            header = sniff(data, target.max_pixels)
            if not target.any_size:
                geometry.fits(_shape(header, target)[:2], target.size, target.resize)
        except ImageError as error:
            faults[position] = error.fault()
            return None
        return header

    def _kind(self, header: Header, size: int) -> _Kind:
        shape = _shape(header, self._target)
        if self._resizes(shape):
            return _Kind(None, (*self._target.size, shape[2]), header.depth)
        bulk = self._bulk(shape) if header.plain else None
        small = bulk is not None and bulk.chunk == CHUNK and bulk.takes(header, size)
        return _Kind(header.format if small else None, shape, header.depth)

    def _resizes(self, shape: tuple[int, ...]) -> bool:
        return not self._target.any_size and shape[:2] != self._target.size

    def _of_kind(
        self, kind: _Kind, headers: dict[int, Header], column: pa.Array, faults: dict[int, Fault]
    ) -> Iterator[Group]:
        positions = list(headers)
        step = max(1, _MOST // int(np.prod(kind.shape)))
        if kind.bulk:
            step -= step % CHUNK
        for start in range(0, len(positions), step):
            some = positions[start : start + step]
            parts = self._together(kind, some, column)
            done = {position for found, _ in parts for position in found.tolist()}
            rest = [position for position in some if position not in done]
            yield from joined(parts + list(self._one_by_one(rest, headers, column, faults)))

    def _together(self, kind: _Kind, positions: list[int], column: pa.Array) -> list[tuple[Array, Array]]:
        """Those that ``bulk`` decodes: whole chunks, and the rest if it fills most of one."""
        if kind.bulk is None:
            return []
        bulk = self._bulk(kind.shape)
        rest = len(positions) % CHUNK
        some = np.array(positions[: len(positions) - (rest if 2 * rest < CHUNK else 0)], np.int64)
        if not len(some):
            return []
        good, pixels = bulk.decode(kind.bulk, column.take(pa.array(some)).to_numpy(zero_copy_only=False))
        return [(some[good], pixels)]

    def _one_by_one(
        self, positions: Iterable[int], headers: dict[int, Header], column: pa.Array, faults: dict[int, Fault]
    ) -> Iterator[tuple[Array, Array]]:
        for position in positions:
            try:
                pixels = self._decode(column[position].as_py(), headers[position])
            except ImageError as error:
                faults[position] = error.fault()
            else:
                yield np.array([position], np.int64), pixels[None]

    def _decode(self, data: bytes, header: Header) -> Array:
        pixels = geometry.turned(exact.as_is(data, header), exact.turn_of(header, self._target))
        return numbers.resized(pixels, self._target) if self._resizes(pixels.shape) else pixels


def _shape(header: Header, target: Target) -> tuple[int, int, int]:
    """(H, W, K) of an image once it is upright."""
    height, width = header.height, header.width
    if exact.turn_of(header, target) >= 5:
        height, width = width, height
    return height, width, (1 if header.channels == 1 else 3) + header.alpha
