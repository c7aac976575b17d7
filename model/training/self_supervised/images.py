"""Noisy images, single or in pairs, to train on and to measure with, and what is known of their noise."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lake.core.errors import UsageError
from lake.core.records import Fault, Records
from lake.images.anscombe import PoissonGaussian
from lake.images.color import spread
from lake.images.native_decoder import NativeDecoder
from lake.images.types import Color, ImageError, Target
from lake.inputs.load import iter_pairs, iter_records
from model.pixels import Floats, Pixels
from model.training.samples import CACHE_BYTES, normalized
from model.training.self_supervised.options import SelfSupervisedOptions

_LOG = logging.getLogger(__name__)
SMALLEST_SIDE = 32  # pixels of a side; four of the network's coarsest ones
_MOST_HELD_OUT = 32  # images
_FEW = 8  # images; of fewer, a strip of each is held out
_STRIP = 8  # it is one in so many of the rows

_Known = tuple[Pixels, float, float]  # an image, the level of its noise, and the value of a transform that is black
# The standard deviation of an image's noise, white is 1, from an image, or from shots [H, W, shots * C] of one scene.
Level = Callable[[Pixels], float]
# Of all images the camera, in the numbers of their pixels, and of each its level and the value of the transform that is
# black.
Photons = Callable[[Sequence[Pixels]], tuple[PoissonGaussian, Sequence[float], Sequence[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyImages:
    """Images ``[H, W, shots * C]``, shots of one scene side by side: all uint8, or all float32 where white is 1.

    Of a camera that is known they are as they were read, of one type: what its transform cuts off is still there.

    Attributes:
      training: images to train on.
      held_out: images, or strips of them, that no training step sees.
      levels: standard deviation of the noise of each training image, white is 1, after the transform if there is one; 0
        where it is not known.
      held_out_levels: likewise.
      blacks: value that is black in each training image, of the transform that makes its noise white; 0 without one.
      held_out_blacks: likewise.
      camera: whose transform that is, in the numbers of the pixels; None without one.
      mean: mean of each channel over the training images, after the transform, float64 ``[C]``.
      std: standard deviation of all channels about their means.
      digest: SHA-256 of all pixels.
    """

    training: Sequence[Pixels]
    held_out: Sequence[Pixels]
    levels: Floats
    held_out_levels: Floats
    blacks: Floats
    held_out_blacks: Floats
    camera: PoissonGaussian | None
    mean: npt.NDArray[np.float64]
    std: float
    digest: str

    def shown(self, pixels: Pixels, levels: Floats, blacks: Floats) -> Floats:
        """Images ``[n, H, W, shots * C]`` as the network sees them: less the mean, divided by the deviation."""
        mean = np.tile(self.mean, pixels.shape[-1] // len(self.mean)).astype(np.float32)
        seen = pixels if self.camera is None else made_white(pixels, self.camera, levels, blacks)
        return (normalized(seen) - mean) / np.float32(self.std)

    def zeros(self, levels: Floats, blacks: Floats) -> Floats:
        """The values of a transform that images of these levels and blacks show the network as 0, ``[n, 1, 1, C]``."""
        spans = np.divide(1, levels, out=np.zeros_like(levels), where=levels > 0)
        return (blacks[:, None] + self.mean.astype(np.float32) * spans[:, None])[:, None, None]

    @property
    def smallest(self) -> int:
        """The shortest side of a training image, in whole multiples of the network's 8 pixels."""
        return int(min(min(image.shape[:2]) for image in self.training)) // 8 * 8


def load_noisy(
    images: Iterable[Pixels],
    channels: int,
    level: Level | None,
    fraction: float,
    photons: Photons | None = None,
) -> NoisyImages:
    """Load noisy images into memory, and hold some of them out.

    Of 8 images or more, the first of every 1 / ``fraction`` is held out, at most 32. Of fewer, the lowest eighth of
    each is: there may be but one image, and it is the one to denoise. Images to train on that have no noise are left
    out where a level is told: errors are measured in units of it, so one such image would outweigh all others.

    Args:
      images: images in the order of the input.
      channels: number C of channels of one shot.
      level: tells the standard deviation of an image's noise; None where nobody does.
      fraction: share of images that is held out.
      photons: tells the camera and the levels, in the place of ``level``; None where the noise is not that of photons.

    Raises:
      UsageError: there is no image, all have one value, none has any noise, or one is smaller than 32 pixels.
    """
    kept, sha256 = _kept(images)
    camera: PoissonGaussian | None = None
    if photons is None:
        told = [0.0 if level is None else level(image) for image in kept]
        known = list(zip(_in_one_type(kept), told, [0.0] * len(kept), strict=True))
    else:
        camera, levels, blacks = photons(kept)
        known = list(zip(kept, levels, blacks, strict=True))
    training, held_out = _split(known, fraction)
    if level is not None or camera is not None:
        training = _with_noise(training)
    mean, std = _moments(_seen(training, camera), channels)
    return NoisyImages(
        training=[image for image, *_ in training],
        held_out=[image for image, *_ in held_out],
        levels=np.array([level for _, level, _ in training], np.float32),
        held_out_levels=np.array([level for _, level, _ in held_out], np.float32),
        blacks=np.array([black for *_, black in training], np.float32),
        held_out_blacks=np.array([black for *_, black in held_out], np.float32),
        camera=camera,
        mean=mean,
        std=std,
        digest=sha256,
    )


