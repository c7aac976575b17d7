"""Sampled latents, which no image was encoded to: from an autoencoder's prior, or on a line between two latents."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.records import Array, Records, Unit

UNIT_IMAGES = 8192  # images of one unit
FORMAT = "drawn"  # the format name of a unit without shards


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledCondition:
    """What a conditional model is told of sampled latents.

    Attributes:
      name: of the column that has it.
      values: of image 0, 1, ..., and again from the first one: integers, or tuples of numbers.

    >>> SampledCondition(name="label", values=(3, 7)).of(np.arange(3)).to_pylist()
    [3, 7, 3]
    """

    name: str
    values: tuple[Any, ...]

    @property
    def type(self) -> pa.DataType:
        """Of the column."""
        return pa.int64() if isinstance(self.values[0], int) else pa.list_(pa.float32())

    def of(self, index: Array) -> pa.Array:
        """The column for images with these numbers."""
        return pa.array([self.values[i % len(self.values)] for i in index.tolist()], self.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentSampling:
    """Where sampled latents come from.

    Attributes:
      count: number of latents.
      seed: of the prior.
      ends: two latents; the samples are ``count`` equidistant points on the line between them, ends included. None to
        sample the prior.
      condition: what a conditional model is told; None for another model.
    """

    count: int
    seed: int = 0
    ends: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    condition: SampledCondition | None = None

    def options(self) -> dict[str, Any]:
        """What changes output bytes. An image of the prior is the same whatever the count."""
        told = {} if self.condition is None else {"condition": [self.condition.name, *self.condition.values]}
        return {**({"seed": self.seed} if self.ends is None else {"count": self.count, "ends": self.ends}), **told}


def sampled_units(count: int) -> Iterator[Unit]:
    """The units of ``count`` images: part-00000 has the first ``UNIT_IMAGES`` of them, and so on.

    >>> [(unit.id, unit.start, unit.stop) for unit in sampled_units(10_000)]
    [('part-00000', 0, 8192), ('part-00001', 8192, 10000)]
    """
    for number, start in enumerate(range(0, count, UNIT_IMAGES)):
        stop = min(start + UNIT_IMAGES, count)
        yield Unit(id=f"part-{number:05d}", format=FORMAT, shards=(), start=start, stop=stop)


def read_sampled(unit: Unit, drawn: LatentSampling, dimension: int, size: int) -> Iterator[Records]:
    """The latents of a unit in batches. Keys are the numbers of the images.

    Args:
      unit: one of ``sampled_units``.
      drawn: where the latents come from.
      dimension: D, numbers in a latent of the prior.
      size: latents in a batch.

    Yields:
      Records whose payload is float32 ``[n, D]``.

    >>> (unit,) = sampled_units(3)
    >>> line = LatentSampling(count=3, ends=((0.0, 0.0), (1.0, 2.0)))
    >>> [records.payload.tolist() for records in read_sampled(unit, line, dimension=2, size=10)]
    [[[0.0, 0.0], [0.5, 1.0], [1.0, 2.0]]]
    """
    assert unit.stop is not None
    for start in range(unit.start, unit.stop, size):
        index = np.arange(start, min(start + size, unit.stop))
        payload = _prior(drawn.seed, index, dimension) if drawn.ends is None else _between(drawn, index)
        key, told = pa.array([f"{i:08d}" for i in index]), drawn.condition
        carried = {} if told is None else {told.name: told.of(index)}
        yield Records(shard="", index=index, key=key, payload=payload, carried=carried)


def _prior(seed: int, index: Array, dimension: int) -> Array:
    """Standard normal latents. Row ``i`` depends on the seed and ``i`` alone, so that any worker can make it.

    The generator is Philox4x64-10 (Salmon et al., 2011) with the seed as its key and the number in its counter.
    """
    # Shifting the number leaves 2**128 counter values to each latent, so that their streams never overlap.
    generators = (np.random.Generator(np.random.Philox(key=seed, counter=int(i) << 128)) for i in index)
    return np.stack([generator.standard_normal(dimension, np.float32) for generator in generators])


def _between(drawn: LatentSampling, index: Array) -> Array:
    """Points on the line between the two ends, which are included."""
    assert drawn.ends is not None
    one, other = (np.array(end, np.float64) for end in drawn.ends)
    share = (index / max(drawn.count - 1, 1))[:, None]
    line: Array = (one + share * (other - one)).astype(np.float32)
    return line
