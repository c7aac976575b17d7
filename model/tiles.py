"""How a large image is cut into tiles that overlap, and their results blended into one without a seam."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from model.pixels import Floats

FADE = 16  # pixels over which one tile's weight falls while its neighbour's rises


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What one tile covers along one axis.

    Attributes:
      start, stop: what the model is given.
      first, last: where its result counts; neighbours share ``FADE`` pixels.
      rises, falls: a neighbour comes before, after; else the image ends there.
    """

    start: int
    stop: int
    first: int
    last: int
    rises: bool
    falls: bool

    @property
    def length(self) -> int:
        """Pixels that count."""
        return self.last - self.first

    @property
    def inside(self) -> slice:
        """What counts of the model's result."""
        return slice(self.first - self.start, self.last - self.start)

    @property
    def done(self) -> int:
        """Where the next tile's result begins to count."""
        return self.last - FADE if self.falls else self.last

    @property
    def weights(self) -> Floats:
        """How much each of the pixels that count does, float32 ``[length]``; those of all tiles add up to exactly 1."""
        weights = np.ones(self.length, np.float32)
        rise = (np.arange(FADE, dtype=np.float32) + np.float32(0.5)) / FADE
        if self.rises:
            weights[:FADE] = rise
        if self.falls:
            weights[-FADE:] = 1 - rise
        return weights


def stretches(side: int, inner: int, margin: int, multiple: int) -> tuple[Stretch, ...]:
    """Cut a side into tiles of nearly equal length.

    Args:
      side: pixels.
      inner: how many pixels of a tile count, at most and without the fades; at least 4 x ``FADE``.
      margin: how many pixels beyond those that count the model is given, at least, unless the image ends.
      multiple: every tile starts, and stops but for the image's end, at a multiple of it, and so sees the grid that
        the whole image sees.
    """
    count = max(1, -(-side // inner))
    cuts = [side * i // count for i in range(count + 1)]
    return tuple(_stretch(*ends, side, margin, multiple) for ends in pairwise(cuts))


def _stretch(begin: int, end: int, side: int, margin: int, multiple: int) -> Stretch:
    rises, falls = begin > 0, end < side
    first, last = begin - FADE // 2 * rises, end + FADE // 2 * falls
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
    """A finished part of a blended image: its values, float32 [rows, columns, channels], and where it begins."""

    row: int
    column: int
    values: Floats


def blend(
    rows: tuple[Stretch, ...], columns: tuple[Stretch, ...], run: Callable[[Stretch, Stretch], Floats]
) -> Iterator[Part]:
    """Run every tile and blend the results. The parts are bands across the shorter side, so few pixels are held.

    Args:
      rows: the tiles, by ``stretches`` of the image's height.
      columns: of its width.
      run: gives what counts of a tile's result, float32 [rows.length, columns.length, channels].
    """
    if rows[-1].last < columns[-1].last:
        turned = blend(columns, rows, lambda column, row: run(row, column).swapaxes(0, 1))
        yield from (Part(row=p.column, column=p.row, values=p.values.swapaxes(0, 1)) for p in turned)
        return
    fading: Floats | None = None
    for row in rows:
        band = _band(row, columns, run)
        if fading is not None:
            band[:FADE] += fading
        yield Part(row=row.first, column=0, values=band[: row.done - row.first])
        fading = band[row.done - row.first :].copy()  # the rest of the band may go


def _band(row: Stretch, columns: tuple[Stretch, ...], run: Callable[[Stretch, Stretch], Floats]) -> Floats:
    band: Floats | None = None
    for column in columns:
        values = run(row, column)
        if band is None:
            band = np.zeros((row.length, columns[-1].last, values.shape[2]), np.float32)
        band[:, column.first : column.last] += values * column.weights[:, None]
    assert band is not None
    band *= row.weights[:, None, None]
    return band
