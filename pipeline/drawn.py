"""Latents that nobody encoded: samples of a variational autoencoder's prior, or points between two images."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.config import Drawn
from pipeline.records import Array, Records, Unit

UNIT_IMAGES = 8192  # generated images that make one unit
FORMAT = "drawn"  # of a unit without shards


def drawn_units(count: int) -> Iterator[Unit]:
    """The units of ``count`` images: part-00000 has the first ``UNIT_IMAGES``, and so on."""
    for number, start in enumerate(range(0, count, UNIT_IMAGES)):
        stop = min(start + UNIT_IMAGES, count)
        yield Unit(id=f"part-{number:05d}", format=FORMAT, shards=(), start=start, stop=stop)


def read_drawn(unit: Unit, drawn: Drawn, dimension: int, size: int) -> Iterator[Records]:
    """The latents of a unit, float32 ``[n, D]``, in batches of ``size``; keys are the images' numbers."""
    assert unit.stop is not None
    for start in range(unit.start, unit.stop, size):
        index = np.arange(start, min(start + size, unit.stop))
        payload = _prior(drawn.seed, index, dimension) if drawn.ends is None else _between(drawn, index)
        yield Records(shard="", index=index, key=pa.array([f"{i:08d}" for i in index]), payload=payload, carried={})


def _prior(seed: int, index: Array, dimension: int) -> Array:
    """Standard normal latents: row ``i`` is a function of (seed, i) alone, so any worker may make it.

    Philox4x64-10 (Salmon et al. 2011) with the seed as its key and the number in its counter.
    """
    generators = (np.random.Generator(np.random.Philox(key=seed, counter=int(i) << 128)) for i in index)
    return np.stack([generator.standard_normal(dimension, np.float32) for generator in generators])


def _between(drawn: Drawn, index: Array) -> Array:
    """Points on the line between the ends, both included."""
    assert drawn.ends is not None
    one, other = (np.array(end, np.float64) for end in drawn.ends)
    share = (index / max(drawn.count - 1, 1))[:, None]
    line: Array = (one + share * (other - one)).astype(np.float32)
    return line
