"""What a pass over latents keeps of them: moments, hashes, a sample, and how far each is from some others."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from lake.core.records import Array
from pipeline.explore.latent_reader import LatentReader

_SAMPLE_BYTES = 64 << 20  # of sampled latents
_REFERENCES = 1024  # latents that distances are measured to
_REFERENCE_BYTES = 16 << 20
# The one of them to which the distance counts: nearer ones may be outliers that are alike, of which more are drawn
# among few rows. Among many it would be beyond every class that is less than a hundredth of all.
_NEAREST_OF_FEW, _NEAREST_OF_MANY = 10, 4
_MANY_ROWS = 50_000
_FAR_ROWS = 2000  # rows far from all of them that are kept
_FAR_BYTES = 16 << 20
_FAR_FENCE = 1.5  # interquartile ranges above the third quartile: from where on a row is kept
_JUDGED = 4096  # latents that tell from which distance on a row is far
_PARTS = 16
_TELLING = 256  # bits of a latent from which on two that are equal are of equal images, and not by chance


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentSurvey:
    """What is known of the latents of ``n`` rows.

    Attributes:
      mean: of each dimension, float64 ``[D]``.
      variance: of each dimension, float64 ``[D]``.
      hashes: equal for equal latents, uint64 ``[n]``; None where latents are so coarse that different images share
        them.
      distances: distance of each latent to the tenth nearest of some others, of many rows to the fourth, float32
        ``[n]``; None if not measured.
      rows: which rows ``values`` are of, int64 ``[m]``, ascending.
      values: sampled latents, float32 ``[m, D]``.
      far_rows: the rows with the highest ``distances``, of those that are unusually high, int64 ``[c]``, ascending.
      far_values: their latents, float32 ``[c, D]``.
    """

    mean: Array
    variance: Array
    hashes: Array | None
    distances: Array | None
    rows: Array
    values: Array
    far_rows: Array
    far_values: Array


@dataclass(slots=True, kw_only=True)
class LatentTally:
    """What of a pass is known so far.

    Attributes:
      reader: of the column.
      sampled: rows whose latents are kept, int64, ascending; fewer are where they are long.
    """

    reader: LatentReader
    column: str
    sampled: Array
    _references: Array | None = None
    _hashes: list[Array] = field(default_factory=list)
    _distances: list[Array] = field(default_factory=list)
    _values: list[Array] = field(default_factory=list)
    _far_from: float = np.inf
    _far: list[tuple[Array, Array, Array]] = field(default_factory=list)  # distances, rows and latents
    _count: int = 0
    _mean: Array = field(init=False)
    _squares: Array = field(init=False)

    def __post_init__(self) -> None:
        dimension = self.reader.dimension
        most = max(100, _SAMPLE_BYTES // (4 * dimension))
        if len(self.sampled) > most:
            self.sampled = self.sampled[np.linspace(0, len(self.sampled) - 1, most).astype(np.int64)]
        self._mean, self._squares = np.zeros(dimension), np.zeros(dimension)

    def refer_to(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Measure distances to some of these latents.

        Args:
          batches: with the column of latents.
        """
        parts = [self.reader.read(batch.column(self.column)) for batch in _thinned(batches)]
        if not parts:
            return
        rows = np.concatenate(parts)
        most = max(16, min(_REFERENCES, _REFERENCE_BYTES // (4 * self.reader.dimension)))
        self._references = rows[np.random.default_rng(0).permutation(len(rows))[:most]]
        some = rows[:: -(-len(rows) // _JUDGED)]
        low, high = np.percentile(reference_distances(some, self._references, self._nearest), (25, 75))
        self._far_from = float(high + _FAR_FENCE * (high - low))

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the latents of the next rows."""
        values = self.reader.read(batch.column(self.column))
        if self._telling:
            self._hashes.append(latent_hashes(values))
        if self._references is not None:
            self._distances.append(reference_distances(values, self._references, self._nearest))
            self._keep_far(values)
        low, high = np.searchsorted(self.sampled, (self._count, self._count + len(values)))
        self._values.append(values[self.sampled[low:high] - self._count])
        self._add_moments(values)
        self._count += len(values)

    def _keep_far(self, values: Array) -> None:
        """Keep those of the latest rows that are far, and of all that are kept the farthest."""
        own = np.flatnonzero(self._distances[-1] > self._far_from)
        self._far.append((self._distances[-1][own], self._count + own, values[own]))
        most = self._most_far
        if sum(len(part[0]) for part in self._far) > 2 * most:
            self._far = [self._farthest(most)]

    @property
    def _nearest(self) -> int:
        many = len(self.sampled) > 0 and self.sampled[-1] >= _MANY_ROWS
        return _NEAREST_OF_MANY if many else _NEAREST_OF_FEW

    @property
    def _most_far(self) -> int:
        return max(16, min(_FAR_ROWS, _FAR_BYTES // (4 * self.reader.dimension)))

    def _farthest(self, most: int) -> tuple[Array, Array, Array]:
        """Of those that are kept the farthest, in their order."""
        none = (np.empty(0, np.float32), np.empty(0, np.int64), np.empty((0, self.reader.dimension), np.float32))
        distances, rows, values = (np.concatenate(side) for side in zip(none, *self._far, strict=True))
        chosen = np.sort(np.argsort(-distances, kind="stable")[:most])
        return distances[chosen], rows[chosen], values[chosen]

    @property
    def _telling(self) -> bool:
        bits = 1 if self.reader.storage.type == "binary" else 8 * self.reader.storage.element.byte_width
        return bits * self.reader.dimension >= _TELLING

    def _add_moments(self, values: Array) -> None:
        """Join the moments of some rows to those before (Chan, Golub and LeVeque 1979)."""
        count, before = len(values), self._count
        mean = values.mean(0, dtype=np.float64)
        squares = np.square(values - mean.astype(np.float32), dtype=np.float32).sum(0, dtype=np.float64)
        shift = mean - self._mean
        self._mean += shift * count / (before + count)
        self._squares += squares + shift**2 * before * count / (before + count)

    def result(self) -> LatentSurvey:
        """What is known of all rows that were added."""
        dimension = self.reader.dimension
        _, far_rows, far_values = self._farthest(self._most_far)
        return LatentSurvey(
            mean=self._mean,
            variance=self._squares / max(self._count, 1),
            hashes=np.concatenate([np.empty(0, np.uint64), *self._hashes]) if self._telling else None,
            distances=np.concatenate(self._distances) if self._distances else None,
            rows=self.sampled[self.sampled < self._count],
            values=np.concatenate([np.empty((0, dimension), np.float32), *self._values]),
            far_rows=far_rows,
            far_values=far_values,
        )


def _thinned(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """At most 1,024 rows of each batch, from all over it."""
    for batch in batches:
        if batch.num_rows:
            rows = np.unique(np.linspace(0, batch.num_rows - 1, _REFERENCES).astype(np.int64))
            yield batch.take(pa.array(rows))


def latent_hashes(values: Array) -> Array:
    """Hashes of latents, uint64 ``[n]``: of equal ones they are equal, of others almost never.

    Args:
      values: float32 ``[n, D]``.

    >>> one, other, again = latent_hashes(np.array([[0.0, 1.0], [1.0, 0.0], [-0.0, 1.0]], np.float32))
    >>> bool(one == again), bool(one == other)
    (True, False)
    """
    generator = np.random.default_rng(0)
    weights = generator.integers(0, 1 << 64, values.shape[1], np.uint64) | np.uint64(1)
    words = np.ascontiguousarray(values + np.float32(0)).view(np.uint32).astype(np.uint64)  # -0 becomes 0
    words *= np.uint64(0x9E3779B97F4A7C15)
    words ^= words >> np.uint64(29)
    words *= weights
    hashes: Array = words.sum(1, dtype=np.uint64)
    return hashes


def reference_distances(values: Array, references: Array, nearest: int) -> Array:
    """Distance of each latent to one of the nearest of some others, or to the last one, not counting one that is equal.

    The others are divided into 16 parts, and of each only the nearest one counts: that is several times as fast.

    Args:
      values: float32 ``[n, D]``.
      references: float32 ``[r, D]``, at least one.
      nearest: which of them it is, at most 16.

    Returns:
      Distances float32 ``[n]``; 0 where there are no others.

    >>> points = np.array([[0.0, 0.0], [3.0, 4.0]], np.float32)
    >>> reference_distances(points, points, 4).tolist()
    [5.0, 5.0]
    """
    centre = references.mean(0)
    one, other = values - centre, references - centre
    squares = one @ (-2 * other.T)
    squares += np.einsum("rd,rd->r", other, other)
    starts = np.unique(np.linspace(0, len(references), _PARTS, endpoint=False).astype(np.int64))
    lengths = np.einsum("nd,nd->n", one, one)[:, None]
    parts = np.minimum.reduceat(squares, starts, axis=1) + lengths
    # A row that is among the references itself: what is left of the difference is rounding.
    parts[parts <= 1e-5 * lengths] = np.inf
    least = np.sort(parts, axis=1)[:, :nearest]
    distances: Array = np.sqrt(np.where(np.isfinite(least), least, 0).max(1)).astype(np.float32)
    return distances
