"""Masks of a blind-spot training: pixels that the network has to tell from their neighbours.

After Krull, Buchholz and Jug, "Noise2Void", CVPR 2019: a hidden pixel becomes one of its neighbours; and never itself,
as in Höck et al., "N2V2", ECCV workshops 2022.
"""

import numpy as np
import numpy.typing as npt

from model.pixels import Floats

_BOX = 8  # one pixel of a box of this side is hidden
_RADIUS = 2  # of the neighbourhood


def hidden_pixels(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Choose the pixels to hide: one in each box of 8 x 8.

    Args:
      rng: source of the choice.
      shape: (n, H, W, C) of the images.

    Returns:
      ``[n, H, W, 1]``; True for a hidden pixel.
    """
    n, height, width = shape[:3]
    rows, columns = -(-height // _BOX), -(-width // _BOX)
    down = np.arange(rows)[:, None] * _BOX + rng.integers(_BOX, size=(n, rows, columns))
    across = np.arange(columns) * _BOX + rng.integers(_BOX, size=(n, rows, columns))
    inside = (down < height) & (across < width)
    mask = np.zeros((n, height, width, 1), bool)
    mask[np.nonzero(inside)[0], down[inside], across[inside]] = True
    return mask


def hide(rng: np.random.Generator, noisy: Floats, mask: npt.NDArray[np.bool_]) -> Floats:
    """Replace each hidden pixel by one of the 24 around it, at random and with all its channels.

    Pixels beyond the edge are not taken, nor hidden ones: the network would see what it is to tell.

    Args:
      rng: source of the choice.
      noisy: ``[n, H, W, C]``.
      mask: ``[n, H, W, 1]``, as ``hidden_pixels`` gives it.
    """
    side = 2 * _RADIUS + 1
    n, row, column, _ = np.nonzero(mask)
    down, across = (places.ravel() - _RADIUS for places in np.indices((side, side)))
    rows, columns = row[:, None] + down, column[:, None] + across  # [hidden pixels, 25]
    # What lies beyond the edge counts as hidden.
    framed = np.pad(mask[..., 0], ((0, 0), (_RADIUS, _RADIUS), (_RADIUS, _RADIUS)), constant_values=True)
    usable = ~framed[n[:, None], rows + _RADIUS, columns + _RADIUS]
    chosen = np.argmax(rng.random(usable.shape) * usable, axis=1)
    each = np.arange(len(n))
    made = noisy.copy()
    made[n, row, column] = noisy[n, rows[each, chosen], columns[each, chosen]]
    return made
