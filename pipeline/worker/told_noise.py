"""What a denoiser is told about the noise of each image, and what the table says of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from lake.core.records import Array, Fault, Reason, Records, Stage
from lake.images.anscombe import PoissonGaussian
from lake.images.color import is_alpha
from lake.images.noise import estimate, level_for_colors
from lake.images.photon_noise import estimate_camera
from lake.images.types import Group
from model.input_spec import NOISE_WHITE
from model.noise_range import DOUBT
from pipeline.options.values import CameraNoise, NoiseLevel
from pipeline.output.units.tables import noise_fields

_Cameras = tuple[PoissonGaussian, ...]


class ToldNoise(NamedTuple):
    """The noise of one image."""

    level: float  # standard deviation where white is 255, that the model is told
    error: float | None = None  # of an estimated level; None where the image says nothing
    channels: tuple[float, ...] = ()  # estimated levels
    cameras: _Cameras = ()  # of each channel, in the numbers of its pixels


def told_levels(
    noise: NoiseLevel, records: Records, group: Group, faults: dict[int, Fault], *, colors: bool
) -> tuple[list[ToldNoise], Array]:
    """The noise levels of a group and which images have one.

    Args:
      noise: what the job says.
      records: the batch.
      group: of it.
      faults: receives the images without a level, by position in the batch.
      colors: whether the model takes red, green and blue together.

    Returns:
      One for each image, and bool ``[m]``.
    """
    count = len(group.positions)
    if noise.level is not None:
        return [ToldNoise(float(np.float32(noise.level)))] * count, np.ones(count, bool)
    if noise.column is None:
        found = [estimated_noise(image, colors=colors, bands=group.bands, spots=noise.spots) for image in group.pixels]
        return found, np.ones(count, bool)
    column = records.carried[noise.column].cast(pa.float32())
    levels = column.take(pa.array(group.positions)).to_numpy(zero_copy_only=False)
    good: Array = np.isfinite(levels) & (levels >= 0)
    detail = f"column {noise.column!r} has no noise level for it"
    fault = Fault(stage=Stage.MODEL, reason=Reason.WRONG_TYPE, detail=detail)
    faults.update(dict.fromkeys(group.positions[~good].tolist(), fault))
    return [ToldNoise(float(level)) for level in levels], good


def estimated_noise(image: Array, *, colors: bool, bands: bool, spots: bool) -> ToldNoise:
    """The noise of an image, estimated from the image alone.

    Args:
      image: ``[H, W, K]``.
      colors: whether the model takes red, green and blue together.
      bands: as of ``Group``.
      spots: as of ``NoiseLevel``.
    """
    found = estimate(image, bands=bands, spots=spots)
    level, error = found.level * NOISE_WHITE, found.error * NOISE_WHITE if np.isfinite(found.error) else None
    # What may be texture is in doubt as it is.
    if colors and image.shape[2] - is_alpha(image.shape[2], bands=bands) == 3 and level > DOUBT:
        level = level_for_colors(image, found) * NOISE_WHITE
    return ToldNoise(level, error, tuple(level * NOISE_WHITE for level in found.levels))


def cameras_of(noise: CameraNoise, images: Array, white: float, *, bands: bool, spots: bool) -> list[_Cameras]:
    """The Poisson-Gaussian noise of every channel of images, in the numbers of their pixels.

    Args:
      noise: what the job says, in the numbers of the source.
      images: ``[m, H, W, K]``.
      white: of floating pixels, what they were divided by.
      bands: as of ``Group``.
      spots: as of ``NoiseLevel``.
    """
    scale = white if images.dtype.kind == "f" else 1.0
    black = noise.black_level / scale
    if noise.gain is None or noise.read_noise is None:
        return [estimate_camera(image, black, bands=bands, spots=spots) for image in images]
    camera = PoissonGaussian(gain=noise.gain / scale, read_noise=noise.read_noise / scale, black_level=black)
    colours = images.shape[3] - is_alpha(images.shape[3], bands=bands)
    return [(camera,) * colours] * len(images)


def in_source(cameras: _Cameras, dtype: np.dtype[np.generic], white: float) -> _Cameras:
    """Cameras in the numbers of the source.

    Args:
      cameras: in the numbers of pixels, as ``cameras_of`` gives them.
      dtype: of the pixels.
      white: as there.
    """
    scale = white if dtype.kind == "f" else 1.0
    return tuple(
        replace(one, gain=one.gain * scale, read_noise=one.read_noise * scale, black_level=one.black_level * scale)
        for one in cameras
    )


def mean_of_pages(pages: Sequence[ToldNoise]) -> ToldNoise:
    """The mean over the pages of a file, value by value.

    Args:
      pages: of the file, at least one.
    """
    errors = [page.error for page in pages if page.error is not None]
    # Pages of grey and of colour in one file have no channels in common but the first ones.
    return ToldNoise(
        float(np.mean([page.level for page in pages])),
        float(np.mean(errors)) if errors else None,
        tuple(float(np.mean(each)) for each in zip(*(page.channels for page in pages), strict=False)),
        tuple(_mean(each) for each in zip(*(page.cameras for page in pages), strict=False)),
    )


def _mean(cameras: Sequence[PoissonGaussian]) -> PoissonGaussian:
    gain, read, black = np.mean([(one.gain, one.read_noise, one.black_level) for one in cameras], axis=0).tolist()
    return PoissonGaussian(gain=gain, read_noise=read, black_level=black)


def noise_arrays(noise: NoiseLevel | None, rows: Sequence[ToldNoise]) -> list[pa.Array]:
    """The columns of ``pipeline.output.units.tables.noise_fields``.

    Args:
      noise: what the job says.
      rows: of the table.
    """
    return [pa.array([_value(row, field.name) for row in rows], field.type) for field in noise_fields(noise)]


def _value(row: ToldNoise, name: str) -> float | Sequence[float] | None:
    if name == "noise_level_error":
        return row.error
    return row.channels if name == "noise_levels" else [getattr(camera, name) for camera in row.cameras]
