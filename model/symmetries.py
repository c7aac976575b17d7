"""The symmetries of a square, by which an image is shown to a model several times: the self-ensemble of Timofte et al.

Noise and photographs look alike when they are turned or mirrored, but a network's errors differ. So the mean of what it
gives for several of them, each turned back, is nearer to the truth (Timofte, Rothe, Van Gool: "Seven ways to improve
example-based single image super resolution", CVPR 2016, section 3.6).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model.input_spec import Input
from model.pixels import Floats, Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Symmetry:
    """A mirroring from left to right, and then some quarter turns.

    Attributes:
      mirrored: whether the image is mirrored.
      turns: quarter turns, counterclockwise, 0 to 3.

    >>> image = np.arange(6).reshape(1, 2, 3, 1)
    >>> turned = Symmetry(mirrored=True, turns=1).shown(image)
    >>> turned[0, :, :, 0].tolist()
    [[0, 3], [1, 4], [2, 5]]
    >>> np.array_equal(Symmetry(mirrored=True, turns=1).turned_back(turned), image)
    True
    """

    mirrored: bool = False
    turns: int = 0

    def shown(self, images: Pixels) -> Pixels:
        """Images [n, H, W, C] as the model is shown them; with an odd number of turns [n, W, H, C]."""
        return np.rot90(images[:, :, ::-1] if self.mirrored else images, self.turns, (1, 2))

    def turned_back(self, results: Floats) -> Floats:
        """What the model gave for them, as the images were."""
        back = np.rot90(results, -self.turns, (1, 2))
        return back[:, :, ::-1] if self.mirrored else back


_TURNS = tuple(Symmetry(turns=turns) for turns in range(4))
_MIRRORED = tuple(Symmetry(mirrored=True, turns=turns) for turns in range(4))
ENSEMBLES: Mapping[int, tuple[Symmetry, ...]] = {1: _TURNS[:1], 4: _TURNS, 8: (*_TURNS, *_MIRRORED)}  # by their size


def ensemble_for(count: int, takes: Input) -> tuple[Symmetry, ...]:
    """The symmetries of an ensemble; the first one leaves an image as it is.

    Args:
      count: 1, 4 or 8.
      takes: what the model takes.

    Raises:
      ValueError: there is no ensemble of this size, or it turns images that the model does not take turned.
    """
    if count not in ENSEMBLES:
        raise ValueError(f"an ensemble of {count}; there are those of {', '.join(map(str, ENSEMBLES))}")
    chosen = ENSEMBLES[count]
    if any(one.turns % 2 for one in chosen) and not takes.any_size and takes.shape[:1] != takes.shape[1:2]:
        sides = " x ".join(map(str, takes.shape[:2]))
        raise ValueError(f"an ensemble of {count} turns images, and the model takes {sides} pixels")
    return chosen
