"""Training data of a denoiser: random crops of images of any size, rotated and mirrored, with noise."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lake.core.errors import UsageError
from lake.core.records import Fault, Records
from lake.formats.reader import ColumnSelection
from lake.images import decode_arrays, decode_one
from lake.images.header import header_for
from lake.images.types import ImageError, Target
from lake.inputs.load import iter_records
from model.pixels import Floats, Pixels
from model.training.samples import CACHE_BYTES, normalized

_LOG = logging.getLogger(__name__)
LEVELS = (0.0, 20.0, 75.0)  # lowest, most frequent and highest noise level, where white is 255
BATCH = 8  # crops in a step
SMALLEST = 128  # pixels; the side of the largest crops, to which shorter sides are extended by reflection
_MOST_HELD_OUT = 32  # images


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images ``[H, W, C]`` with sides of ``SMALLEST`` or more: all uint8, or all float32 where white is 1.

    Attributes:
      training: images to train on.
      held_out: images to measure the PSNR on.
      digest: SHA-256 of all pixels.
    """

    training: Sequence[Pixels]
    held_out: Sequence[Pixels]
    digest: str

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Dtype of all images."""
        return self.training[0].dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The data of one training step.

    Attributes:
      clean: crops ``[n, side, side, C]`` of the images' dtype.
      level: standard deviation of each crop's noise, float32 ``[n, 1, 1, 1]``, white is 1.
      noise: standard normal noise, float32 ``[n, side, side, C]``.
    """

    clean: Pixels
    level: npt.NDArray[np.float32]
    noise: npt.NDArray[np.float32]


def load_images(images: Iterable[Pixels], fraction: float, cache_bytes: int = CACHE_BYTES) -> Images:
    """Load images into memory and hold some of them out.

    Args:
      images: images in the order of the input.
      fraction: share of images that is held out, evenly spaced, at most 32 images.
      cache_bytes: most memory for the images; those that come after are not used.

    Raises:
      UsageError: there are too few images to train on or to hold out.
    """
    every = round(1 / fraction) if fraction else 0
    training, held_out, sha256, size = list[Pixels](), list[Pixels](), hashlib.sha256(), 0
    for number, image in enumerate(images):
        chosen = every and number % every == 0 and len(held_out) < _MOST_HELD_OUT
        (held_out if chosen else training).append(image)
        # The digest identifies the data in a checkpoint. Shapes are part of it, because bytes alone are ambiguous.
        sha256.update(repr((image.shape, image.dtype.str)).encode() + image.tobytes())
        size += image.nbytes
        if size > cache_bytes:
            _LOG.warning("%d images fill the memory set aside for them; the others are not used", number + 1)
            break
    if not training or not held_out:
        raise UsageError(
            f"too few images: {len(training)} to train on and {len(held_out)} held out; give more --input or another "
            f"--validation-fraction"
        )
    # uint8 images stay as they are, which takes a quarter of the memory of float32.
    if {image.dtype for image in (*training, *held_out)} != {np.dtype(np.uint8)}:
        for part in (training, held_out):
            part[:] = map(normalized, part)
    return Images(training=training, held_out=held_out, digest=sha256.hexdigest())


def iter_images(
    inputs: Sequence[str], *, channels: int, policy: Mapping[str, Any], selection: ColumnSelection, format: str
) -> Iterator[Pixels]:
    """Yield the images of the input at their own sizes.

    Images that a job would reject are left out; a warning says how many.

    Args:
      inputs: URIs of shards: files, globs, directories.
      channels: number of channels C.
      policy: fields of ``lake.images.types.Target`` besides the shape.
      selection: which columns are read.
      format: format of the shards, or 'auto'.

    Yields:
      Images ``[H, W, C]``, with sides of ``SMALLEST`` or more.

    Raises:
      InputError: the input cannot be read as asked.
      ShardError: a shard is damaged.
    """
    left_out: list[Fault] = []
    for records in iter_records(inputs, selection, format):
        for position in range(len(records)):
            image = _image(records, position, channels, policy)
            if isinstance(image, Fault):
                left_out.append(image)
            else:
                yield _extended(image)
    if left_out:
        _LOG.warning("%d records left out, the first for this: %s", len(left_out), left_out[0].detail)


def _image(records: Records, position: int, channels: int, policy: Mapping[str, Any]) -> Pixels | Fault:
    if position in records.faults:
        return records.faults[position]
    try:
        if isinstance(records.payload, np.ndarray):
            row = records.payload[position : position + 1]
            target = Target(shape=(*row.shape[1:3], channels), **policy)
            decoded = decode_arrays.decode_arrays(row, target, {})
            return decoded.groups[0].pixels[0] if decoded.groups else decoded.faults[0]
        data = records.payload[position].as_py() or b""
        header = header_for(data, Target(shape=(), **policy))
        sides = (header.height, header.width)
        target = Target(shape=(*sides, channels), **policy)
        # Orientations from 5 on transpose the image, so its height and width change places.
        target = Target(shape=(*sides[::-1], channels), **policy) if decode_one.turn_of(header, target) >= 5 else target
        return decode_one.decode_one(data, header, target)
    except ImageError as error:
        return error.fault()


def _extended(image: Pixels) -> Pixels:
    missing = [(0, max(0, SMALLEST - side)) for side in image.shape[:2]]
    return np.pad(image, [*missing, (0, 0)], mode="symmetric") if any(m for _, m in missing) else image


def make_batch(images: Sequence[Pixels], side: int, seed: int, step: int) -> Batch:
    """Make the batch of a training step: ``BATCH`` random crops of random images, in random orientations, with noise.

    The batch is a function of the seed and the number of the step.

    Args:
      images: the training images.
      side: side of the crops in pixels.
      seed: seed of the training.
      step: number of the step.
    """
    # Seeded per step, not per run: a training that was interrupted goes on with the batches it would have had.
    rng = np.random.default_rng([seed, step])
    clean = np.stack([random_crop(rng, images[int(rng.integers(len(images)))], side) for _ in range(BATCH)])
    level = (rng.triangular(*LEVELS, (BATCH, 1, 1, 1)) / 255).astype(np.float32)
    return Batch(clean=clean, level=level, noise=rng.standard_normal(clean.shape, np.float32))


def noisy_crops(images: Sequence[Pixels], side: int, seed: int, steps: range) -> tuple[Floats, Floats]:
    """What a denoiser is shown in some steps: crops with noise ``[n, side, side, C]``, and a map of its levels.

    Args:
      images: the training images.
      side: side of the crops in pixels.
      seed: seed of the training.
      steps: numbers of the steps.
    """
    batches = [make_batch(images, side, seed, step) for step in steps]
    noisy = np.concatenate([normalized(batch.clean) + batch.noise * batch.level for batch in batches])
    return noisy, np.concatenate([np.broadcast_to(one.level, (*one.clean.shape[:3], 1)) for one in batches])


def random_crop(rng: np.random.Generator, image: Pixels, side: int) -> Pixels:
    """A square of an image ``[H, W, C]`` at a random place, in one of eight orientations at random.

    Args:
      rng: source of both.
      image: with sides of ``side`` or more.
      side: of the square in pixels.
    """
    top = rng.integers(image.shape[0] - side + 1)
    left = rng.integers(image.shape[1] - side + 1)
    crop = image[top : top + side, left : left + side]
    orientation = int(rng.integers(8))  # of the dihedral group: four rotations, each also mirrored
    rotated = np.rot90(crop, orientation % 4)
    return rotated[:, ::-1] if orientation >= 4 else rotated