def made_white(pixels: Pixels, camera: PoissonGaussian, levels: Floats, blacks: Floats) -> Floats:
    """Transformed images ``[n, H, W, C]`` of these levels and blacks ``[n]``, as a job makes them: white is 1."""
    levels, blacks = (values.reshape(-1, 1, 1, 1) for values in (levels, blacks))
    found: Floats = (camera.stabilised(pixels) - blacks) * levels
    return found


def _seen(images: Sequence[_Known], camera: PoissonGaussian | None) -> Iterator[Pixels]:
    for image, *known in images:
        level, black = np.array([known], np.float32).T
        yield image if camera is None else made_white(image[None], camera, level, black)[0]


def _with_noise(images: Sequence[_Known]) -> list[_Known]:
    """The images whose level is not 0."""
    noisy = [known for known in images if known[1] > 0]
    if not noisy:
        raise UsageError("no image has any noise to learn from; give images with noise, of a pair two different shots")
    if len(noisy) < len(images):
        _LOG.warning("%d images without noise are left out of the training", len(images) - len(noisy))
    return noisy


def _in_one_type(images: Sequence[Pixels]) -> Sequence[Pixels]:
    """The images as they are if all are uint8, else float32 where white is 1."""
    eight_bits = {image.dtype for image in images} == {np.dtype(np.uint8)}
    return images if eight_bits else [normalized(image) for image in images]


def _kept(images: Iterable[Pixels]) -> tuple[list[Pixels], str]:
    kept, sha256, size = list[Pixels](), hashlib.sha256(), 0
    for number, image in enumerate(images):
        if min(image.shape[:2]) < SMALLEST_SIDE:
            height, width = image.shape[:2]
            raise UsageError(f"image {number} has {width} x {height} pixels; a side needs {SMALLEST_SIDE} or more")
        kept.append(image)
        sha256.update(repr((image.shape, image.dtype.str)).encode() + image.tobytes())
        size += image.nbytes
        if size > CACHE_BYTES:
            _LOG.warning("%d images fill the memory set aside for them; the others are not used", number + 1)
            break
    if not kept:
        raise UsageError("no image to train on; give other --input, or see --color and --white")
    return kept, sha256.hexdigest()


