"""Training and validation samples: kept in memory if they fit, otherwise read again for every epoch."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lake.core.errors import UsageError
from model.pixels import Pixels
from model.training.kinds import Statistics

Source = Callable[[], Iterable[Pixels]]
_FULL = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}

CACHE_BYTES = 2 << 30  # training data up to this size is kept in memory; more is read again for every epoch
_WINDOW_BYTES = 256 << 20  # size of the windows within which streamed samples are shuffled
_VALIDATION_BYTES = 512 << 20  # most validation data; further samples of the fraction are trained on


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSamples:
    """The samples of one training.

    Attributes:
      count: number of training samples.
      validation: validation samples ``[m, ...]`` of the source's dtype.
      statistics: statistics of the training samples, as the network sees them.
      cached: the training samples; None if they do not fit in memory.
      source: reads all samples, in the same order every time.
      fraction: share of the samples that is held out for validation.
    """

    count: int
    validation: Pixels
    statistics: Statistics
    cached: Pixels | None
    source: Source
    fraction: float

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.float32]]:
        """Yield all training samples once, shuffled, in batches.

        Streamed samples are shuffled within windows, and batches end where windows do.

        Args:
          size: largest number of samples in a batch.
          rng: source of the order.

        Yields:
          float32 ``[n, ...]``: images in 0..1, vectors as they are.
        """
        for window in [self.cached] if self.cached is not None else self._windows():
            order = rng.permutation(len(window))
            for start in range(0, len(order), size):
                yield normalized(window[order[start : start + size]])

    def _windows(self) -> Iterator[Pixels]:
        parts: list[Pixels] = []
        for part in _Split(self.fraction).training(self.source()):
            parts.append(part)
            if sum(p.nbytes for p in parts) >= _WINDOW_BYTES:
                yield _joined(parts)
                parts = []
        if parts:
            yield _joined(parts)


def load_samples(source: Source, fraction: float, cache_bytes: int = CACHE_BYTES) -> TrainingSamples:
    """Read all samples once: count them, hold some out, keep the rest in memory if it fits.

    Args:
      source: returns arrays ``[n, ...]`` of uint8, uint16 or float32, in the same order every time.
      fraction: share of the samples that is held out, chosen by a hash of their position.
      cache_bytes: most training data that is kept in memory.

    Raises:
      UsageError: there are too few samples to train on or to validate with.
    """
    split, moments, parts, size = _Split(fraction), _Moments(), list[Pixels](), 0
    for part in split.training(source()):
        moments.add(part)
        size += part.nbytes
        parts.append(part)
        if size > cache_bytes:
            parts.clear()
    if not moments.count or not split.validation:
        raise UsageError(
            f"too few samples: {moments.count} to train on and {split.held_out} to validate with; give more --input or "
            f"another --validation-fraction"
        )
    return TrainingSamples(
        count=moments.count,
        validation=_joined(split.validation),
        statistics=moments.statistics(),
        cached=_joined(parts) if size <= cache_bytes else None,
        source=source,
        fraction=fraction,
    )


def normalized(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Convert images to float32 in 0..1, and vectors to float32.

    >>> normalized(np.array([0, 255], np.uint8)).tolist()
    [0.0, 1.0]
    """
    return np.divide(pixels, _FULL.get(pixels.dtype, 1), dtype=np.float32)


class _Split:
    """Sends each sample to training or to validation by a hash of its position, the same way on every reading."""

    def __init__(self, fraction: float) -> None:
        # 2**64 itself does not fit 64 bits.
        self._below = np.uint64(fraction * 2**64) if fraction < 1 else np.uint64(2**64 - 1)
        self._position = 0
        self._room = _VALIDATION_BYTES
        self.validation: list[Pixels] = []
        self.held_out = 0

    def training(self, parts: Iterable[Pixels]) -> Iterator[Pixels]:
        for part in parts:
            held_out = self._held_out(part)
            if held_out.any():
                self.validation.append(part[held_out])
            if not held_out.all():
                yield part[~held_out]

    def _held_out(self, part: Pixels) -> npt.NDArray[np.bool_]:
        chosen = _hash(np.arange(self._position, self._position + len(part), dtype=np.uint64)) < self._below
        self._position += len(part)
        size = part.nbytes // len(part)
        # Validation data is kept in memory, so its size is limited.
        chosen &= np.cumsum(chosen) * size <= self._room
        taken = int(chosen.sum())
        self._room -= taken * size
        self.held_out += taken
        return chosen


def _hash(positions: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Hash positions with the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = positions + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _joined(parts: list[Pixels]) -> Pixels:
    """Join parts to one array; parts of mixed dtypes are normalized."""
    if len({part.dtype for part in parts}) > 1:
        parts[:] = [normalized(part) for part in parts]
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    end = len(whole)
    # Each part is freed as soon as it is copied, so that the data is never in memory twice.
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


class _Moments:
    """Count, mean and variance of each element, in one pass. Images are only counted, because their range is known."""

    def __init__(self) -> None:
        self.count = 0
        self._mean = self._squares = np.zeros(1)
        self._low, self._high = np.inf, -np.inf

    def add(self, part: Pixels) -> None:
        before, self.count = self.count, self.count + len(part)
        if part.ndim > 2:
            self._low, self._high = 0.0, 1.0
            return
        values = part.astype(np.float64)
        mean = values.mean(axis=0)
        # Parallel variance of Chan, Golub and LeVeque (1979): numerically stable in one pass.
        gap = mean - self._mean
        self._squares = self._squares + ((values - mean) ** 2).sum(axis=0) + gap**2 * (before * len(part) / self.count)
        self._mean = self._mean + gap * (len(part) / self.count)
        self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))

    def statistics(self) -> Statistics:
        variance = self._squares / self.count
        return Statistics(
            mean=self._mean,
            variance=np.where(variance > 0, variance, 1.0),  # a constant element must not be divided by 0
            low=self._low,
            high=self._high if self._high > self._low else self._low + 1,
        )
