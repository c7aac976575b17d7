"""Training and validation samples: held in memory where they fit, else read again for every epoch."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.kinds import Statistics
from pipeline.errors import UsageError

Pixels = npt.NDArray[np.generic]
Source = Callable[[], Iterable[Pixels]]
_FULL = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}

HELD_BYTES = 2 << 30  # more training data than this is read again for every epoch
_WINDOW_BYTES = 256 << 20  # then samples are shuffled within windows of this size
_VALIDATION_BYTES = 512 << 20  # validation samples beyond this are trained on


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What one training uses.

    Attributes:
      count: training samples.
      validation: [m, ...] of the source's dtype.
      statistics: of the training samples, as the network sees them.
      held: the training samples where they fit in memory, else None.
      source: reads everything, in the same order every time.
      fraction: share of the samples that validate.
    """

    count: int
    validation: Pixels
    statistics: Statistics
    held: Pixels | None
    source: Source
    fraction: float

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.float32]]:
        """All training samples once, shuffled, as the network sees them, in batches of ``size`` or less.

        Streamed samples are shuffled within windows, and batches end where windows do.
        """
        for window in [self.held] if self.held is not None else self._windows():
            order = rng.permutation(len(window))
            for start in range(0, len(order), size):
                yield unit(window[order[start : start + size]])

    def _windows(self) -> Iterator[Pixels]:
        parts: list[Pixels] = []
        for part in _Split(self.fraction).training(self.source()):
            parts.append(part)
            if sum(p.nbytes for p in parts) >= _WINDOW_BYTES:
                yield _joined(parts)
                parts = []
        if parts:
            yield _joined(parts)


def load(source: Source, fraction: float, held_bytes: int = HELD_BYTES) -> Samples:
    """Read everything once: count it, take the validation samples out, hold the rest if it fits.

    Args:
      source: gives arrays [n, ...] of uint8, uint16 or float32, in the same order every time.
      fraction: share of the samples that validate, chosen by a hash of their position.
      held_bytes: the most training data to hold.

    Raises:
      UsageError: too few samples to train and validate.
    """
    split, moments, parts, held = _Split(fraction), _Moments(), list[Pixels](), 0
    for part in split.training(source()):
        moments.add(part)
        held += part.nbytes
        parts.append(part)
        if held > held_bytes:
            parts.clear()
    if not moments.count or not split.validation:
        raise UsageError(
            f"too few samples: {moments.count} to train on and {split.held_out} to validate with; give more --input or "
            f"another --validation-fraction"
        )
    return Samples(
        count=moments.count,
        validation=_joined(split.validation),
        statistics=moments.statistics(),
        held=_joined(parts) if held <= held_bytes else None,
        source=source,
        fraction=fraction,
    )


def unit(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Images as float32 in 0..1, vectors as they are."""
    return np.divide(pixels, _FULL.get(pixels.dtype, 1), dtype=np.float32)


class _Split:
    """Sends samples by a hash of their position to training or validation, the same way on every reading."""

    def __init__(self, fraction: float) -> None:
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
        chosen &= np.cumsum(chosen) * size <= self._room
        taken = int(chosen.sum())
        self._room -= taken * size
        self.held_out += taken
        return chosen


def _hash(positions: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    x = positions + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _joined(parts: list[Pixels]) -> Pixels:
    """One array of the parts, each let go as it is copied; of mixed dtypes, as the network sees them."""
    if len({part.dtype for part in parts}) > 1:
        parts[:] = [unit(part) for part in parts]
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


class _Moments:
    """Count, mean and variance of each element in one pass, by the pairwise update of Chan, Golub and LeVeque (1979).

    Images are only counted: what is black and white is known.
    """

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
        gap = mean - self._mean
        self._squares = self._squares + ((values - mean) ** 2).sum(axis=0) + gap**2 * (before * len(part) / self.count)
        self._mean = self._mean + gap * (len(part) / self.count)
        self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))

    def statistics(self) -> Statistics:
        variance = self._squares / self.count
        return Statistics(
            mean=self._mean,
            variance=np.where(variance > 0, variance, 1.0),  # a constant element stays as it is
            low=self._low,
            high=self._high if self._high > self._low else self._low + 1,
        )
