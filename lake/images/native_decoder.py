"""Decode a batch of records to pixels as they are stored: any size, grey or colour, with alpha, in their own depth."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from lake.core.records import Array, Fault, Reason, Records
from lake.images import color, decode_arrays, decode_one, geometry, white
from lake.images.codecs import tiff_split
from lake.images.decode_bulk import CHUNK, BulkDecoder
from lake.images.decoder import Decoder, joined, largest, present
from lake.images.header import header_for, read_header
from lake.images.turns import in_turn
from lake.images.types import Group, Header, ImageCodec, ImageError, Pages, Target

_MOST = 1 << 22  # samples (pixels times channels) of a group of several images


class _Kind(NamedTuple):
    """Images that are decoded together, since their pixels will usually have one shape and dtype."""

    # PNG or JPEG for small images that BulkDecoder takes; None for others. Pillow is faster with large images.
    bulk: str | None
    shape: tuple[int, int, int]
    depth: int
    pages: int = 1
    bands: bool = False  # as of ``Group``


class NativeDecoder:
    """Decodes a batch group by group, as the caller consumes them. Thread-safe.

    Pixels have K channels: 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha), in uint8, uint16 or float32, as the
    image has them, or of a TIFF more (bands); floating ones with white at 1. A palette counts as RGB, with alpha if it
    has transparency. CMYK becomes RGB by Pillow's rule.

    Args:
      target: ``(None, None, C)`` for any size; ``(H, W, C)`` to resize or reject other sizes; ``(d,)`` for vectors,
        which are decoded as by ``Decoder``. C decides about bands alone, and the colour policy has no effect here.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._bulk = lru_cache(maxsize=64)(lambda shape: BulkDecoder(replace(target, shape=shape)))

    def groups(self, records: Records, faults: dict[int, Fault]) -> Iterator[Group]:
        """Decode a batch. Each group is decoded when the iterator reaches it.

        A group holds at most about 4 million samples, or one image. At the iterator's end every position of the batch
        was in one group or is in ``faults``. A bad record never raises. With ``Pages.ALL`` pages
        of a TIFF in a row that are alike are a group, and those before a page that cannot be decoded were in vain.

        Args:
          records: encoded images, pixels ``[n, H, W, K]`` or vectors ``[n, d]``.
          faults: receives the faults of reading and those found here, by position.

        Yields:
          Groups whose pixels ``[m, H, W, K]`` have one shape and dtype.
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
        bands = color.array_has_bands(payload, target.alpha)
        for start in range(0, len(payload), step):
            rows = payload[start : start + step]
            known = {p - start: faults[p] for p in range(start, start + len(rows)) if p in faults}
            decoded = decode_arrays.decode_arrays(rows, target, known)
            faults.update({p + start: fault for p, fault in decoded.faults.items()})
            for group in decoded.groups:
                yield Group(positions=group.positions + start, pixels=group.pixels, bands=bands)

    def _like(self, payload: Array) -> Target:
        """The target for an array of pixels: its channels, and its size if the target accepts any size."""
        if payload.ndim != 4:
            shape = payload.shape[1:]
            raise ImageError(Reason.WRONG_SIZE, f"numbers of shape {shape}, the model takes images")
        height, width, channels = payload.shape[1:]
        # A grey model sees each channel by itself, whatever they are; any other one takes its own number of them.
        if channels not in (1, 2, 3, 4, self._target.shape[2]) and not (channels and self._target.shape[2] == 1):
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
            if header.pages > 1 and self._target.pages == Pages.ALL:
                yield from self._pages(position, header.pages, column[position].as_py(), faults)
            else:
                kinds[kind][position] = header
        for kind, headers in kinds.items():
            yield from self._of_kind(kind, headers, column, faults)

    def _sorted(self, column: pa.Array, faults: dict[int, Fault]) -> Iterator[tuple[int, Header, _Kind]]:
        """Position, header and kind of each image that can be decoded."""
        rest = present(column, faults)
        # One encoder usually wrote all PNGs of a shard, of one size. After the first one, its likes are not parsed.
        common: tuple[Header, _Kind] | None = None
        for position in np.flatnonzero(rest).tolist():
            if common is not None and not rest[position]:
                yield position, *common
                continue
            data = column[position].as_py()
            if (header := self._header(data, position, faults)) is not None:
                kind = self._kind(header, len(data))
                yield position, header, kind
                if common is None and kind.bulk is ImageCodec.PNG:
                    common = header, kind
                    rest &= ~self._bulk(kind.shape).plain_pngs(column)

    def _header(self, data: bytes, position: int, faults: dict[int, Fault]) -> Header | None:
        target = self._target
        try:
            header = header_for(data, target)
            color.restorable(header, target.shape[2] or 1)
            if not target.any_size:
                geometry.fits(_shape(header, target)[:2], target.size, target.resize)
        except ImageError as error:
            faults[position] = error.fault()
            return None
        return header

    def _kind(self, header: Header, size: int) -> _Kind:
        shape, bands = _shape(header, self._target), color.file_has_bands(header, self._target.alpha)
        if self._resizes(shape):
            return _Kind(None, (*self._target.size, shape[2]), header.depth, header.pages, bands)
        bulk = self._bulk(shape) if header.plain and header.pages == 1 else None
        small = bulk is not None and bulk.chunk == CHUNK and bulk.takes(header, size)
        return _Kind(header.format if small else None, shape, header.depth, header.pages, bands)

    def _resizes(self, shape: tuple[int, ...]) -> bool:
        return not self._target.any_size and not self._target.takes_as_it_is(shape[:2])

    def _of_kind(
        self, kind: _Kind, headers: dict[int, Header], column: pa.Array, faults: dict[int, Fault]
    ) -> Iterator[Group]:
        positions = list(headers)
        step = max(1, _MOST // int(np.prod(kind.shape)))
        if kind.bulk:
            step -= step % CHUNK  # whole chunks, which need no padding
        for start in range(0, len(positions), step):
            some = positions[start : start + step]
            parts = self._together(kind, some, column)
            done = {position for found, _ in parts for position in found.tolist()}
            rest = [position for position in some if position not in done]
            with in_turn(largest(headers[position] for position in rest)):
                parts += self._one_by_one(rest, headers, column, faults)
            groups = joined(parts)
            yield from (replace(group, pages=kind.pages, bands=kind.bands) for group in groups)

    def _together(self, kind: _Kind, positions: list[int], column: pa.Array) -> list[tuple[Array, Array]]:
        """Decode in bulk: whole chunks, and the rest if it fills at least half a chunk."""
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

    def _pages(self, position: int, count: int, data: bytes, faults: dict[int, Fault]) -> Iterator[Group]:
        """The pages of a TIFF, those that are alike as groups. Where one cannot be decoded, the record has a fault."""
        found = 0
        try:
            for pages, bands in _alike(self._decoded_pages(data)):
                at = np.full(len(pages), position, np.int64)
                pixels = np.stack(pages) if len(pages) > 1 else pages[0][None]  # no copy of a large one
                yield Group(positions=at, pixels=pixels, pages=count, page=found, bands=bands)
                found += len(pages)
            if found < count:
                raise ImageError(Reason.SEVERAL_PAGES, f"TIFF of {count} pages with directories of {found}")
        except ImageError as error:
            faults[position] = error.fault()

    def _decoded_pages(self, data: bytes) -> Iterator[tuple[Array, bool]]:
        """Each page, and whether its last channel is data."""
        room = self._target.max_pixels
        for page in tiff_split.split(data):
            header = read_header(page, room)
            room -= header.width * header.height
            if not self._target.any_size:
                geometry.fits(_shape(header, self._target)[:2], self._target.size, self._target.resize)
            yield self._decode(page, header), color.file_has_bands(header, self._target.alpha)

    def _decode(self, data: bytes, header: Header) -> Array:
        times, extent = decode_one.reduced(header, self._target)
        found = decode_one.decode_stored(data, header, times)
        stored = white.image_at_one(found, white.white_of(header, self._target))
        pixels = geometry.turned(stored, decode_one.turn_of(header, self._target))
        return decode_arrays.resize_arrays(pixels, self._target, extent) if self._resizes(pixels.shape) else pixels


def _alike(pages: Iterable[tuple[Array, bool]]) -> Iterator[tuple[list[Array], bool]]:
    """Pages in a row of one shape, dtype and meaning of the last channel, as many as a group holds."""
    group, kind = list[Array](), (False, "")
    for page, bands in pages:
        other = group and (group[0].shape, *kind) != (page.shape, bands, page.dtype.str)
        if other or (len(group) + 1) * page.size > _MOST:
            if group:
                yield group, kind[0]
            group = []
        group.append(page)
        kind = bands, page.dtype.str
    if group:
        yield group, kind[0]


def _shape(header: Header, target: Target) -> tuple[int, int, int]:
    """(H, W, K) of an image when it is upright."""
    height, width = header.height, header.width
    if decode_one.turn_of(header, target) >= 5:
        height, width = width, height
    colors = header.channels if header.channels > color.MOST_COLORS else 1 if header.channels == 1 else 3
    return height, width, colors + header.alpha
