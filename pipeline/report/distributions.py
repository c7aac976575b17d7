"""Numbers of many records as the page of a report shows them: histograms, maps, and how two sides differ.

Arrays are NumPy's. Every text may come from data, so the page escapes all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lake.core.records import Array
from pipeline.report.shown import Picture, RecordName


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How some numbers are distributed.

    Attributes:
      name: of the numbers, such as "noise level".
      edges: of the bins, ascending, float64 ``[n + 1]``.
      counts: int64 ``[n]``.
      reference: of the other output, in the same bins, as shares of its records, float64 ``[n]``; None without one.
    """

    name: str
    edges: Array
    counts: Array
    reference: Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFacts:
    """The noise levels that the denoiser was told, where white is 255.

    Attributes:
      histogram: of them.
      trained: the lowest and the highest level that the model was trained with; None where its card does not say.
      outside: share of the records outside of that range.
      below: how many are below it.
      above: how many are above it.
      how: "estimated" for each image, "given" for all, or the column that they were read from.
    """

    histogram: Histogram
    trained: tuple[float, float] | None
    outside: float
    below: int
    above: int
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ColorColumn:
    """A column that the points of a map are coloured by.

    Attributes:
      name: of the column.
      values: float64 ``[n]``: numbers, or positions in ``categories``; NaN for null.
      categories: names, at most 20, the last of which may be "others"; None for a column of numbers.
    """

    name: str
    values: Array
    categories: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentMap:
    """Sampled latents in two dimensions.

    Attributes:
      method: "pca" or "pacmap".
      points: float32 ``[n, 2]``, with n at most 10,000.
      records: which each is, ``[n]``.
      colors: at most 12 columns to colour by; the first one is shown first. May be empty.
      thumbnails: pictures of some points, by position; at most 1,000.
      explained: share of the variance along each axis; None for PaCMAP.
    """

    method: str
    points: Array
    records: Sequence[RecordName]
    colors: Sequence[ColorColumn]
    thumbnails: Mapping[int, Picture]
    explained: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentFacts:
    """The latents of the sampled records.

    Attributes:
      rows: how many were sampled.
      total: how many there are.
      mean: of each dimension, float64 ``[D]``.
      variance: of each dimension, float64 ``[D]``.
      dead: dimensions that do not vary, ascending.
      correlated: pairs of dimensions that say the same (first, second, Pearson's r), |r| at least 0.95, the strongest
        first, at most 50.
      map: None where there are too few.
    """

    rows: int
    total: int
    mean: Array
    variance: Array
    dead: Sequence[int]
    correlated: Sequence[tuple[int, int, float]]
    map: LatentMap | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DimensionDrift:
    """How one number of the records differs.

    Attributes:
      name: such as "latent[12]" or "mse".
      ks: Kolmogorov-Smirnov statistic, 0 to 1.
      wasserstein: in standard deviations of both sides together.
      mean: here.
      reference: mean there.
    """

    name: str
    ks: float
    wasserstein: float
    mean: float
    reference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDrift:
    """How a part of the records differs.

    Attributes:
      name: of the unit, or of the partition, such as "dt=2026-11-22".
      rows: sampled records of it.
      auc: of a classifier that tells them from the others: 0.5 for not at all, 1 for always.
      least: the least AUC that counts as drift, of so many records.
      drifted: the verdict.
      most: the number that differs most; None where there are none.
      error: mean error of it; None without errors.
    """

    name: str
    rows: int
    auc: float
    least: float
    drifted: bool
    most: DimensionDrift | None
    error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """Parts of the output, each against something.

    Attributes:
      by: what the parts are: "unit", or the name of the partition, such as "dt".
      groups: the most different first, at most 24.
      count: of all parts that were compared.
      threshold: the least AUC that counts as drift.
    """

    by: str
    groups: Sequence[GroupDrift]
    count: int
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstFacts:
    """This output against another one, or against what it was before its latest run.

    Attributes:
      name: of the other side, for people, such as "the run of 2026-11-28 02:00" or its URI.
      drifted: the verdict on all records.
      auc: of a classifier that tells from which side a record is.
      standard_error: of the AUC where there is no difference.
      threshold: the least AUC that counts as drift, of so many records.
      few: whether a lower one would count of more records.
      rows: compared records, there and here.
      dimensions: the most different first, at most 200.
      error_change: (mean error here) / (mean error there) - 1; None without errors.
      error: histogram of the errors, with that of the other side; None without errors.
      groups: units or partitions of this output, each against the other side; None where it has only one.
      left_out: parts of the other side that are not compared with, since they differ from the others.
      why_not: why there is no verdict, for people; "" where there is one. The other fields are then of no meaning.
    """

    name: str
    drifted: bool = False
    auc: float = 0.5
    standard_error: float = 0.0
    threshold: float = 0.0
    few: bool = False
    rows: tuple[int, int] = (0, 0)
    dimensions: Sequence[DimensionDrift] = ()
    error_change: float | None = None
    error: Histogram | None = None
    groups: GroupFacts | None = None
    left_out: Sequence[str] = ()
    why_not: str = ""

    @property
    def differing(self) -> Sequence[DimensionDrift]:
        """Those numbers that differ at all, the most different first."""
        return [row for row in self.dimensions if row.ks > 0]

    @property
    def verdict(self) -> str:
        """The verdict, as people say it: of few records with how much they could have shown.

        >>> AgainstFacts(name="a", threshold=0.647, few=True).verdict
        'No drift above AUC 0.647'
        """
        if self.drifted:
            return "Drift"
        return f"No drift above AUC {self.threshold:.3g}" if self.few else "No drift"
