"""Tiling of large images: overlapping tiles, whose results are blended without a visible seam.

A tile is larger than the part of its result that is used, by the model's reach, so that the used part is what the whole
image would give. Neighbouring parts overlap by ``FADE`` pixels, where their results are faded into each other.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from typing import TypeAlias

import numpy as np

from model.pixels import Floats, Pixels

CALL_PIXELS = 1 << 18  # of one call of the model, which bounds the memory of activations, unless one image has more
TILE = 512  # pixels that count along a side of a tile
FADE = 16  # pixels of the overlap in which one tile's weight falls and its neighbour's rises


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The extent of a tile along one axis, in pixels.

    Attributes:
      start: first pixel that the model is given.
      stop: end of what the model is given.
      first: first pixel of the result that is used; neighbours overlap by ``FADE`` pixels.
      last: end of the result that is used.
      rises: whether a tile comes before; otherwise the image begins here.
      falls: whether a tile follows; otherwise the image ends here.
    """

    start: int
    stop: int
    first: int
    last: int
    rises: bool
    falls: bool

    @property
    def length(self) -> int:
        """Number of pixels of the result that are used."""
        return self.last - self.first

    @property
    def inside(self) -> slice:
        """The used part of the model's result."""
        return slice(self.first - self.start, self.last - self.start)

    @property
    def done(self) -> int:
        """The pixel from which on the next tile's result is used, too."""
        return self.last - FADE if self.falls else self.last

    @property
    def weights(self) -> Floats:
        """Weight of each used pixel, float32 ``[length]``. The weights of all tiles add up to exactly 1 everywhere."""
        weights = np.ones(self.length, np.float32)
        rise = (np.arange(FADE, dtype=np.float32) + np.float32(0.5)) / FADE
        if self.rises:
            weights[:FADE] = rise
        if self.falls:
            weights[-FADE:] = 1 - rise
        return weights


def stretches(side: int, inner: int, margin: int, multiple: int, fade: int = FADE) -> tuple[Stretch, ...]:
    """Cut a side into tiles of nearly equal length.

    Args:
      side: length of the image along this axis, in pixels.
      inner: largest number of pixels of a tile's result that are used, without the fades; at least 4 x ``FADE``.
      margin: smallest number of pixels around the used ones that the model is given, except at the image's border.
      multiple: every tile starts at a multiple of it, and stops at one except at the image's end, so that strided
        layers sample the same grid as on the whole image.
      fade: pixels by which neighbours overlap; 0 for none, of tiles that are not blended.

    >>> [(tile.start, tile.first, tile.last, tile.stop) for tile in stretches(1000, inner=512, margin=32, multiple=8)]
    [(0, 0, 508, 544), (456, 492, 1000, 1000)]
    >>> sum(len(tile.weights) for tile in stretches(1000, 512, 32, 8)) - 1000 == FADE
    True
    """
    # Nearly equal lengths, so that no tile is a narrow rest.
    count = max(1, -(-side // inner))
    cuts = [side * i // count for i in range(count + 1)]
    return tuple(_stretch(*ends, side, margin, multiple, fade) for ends in pairwise(cuts))


def _stretch(begin: int, end: int, side: int, margin: int, multiple: int, fade: int) -> Stretch:
    rises, falls = begin > 0, end < side
    first, last = begin - fade // 2 * rises, end + fade // 2 * falls
    return Stretch(
        start=max(0, (first - margin) // multiple * multiple),
        stop=min(side, -((-last - margin) // multiple) * multiple),
        first=first,
        last=last,
        rises=rises,
        falls=falls,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A finished part of a blended image.

    Attributes:
      row: its first row in the image.
      column: its first column in the image.
      values: float32 ``[rows, columns, channels]``.
    """

    row: int
    column: int
    values: Floats


RunTiles: TypeAlias = Callable[[Iterable[tuple[Stretch, Stretch]]], Iterable[Floats]]


def blend(rows: tuple[Stretch, ...], columns: tuple[Stretch, ...], run: RunTiles) -> Iterator[Part]:
    """Run every tile and yield the blended result in bands across the shorter side.

    Args:
      rows: the tiles along the image's height, from ``stretches``.
      columns: the tiles along its width.
      run: gives the used parts of the results of some tiles (row, column), in their order, each float32
        ``[row.length, column.length, channels]``. It may run tiles ahead, which are in memory then.

    >>> one = stretches(100, inner=64, margin=0, multiple=1)
    >>> def ones(tiles):
    ...     return (np.ones((row.length, column.length, 1), np.float32) for row, column in tiles)
    >>> parts = list(blend(one, one, ones))
    >>> sum(part.values.size for part in parts), all(np.allclose(part.values, 1) for part in parts)
    (10000, True)
    """
    # One band of tiles is in memory at a time. Bands across the shorter side are the smaller ones.
    if rows[-1].last < columns[-1].last:
        transposed = blend(columns, rows, partial(_transposed, run))
        yield from (Part(row=p.column, column=p.row, values=p.values.swapaxes(0, 1)) for p in transposed)
        return
    results = iter(run(product(rows, columns)))
    fading: Floats | None = None  # lower edge of the last band, which overlaps the next one
    for row in rows:
        band = _band(row, columns, results)
        if fading is not None:
            band[:FADE] += fading
        yield Part(row=row.first, column=0, values=band[: row.done - row.first])
        fading = band[row.done - row.first :].copy()  # a copy, so that the band itself is freed


def _transposed(run: RunTiles, tiles: Iterable[tuple[Stretch, Stretch]]) -> Iterator[Floats]:
    return (values.swapaxes(0, 1) for values in run((row, column) for column, row in tiles))


def _band(row: Stretch, columns: tuple[Stretch, ...], results: Iterator[Floats]) -> Floats:
    band: Floats | None = None
    for column in columns:
        values = next(results)
        if band is None:
            band = np.zeros((row.length, columns[-1].last, values.shape[2]), np.float32)
        # The weights are separable: along columns here, along rows once for the whole band.
        band[:, column.first : column.last] += values * column.weights[:, None]
    assert band is not None
    band *= row.weights[:, None, None]
    return band


def padded(images: Pixels, multiple: int) -> Pixels:
    """Images with sides up to a multiple: mirrored at the right and bottom, or the edge repeated where too short.

    Args:
      images: ``[m, H, W, C]``.
      multiple: of the sides, in pixels.

    >>> padded(np.arange(3).reshape(1, 1, 3, 1), 2)[0, :, :, 0].tolist()
    [[0, 1, 2, 1], [0, 1, 2, 1]]
    """
    for axis in (1, 2):
        side = images.shape[axis]
        if missing := -side % multiple:
            width = [(0, missing if i == axis else 0) for i in range(4)]
            images = np.pad(images, width, "reflect" if missing < side else "edge")
    return images
