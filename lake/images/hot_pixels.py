"""Find pixels at the end of a camera's range that stand alone in the dark: hot ones, cosmic rays, small bright spots.

They are no noise of the kind that is estimated, but a few of them have more energy than all noise of an image.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lake.core.records import Array

_SIDE = 7  # pixels of the square around one
_FEWEST, _PILE = 4, 4  # pixels of one value at least, and times as many as of the next one, where a camera ends
_ALONE = 0.25  # of the square: 3 x 3 pixels and some are a spot, the corner of an overexposed area has more
_FAR = 2.0  # times the range of the pixels around: neither noise nor the edge of anything is so far above them


def end_of_range(values: Array) -> float | None:
    """The value at which a camera's numbers end: the largest, if many pixels have it and few the next smaller one.

    Args:
      values: of any shape.

    >>> end_of_range(np.array([7, 9, 8, 4095, 4095, 4095, 4095])), end_of_range(np.array([7, 9, 8, 8, 8]))
    (4095.0, None)
    """
    top = values.max()
    count = np.count_nonzero(values == top)
    if not _FEWEST <= count < values.size:
        return None
    following = values[values < top].max()
    return float(top) if count >= _PILE * np.count_nonzero(values == following) else None


def share_around(where: Array) -> Array:
    """How much of the square of 7 x 7 pixels around each is true, float16 of the same shape.

    Args:
      where: bool ``[..., H, W]``.
    """
    half = _SIDE // 2
    count = np.pad(where.astype(np.uint8), [(0, 0)] * (where.ndim - 2) + [(half, half)] * 2, "symmetric")
    for axis in (-2, -1):
        windows = sliding_window_view(count, _SIDE, axis)
        count = np.add.reduce(windows, axis=-1, dtype=np.uint8)
    share: Array = count / np.float16(_SIDE**2)  # large images have few bytes for it
    return share


def without_hot(blocks: Array) -> Array:
    """A channel whose hot pixels have the median of those around; itself if it has none.

    Args:
      blocks: ``[n, H, W]``.
    """
    top = end_of_range(blocks)
    if top is None:
        return blocks
    hot = blocks == top
    hot &= share_around(hot) <= _ALONE
    places = np.nonzero(hot)
    half = _SIDE // 2
    padded = np.pad(blocks, ((0, 0), (half, half), (half, half)), "symmetric")
    around = sliding_window_view(padded, (_SIDE, _SIDE), (1, 2))[places].reshape(len(places[0]), _SIDE**2)
    next_to = np.max(around, axis=1, where=around < top, initial=-np.inf)
    far = top - next_to > _FAR * (next_to - around.min(axis=1))
    if not far.any():
        return blocks
    healed = blocks.copy()
    healed[places] = np.where(far, np.median(around, axis=1), top)
    return healed
