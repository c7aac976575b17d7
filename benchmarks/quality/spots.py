"""Section: a measurement on micrographs. Spots are counted in noisy, denoised and clean images of known truth."""

from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quality.networks import network
from benchmarks.quality.place import Place
from benchmarks.quality.protocol import noisy_image

SIDE, COUNT, WIDTH = 256, 60, 1.6  # pixels, spots, standard deviation of a spot in pixels
NEAR = 2.0  # pixels between a spot and what was found for it, at most
_LEVELS = (15, 25, 50)
_TUNED, _JUDGED = 4, 12  # images by which thresholds are chosen, and others that are counted
_APART = 7.0  # pixels between two spots, at least
_THRESHOLDS = np.geomspace(0.02, 0.3, 12)

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A simulated image of spots.

    Attributes:
      pixels: uint8 [SIDE, SIDE].
      spots: float64 [n, 2], row and column of each.
    """

    pixels: npt.NDArray[np.uint8]
    spots: Points


def simulate(seed: int) -> Field:
    """An uneven background with Gaussian spots of 25 to 100 grey levels, none near another or the border."""
    rng = np.random.default_rng([1, seed])
    spots = list[Points]()
    while len(spots) < COUNT:
        spot = rng.uniform(_APART, SIDE - _APART, 2)
        if all(np.hypot(*(spot - other)) >= _APART for other in spots):
            spots.append(spot)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    image = 40 + 15 * np.sin(rows / SIDE * 2) * np.cos(columns / SIDE * 3)
    for (row, column), height in zip(spots, rng.uniform(25, 100, COUNT), strict=True):
        image += height * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * WIDTH**2))
    return Field(pixels=image.round().clip(0, 255).astype(np.uint8), spots=np.array(spots))


def blobs(image: np.ndarray, threshold: float) -> Points:
    """Rows and columns of spots that scikit-image's ``blob_log`` finds, float64 [n, 2]."""
    blob_log = import_module("skimage.feature").blob_log
    found = blob_log(image, min_sigma=1, max_sigma=3, num_sigma=5, threshold=threshold, overlap=0.5)
    return np.asarray(found[:, :2], np.float64)


def matched(found: Points, spots: Points) -> int:
    """How many spots were found, each by one point of its own within ``NEAR`` pixels.

    >>> matched(np.array([[0.0, 0], [0, 1], [9, 9]]), np.array([[0.0, 0], [5, 5]]))
    1
    """
    if not len(found) or not len(spots):
        return 0
    from scipy.optimize import linear_sum_assignment

    far = np.linalg.norm(found[:, None] - spots[None], axis=2)
    pairs = linear_sum_assignment((far > NEAR).astype(np.float64))  # as many pairs as there can be
    return int((far[pairs] <= NEAR).sum())


def counting(images: list[np.ndarray], fields: list[Field]) -> dict[str, float]:
    """Error of the count, in percent, and F1 of the spots found, by the threshold that is best for the first images.

    Args:
      images: values in 0..1, of ``fields``; the first ``_TUNED`` choose the threshold and are not counted.
      fields: their truth.
    """
    tuned = zip(images[:_TUNED], fields[:_TUNED], strict=True)
    pairs = list(tuned)
    best = max(_THRESHOLDS, key=lambda threshold: sum(_f1(blobs(image, threshold), f.spots) for image, f in pairs))
    found = [blobs(image, float(best)) for image in images[_TUNED:]]
    rest = fields[_TUNED:]
    errors = [abs(len(one) - COUNT) / COUNT for one in found]
    scores = [_f1(one, field.spots) for one, field in zip(found, rest, strict=True)]
    return {"count_error_percent": 100 * float(np.mean(errors)), "f1": float(np.mean(scores))}


def _f1(found: Points, spots: Points) -> float:
    return 2 * matched(found, spots) / (len(found) + len(spots))


def spots(place: Place) -> dict[str, Any]:
    """Counts of 60 simulated spots in 12 images, by scikit-image's ``blob_log``.

    Its threshold is chosen on 4 other images, for each kind of image by itself, so that F1 is best.
    """
    fields = [simulate(seed) for seed in range(_TUNED + _JUDGED)]
    found: dict[str, Any] = {"clean": counting([field.pixels / 255 for field in fields], fields)}
    for level in _LEVELS:
        noisy = [noisy_image(field.pixels, level, number) for number, field in enumerate(fields)]
        restore = partial(network(place, "zoo:denoiser-gray", level, 1).restore, level=level)
        found[str(level)] = {
            "noisy": counting(list(noisy), fields),
            "denoised": counting([restore(image) for image in noisy], fields),
        }
    return found
