"""The images that a model is quantised with: some to calibrate its layers, others to measure what it costs."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lake.core.errors import UsageError
from lake.formats.reader import ColumnSelection
from lake.images.types import Color, Resize, Target
from lake.inputs.load import iter_pixels
from model.graphs import DIVISOR
from model.pixels import FULL, Floats, Pixels, to_pixels, to_unit
from model.spec import Spec
from model.training.crops import SMALLEST, iter_images

MEASURED = (15.0, 25.0, 50.0)  # noise levels that a denoiser is measured at, where white is 255
_CALIBRATED = (5.0, 55.0)  # noise levels of the samples to calibrate with
_EACH = 48  # samples to calibrate with, and as many to measure with
_FEWEST = 8  # images
_MOST = 1024  # images that are read


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSample:
    """What a model is given once.

    Attributes:
      pixels: ``[1, H, W, C]`` of uint8, uint16 or float32, as of a job; with noise if the model takes noise out.
      level: standard deviation of that noise as a fraction of white, float32 ``[1]``.
    """

    pixels: Pixels
    level: Floats

    def feed(self) -> dict[str, Pixels]:
        """The inputs of a graph, of which a function takes those that it has."""
        divisor = np.array(FULL[self.pixels.dtype.name], np.float32)
        return {"pixels": self.pixels.astype(np.float32), "levels": self.level, DIVISOR: divisor}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The images of an input, at random.

    Attributes:
      calibrating: to calibrate with; of a denoiser at levels from 5 to 55, where white is 255.
      held_out: other images ``[1, H, W, C]``, without noise.
      sha256: of the images to calibrate with, without noise.
    """

    calibrating: Sequence[CalibrationSample]
    held_out: Sequence[Pixels]
    sha256: str


def load_calibration(uri: str, spec: Spec) -> Calibration:
    """Read images with the readers and the decoder of a job. Equal inputs give equal samples.

    A model of one size is given whole images, covered and cropped to it, one of any size crops of 128 x 128.

    Args:
      uri: a directory, a shard or a glob, of any format that a job reads. Of more than 1,024 images the first are read.
      spec: what the model's bundle says of it.

    Raises:
      UsageError: there are fewer than 8 images.
      InputError: there are none, or the input cannot be read.
      ShardError: a shard is damaged.
    """
    images = _chosen(_crops(uri, spec) if spec.input.any_size else _whole(uri, spec))
    if len(images) < _FEWEST:
        raise UsageError(
            f"--calibrate {uri}: {len(images)} images, which is too few; give {_FEWEST} or more, some dozens at best"
        )
    half = len(images) // 2
    sha256 = hashlib.sha256()
    for image in images[:half]:
        sha256.update(repr((image.shape, image.dtype.str)).encode() + image.tobytes())
    levels = np.linspace(*_CALIBRATED, half)
    given = [sample(image, level, n, spec) for n, (image, level) in enumerate(zip(images, levels, strict=False))]
    return Calibration(calibrating=given, held_out=images[half:], sha256=sha256.hexdigest())


def sample(image: Pixels, level: float, number: int, spec: Spec) -> CalibrationSample:
    """An image ``[1, H, W, C]`` as a model is given it: a denoiser with noise, in 8 bits as most noisy images are.

    Args:
      image: without noise.
      level: of the noise, where white is 255.
      number: seed of the noise.
      spec: what the model's bundle says of it.
    """
    fraction = np.full(1, level / 255, np.float32)
    if spec.latent is not None:
        return CalibrationSample(pixels=image, level=fraction)
    noise = np.random.default_rng([0, number]).standard_normal(image.shape, np.float32)
    return CalibrationSample(pixels=to_pixels(to_unit(image) + noise * fraction, (0.0, 1.0), np.uint8), level=fraction)


def _chosen(images: Iterable[Pixels]) -> list[Pixels]:
    """A random choice of the first images, in random order, while they are read: algorithm R of Vitter (1985)."""
    rng, chosen = np.random.default_rng(0), list[Pixels]()
    for number, image in zip(range(_MOST), images, strict=False):
        place = int(rng.integers(number + 1))
        if number < 2 * _EACH:
            chosen.insert(place, image)
        elif place < 2 * _EACH:
            chosen[place] = image
    return chosen


def _whole(uri: str, spec: Spec) -> Iterator[Pixels]:
    target = Target(shape=spec.input.shape, resize=spec.input.resize or Resize.CROP, color=Color.CONVERT)
    for pixels in iter_pixels([uri], target=target, selection=ColumnSelection(shape=spec.input.shape)):
        yield from (pixels[i : i + 1] for i in range(len(pixels)))


def _crops(uri: str, spec: Spec) -> Iterator[Pixels]:
    rng, selection = np.random.default_rng(1), ColumnSelection()
    policy = {"color": Color.CONVERT}
    for image in iter_images([uri], channels=spec.input.shape[2], policy=policy, selection=selection, format="auto"):
        top, left = (int(rng.integers(side - SMALLEST + 1)) for side in image.shape[:2])
        yield image[None, top : top + SMALLEST, left : left + SMALLEST].copy()  # the image is freed
