"""Training data of a denoiser: pieces of images of any size, turned and mirrored, with noise."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.samples import HELD_BYTES, Pixels, unit
from pipeline.errors import UsageError
from pipeline.images import exact, numbers
from pipeline.images.base import ImageError, Target
from pipeline.images.headers import sniff
from pipeline.inputs import iter_records
from pipeline.readers import Request
from pipeline.records import Records

_LOG = logging.getLogger(__name__)
LEVELS = (5.0, 20.0, 55.0)  # least, most frequent and greatest noise, where white is 255
BATCH = 8
SMALLEST = 128  # sides below are extended by their mirror image: the largest pieces have that side
_MOST_HELD_OUT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images [H, W, C] of any sizes from ``SMALLEST`` on: all of uint8, or all of float32 where white is 1.

    Attributes:
      digest: SHA-256 of the pixels of all.
    """

    training: Sequence[Pixels]
    held_out: Sequence[Pixels]
    digest: str

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of all the pixels."""
        return self.training[0].dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one step learns from.

    Attributes:
      clean: [n, side, side, C] of the images' dtype.
      level: standard deviation of each piece's noise, float32 [n, 1, 1, 1], white is 1.
      noise: standard normal, float32 [n, side, side, C].
    """

    clean: Pixels
    level: npt.NDArray[np.float32]
    noise: npt.NDArray[np.float32]


def load_images(images: Iterable[Pixels], fraction: float, held_bytes: int = HELD_BYTES) -> Images:
    """Hold images, every so many'th apart.

    Args:
      images: in the order of the input.
      fraction: share that is held out; the first of each 1 / fraction, at most 32.
      held_bytes: the most to hold; what comes after is not used.

    Raises:
      UsageError: too few to train and to hold out.
    """
    every = round(1 / fraction) if fraction else 0
    training, held_out, sha256, size = list[Pixels](), list[Pixels](), hashlib.sha256(), 0
    for number, image in enumerate(images):
        chosen = every and number % every == 0 and len(held_out) < _MOST_HELD_OUT
        (held_out if chosen else training).append(image)
        sha256.update(repr((image.shape, image.dtype.str)).encode() + image.tobytes())
        size += image.nbytes
        if size > held_bytes:
            _LOG.warning("%d images fill the memory set aside for them; the others are not used", number + 1)
            break
    if not training or not held_out:
        raise UsageError(
            f"too few images: {len(training)} to train on and {len(held_out)} held out; give more --input or another "
            f"--validation-fraction"
        )
    if {image.dtype for image in (*training, *held_out)} != {np.dtype(np.uint8)}:
        for part in (training, held_out):
            part[:] = map(unit, part)
    return Images(training=training, held_out=held_out, digest=sha256.hexdigest())


def iter_images(
    inputs: Sequence[str], *, channels: int, policy: Mapping[str, Any], request: Request, format: str
) -> Iterator[Pixels]:
    """Images [H, W, C] of the input at their own sizes; those that the job would reject are left out and counted.

    Raises:
      InputError, ShardError: as ``pipeline.inputs.iter_records``.
    """
    left_out = 0
    for records in iter_records(inputs, request, format):
        for position in range(len(records)):
            image = _image(records, position, channels, policy)
            left_out += image is None
            if image is not None:
                yield _extended(image)
    if left_out:
        _LOG.warning("%d records left out: no image of %d channels (see --color)", left_out, channels)


def _image(records: Records, position: int, channels: int, policy: Mapping[str, Any]) -> Pixels | None:
    if position in records.faults:
        return None
    try:
        if isinstance(records.payload, np.ndarray):
            row = records.payload[position : position + 1]
            target = Target(shape=(*row.shape[1:3], channels), **policy)
            groups = numbers.decode(row, target, {}).groups
            return groups[0].pixels[0] if groups else None
        data = records.payload[position].as_py() or b""
        header = sniff(data, Target(shape=(), **policy).max_pixels)
        sides = (header.height, header.width)
        target = Target(shape=(*sides, channels), **policy)
        target = Target(shape=(*sides[::-1], channels), **policy) if exact.turn_of(header, target) >= 5 else target
        return exact.decode(data, header, target)
    except ImageError:
        return None


def _extended(image: Pixels) -> Pixels:
    missing = [(0, max(0, SMALLEST - side)) for side in image.shape[:2]]
    return np.pad(image, [*missing, (0, 0)], mode="symmetric") if any(m for _, m in missing) else image


def make_batch(images: Sequence[Pixels], side: int, seed: int, step: int) -> Batch:
    """``BATCH`` random pieces of random images, in one of the eight orientations, and noise of random levels.

    It depends on the seed and the number of the step alone.
    """
    rng = np.random.default_rng([seed, step])
    clean = np.stack([_piece(rng, images[int(rng.integers(len(images)))], side) for _ in range(BATCH)])
    level = (rng.triangular(*LEVELS, (BATCH, 1, 1, 1)) / 255).astype(np.float32)
    return Batch(clean=clean, level=level, noise=rng.standard_normal(clean.shape, np.float32))


def _piece(rng: np.random.Generator, image: Pixels, side: int) -> Pixels:
    top = rng.integers(image.shape[0] - side + 1)
    left = rng.integers(image.shape[1] - side + 1)
    piece = image[top : top + side, left : left + side]
    turn = int(rng.integers(8))
    turned = np.rot90(piece, turn % 4)
    return turned[:, ::-1] if turn >= 4 else turned
