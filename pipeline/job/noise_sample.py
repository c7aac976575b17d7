"""The noise of a few images of an input, told before a job runs, against what the model learned."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.records import Fault, Records, Unit
from lake.formats import FORMATS
from lake.images.native_decoder import NativeDecoder
from lake.images.types import Group
from model.input_spec import NOISE_WHITE, NoiseRange
from model.noise_range import count_outside
from model.photon_denoiser import shown_levels
from model.pixels import FULL
from pipeline.config import JobConfig
from pipeline.worker.told_noise import cameras_of, estimated_noise

_UNITS, _IMAGES = 12, 36  # looked at, spread over the input
_SECONDS = 8.0  # after which no further image is begun


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSample:
    """The noise levels of a few images, where white is 255.

    Attributes:
      how: "given" for all images, "estimated" of each, the column that they were read from, or that they are those of
        photon noise once it is white.
      images: how many were looked at; 0 for a level that is given, which is that of all.
      quartiles: the least level, the quartiles and the greatest; none where no image could be read.
      learned: the least and the greatest level that the model learned; None where it is not known.
      below: how many are below that.
      above: how many are above.
      narrow: how many of those below have noise that the model learned once the values they use are black to white, as
        of a camera of 12 bits in files of 16.
    """

    how: str
    images: int
    quartiles: tuple[float, ...]
    learned: NoiseRange | None
    below: int
    above: int
    narrow: int = 0

    def to_value(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def sample_noise(
    units: Sequence[Unit], config: JobConfig, learned: NoiseRange | None, seconds: float = _SECONDS
) -> NoiseSample | None:
    """Tell the noise levels of up to 36 images of up to 12 units; None for a model that is not told.

    Args:
      units: all units of the input, done or not.
      config: the job.
      learned: the least and the greatest level that the model learned; None where it is not known.
      seconds: after which no further image is begun.
    """
    noise = config.noise
    if noise is None:
        return None
    if noise.level is not None:
        return _sample("given", 0, [noise.level], learned)
    levels: list[float] = []
    stretched: list[float] = []
    ends, chosen = time.monotonic() + seconds, _spread(units, _UNITS)
    each = -(-_IMAGES // max(len(chosen), 1))
    for unit in chosen:
        try:
            for level, full in _of_unit(unit, config, each, ends):
                levels.append(level)
                stretched.append(full)
        except Exception as error:  # whatever a unit raises, it is for the unit's own receipt to say
            logging.getLogger(__name__).debug("no noise of unit %s: %s", unit.id, error)
    how = "estimated" if noise.column is None else f"column {noise.column}"
    how = how if noise.camera is None else "after photon noise is made white"
    found = _sample(how, len(levels), levels, learned)
    low = 0.0 if learned is None else learned[0]
    narrow = sum(level < low <= full for level, full in zip(levels, stretched, strict=True))
    return replace(found, narrow=narrow)


def _sample(how: str, images: int, levels: Sequence[float], learned: NoiseRange | None) -> NoiseSample:
    quartiles = np.percentile(levels, (0, 25, 50, 75, 100)).round(2).tolist() if levels else []
    below, above = (0, 0) if learned is None else count_outside(levels, learned)
    return NoiseSample(how=how, images=images, quartiles=tuple(quartiles), learned=learned, below=below, above=above)


def _spread(units: Sequence[Unit], most: int) -> list[Unit]:
    count = min(most, len(units))
    return [units[number * len(units) // count] for number in range(count)]


def _of_unit(unit: Unit, config: JobConfig, most: int, ends: float) -> list[tuple[float, float]]:
    """The levels of the first images of a unit, of a group of image files of some spread over it.

    The second of each is the level if the values that the image uses were black to white.
    """
    found: list[tuple[float, float]] = []
    step = max(1, len(unit.shards) // most)
    unit = replace(unit, shards=unit.shards[::step][:most], clean=())
    columns = replace(config.columns.of(unit.format), salvage=False)
    with closing(iter(FORMATS[unit.format].reader.read(unit, columns, most))) as batches:  # type: ignore[type-var]
        for raw in batches:
            records = raw.records()
            found.extend(_of_records(records.take(np.arange(min(len(records), most - len(found)))), config, ends))
            if len(found) >= most or time.monotonic() > ends:
                break
    return found


def _of_records(records: Records, config: JobConfig, ends: float) -> Iterator[tuple[float, float]]:
    assert config.noise is not None
    if config.noise.column is not None:
        levels = records.carried[config.noise.column].cast(pa.float64()).to_numpy(zero_copy_only=False)
        yield from ((level, level) for level in levels[np.isfinite(levels) & (levels >= 0)].tolist())
        return
    faults: dict[int, Fault] = {}
    for position in range(len(records)):  # one by one, for they may be large
        if time.monotonic() > ends:
            return
        for group in NativeDecoder(config.decoding).groups(records.take(np.array([position])), faults):
            yield from _estimated(group, config)


def _estimated(group: Group, config: JobConfig) -> Iterator[tuple[float, float]]:
    """The levels that the model would be told of images of one shape, and if their values were black to white."""
    assert config.noise is not None
    if config.noise.camera is not None:
        cameras = cameras_of(
            config.noise.camera, group.pixels, config.target.white, bands=group.bands, spots=config.noise.spots
        )
        yield from ((float(level) * NOISE_WHITE,) * 2 for level in shown_levels(group.pixels, cameras))
        return
    for pixels in group.pixels:
        level = estimated_noise(pixels, colors=config.takes_colors, bands=group.bands, spots=config.noise.spots).level
        used = float(np.ptp(pixels)) / FULL[pixels.dtype.name]
        yield level, level / used if used else level