def _split(images: Sequence[_Known], fraction: float) -> tuple[list[_Known], list[_Known]]:
    if len(images) < _FEW:
        # A strip is as high as the network's coarsest pixels need, and leaves as much to train on.
        rows = [
            min(max(SMALLEST_SIDE, image.shape[0] // _STRIP // 8 * 8), image.shape[0] - SMALLEST_SIDE)
            for image, *_ in images
        ]
        if min(rows) < SMALLEST_SIDE:
            raise UsageError(
                f"{len(images)} images of which one has less than {2 * SMALLEST_SIDE} rows: too little to hold out"
            )
        told = [(image, (level, black)) for image, level, black in images]
        return (
            [(image[:-count], *known) for (image, known), count in zip(told, rows, strict=True)],
            [(image[-count:], *known) for (image, known), count in zip(told, rows, strict=True)],
        )
    every = max(2, round(1 / fraction)) if fraction else 0
    chosen = {n for n in range(len(images)) if every and n % every == 0 and n // every < _MOST_HELD_OUT}
    if not chosen:
        raise UsageError("--validation-fraction 0: a training without clean images stops by those that are held out")
    return [known for n, known in enumerate(images) if n not in chosen], [images[n] for n in sorted(chosen)]


def _moments(images: Iterable[Pixels], channels: int) -> tuple[npt.NDArray[np.float64], float]:
    """Mean of each channel, and the standard deviation about it, of pixels where white is 1."""
    count, total, squares = 0, np.zeros(channels), 0.0
    for image in images:
        values = normalized(image).astype(np.float64).reshape(-1, channels)
        count, total, squares = (
            count + len(values),
            total + values.sum(axis=0),
            squares + float(np.square(values).sum()),
        )
    mean = total / count
    std = float(np.sqrt(max(squares / count / channels - float(np.square(mean).mean()), 0.0)))
    if not std > 0:
        raise UsageError("the images have one value throughout, of which nothing can be learnt")
    if not (mean.min() >= 0 and mean.max() <= 1 and std <= 1):
        raise UsageError(f"pixels with the mean {mean.mean():g}, where white is 1: say with --white what white is")
    return mean, std


def iter_noisy(options: SelfSupervisedOptions, channels: int) -> Iterator[Pixels]:
    """Yield the images of the input at their own sizes, or their pairs, ``[H, W, shots * C]``.

    Images that a job would reject, or whose partner it would, are left out; a warning says how many.

    Args:
      options: where they are and how they are read.
      channels: number C of channels of one shot.

    Raises:
      InputError: the input cannot be read as asked.
      ShardError: a shard is damaged, or the shards of a pair do not match.
    """
    read, left_out = _Reader(options, channels), 0
    for shots in _records(options):
        pages = [read.pages(record) for record in shots]
        together = {len(found) for found in pages} == {len(pages[0])}
        left_out += not pages[0] or not together
        if together:
            yield from filter(len, (_joined(page) for page in zip(*pages, strict=True)))
    if left_out:
        why = "no second shot" if read.fault is None else read.fault.detail
        _LOG.warning("%d records left out, the first for this: %s", left_out, why)


def _records(options: SelfSupervisedOptions) -> Iterator[list[Records]]:
    """Each record, or pair of records, as batches of one."""
    where = options.inputs, options.selection, options.format
    if options.pairs_by is not None:
        yield from _by_column(options, options.pairs_by)
        return
    if not options.pairs:
        for records in iter_records(*where):
            yield from ([records.take(np.array([at]))] for at in range(len(records)))
        return
    for batch in iter_pairs(options.inputs, options.pairs, options.selection, options.format):
        for start, piece in batch.clean:
            for at in range(len(piece)):
                yield [batch.read.take(np.array([start + at])), piece.take(np.array([at]))]


def _by_column(options: SelfSupervisedOptions, column: str) -> Iterator[list[Records]]:
    """Records that have a value of a column in common, two by two; of an odd number the last one is left out."""
    waiting, alone = dict[str, Records](), 0
    selection = replace(options.selection, carry=(column,))
    for records in iter_records(options.inputs, selection, options.format):
        for at, value in enumerate(records.carried[column].to_pylist()):
            one, scene = records.take(np.array([at])), repr(value)  # which a list has, too
            if value is None:
                alone += 1
            elif (first := waiting.pop(scene, None)) is not None:
                yield [first, one]
            else:
                waiting[scene] = one
    if alone or waiting:
        _LOG.warning("%d images left out: no second shot by column %r", alone + len(waiting), column)


class _Reader:
    """Decodes records of the job's formats to images of C channels, in their own depth.

    Attributes:
      fault: of the first record that a job would reject; None so far.
    """

    def __init__(self, options: SelfSupervisedOptions, channels: int) -> None:
        self.fault: Fault | None = None
        self._channels = channels
        self._color = Color(options.policy.get("color", Color.STRICT))
        self._decoder = NativeDecoder(Target(shape=(None, None, channels), **options.policy))

    def pages(self, record: Records) -> list[Pixels]:
        """The image of one record, or each page of it; none if a job would reject it."""
        faults: dict[int, Fault] = {}
        try:
            groups = list(self._decoder.groups(record, faults))
            pages = [spread(page, self._channels, self._color) for group in groups for page in group.pixels]
        except ImageError as error:
            faults[0] = error.fault()
        if faults:
            self.fault = self.fault or faults[0]
            return []
        return pages


def _joined(shots: Sequence[Pixels]) -> Pixels:
    """Shots of one scene side by side; nothing where their sizes differ."""
    if len({shot.shape for shot in shots}) > 1:
        _LOG.warning("a pair of %s and %s is left out: not one size", shots[0].shape, shots[1].shape)
        return shots[0][:0]
    same = len({shot.dtype for shot in shots}) == 1
    return np.concatenate([shot if same else normalized(shot) for shot in shots], axis=2)
