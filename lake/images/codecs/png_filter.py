"""The five row filters of PNG (PNG specification, third edition, section 9), chosen row by row."""

from collections.abc import Iterator

import numpy as np

from lake.core.records import Array

_BAND = 1 << 16  # bytes that are filtered at once, so that they stay in the core's cache


def filtered(pixels: Array) -> Iterator[Array]:
    """Filter the rows of an image for compression.

    Each row gets the filter with the least sum of absolute differences, as libpng chooses.

    Args:
      pixels: uint8 or uint16 ``[H, W, K]``.

    Yields:
      Bands of rows, uint8 ``[h, 1 + bytes]``: the filter's number and the filtered bytes.
    """
    height, width, channels = pixels.shape
    step = channels * pixels.dtype.itemsize  # bytes of a pixel
    band = max(_BAND // (width * step), 1)
    above = np.zeros(width * step, np.uint8)
    for top in range(0, height, band):
        part = pixels[top : top + band]
        rows = np.ascontiguousarray(part, part.dtype.newbyteorder(">")).view(np.uint8).reshape(len(part), -1)
        candidates = _candidates(rows, np.concatenate([above[None], rows[:-1]]), step)
        sums = np.abs(candidates.view(np.int8)).view(np.uint8).sum(axis=2, dtype=np.uint64)
        best = sums.argmin(axis=0)
        yield np.concatenate([best.astype(np.uint8)[:, None], candidates[best, np.arange(len(rows))]], axis=1)
        above = rows[-1]


def _candidates(rows: Array, up: Array, step: int) -> Array:
    """The rows filtered by None, Sub, Up, Average and Paeth, uint8 ``[5, h, bytes]``."""
    left, corner = _shifted(rows, step), _shifted(up, step)
    mean = (left & up) + ((left ^ up) >> 1)
    return np.stack([rows, rows - left, rows - up, rows - mean, rows - _paeth(left, up, corner)])


def _shifted(rows: Array, step: int) -> Array:
    shifted = np.zeros_like(rows)
    shifted[:, step:] = rows[:, :-step]
    return shifted


def _paeth(left: Array, up: Array, corner: Array) -> Array:
    """The Paeth predictor: of left, up and corner the nearest to left + up - corner; the first of equally near ones."""
    from_left = up - corner.astype(np.int16)
    from_up = left - corner.astype(np.int16)
    from_corner = np.abs(from_left + from_up)
    from_left, from_up = np.abs(from_left), np.abs(from_up)
    guess = np.where(from_up <= from_corner, up, corner)
    np.copyto(guess, left, where=(from_left <= from_up) & (from_left <= from_corner))
    return guess
