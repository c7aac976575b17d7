"""Whether two outputs are of the same kind of data: by each dimension of their latents, and by a classifier of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.errors import UsageError
from lake.core.records import Array
from pipeline.explore.answer import TableAnswer
from pipeline.explore.committed import Committed, check_same_latents, error_column
from pipeline.explore.latent_cache import load_latents

THRESHOLD = 0.52  # AUC; 0.5 is what chance gives
_CERTAIN = 4.0  # standard errors above chance
_PER_SIDE = 50_000  # most rows of each output that are compared
_TRAINED = 20_000  # most rows of each output that the classifier has
_FEATURES = 128  # most dimensions that it sees; of more, the principal ones
_STEPS = 12
FEWEST = 20  # rows of each output


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift(TableAnswer):
    """How the data of two outputs differ.

    Attributes:
      table: a row for each dimension of the latents, and one for the error: ``name``, ``ks`` (Kolmogorov-Smirnov
        statistic, 0 to 1), ``wasserstein`` (in standard deviations of both together), ``mean_a`` and ``mean_b``; the
        largest ``ks`` first.
      auc: how well a classifier tells from which output a record is that it has not seen: 0.5 for not at all, 1 for
        always.
      error: standard error of ``auc`` where there is no difference.
      threshold: the least ``auc`` that counts as drift.
      rows: rows of each output that were compared.
    """

    table: pa.Table
    auc: float
    error: float
    threshold: float
    rows: tuple[int, int]

    @property
    def drifted(self) -> bool:
        """The verdict: ``auc`` reaches the threshold, and is too far above 0.5 for chance (four standard errors)."""
        return self.auc >= self.least

    @property
    def least(self) -> float:
        """The least ``auc`` that is drift of so many records: of few ones chance alone may give the threshold."""
        return max(self.threshold, 0.5 + _CERTAIN * self.error)

    @property
    def few(self) -> bool:
        """Whether the records are too few for the threshold: less than ``least`` cannot be told from chance."""
        return self.least > self.threshold


def find_drift(a: Committed, b: Committed, threshold: float = THRESHOLD, cache: str | None = None) -> Drift:
    """Compare the latents of two outputs, and their errors where both have some.

    Args:
      a: the output that is the reference.
      b: the output that is compared with it.
      threshold: the least AUC that counts as drift, above 0.5 and at most 1.
      cache: local directory for latents; None for one in each output.

    Raises:
      UsageError: the outputs are not of one model, or have too few records.
    """
    if not 0.5 < threshold <= 1:
        raise UsageError(f"max_auc: {threshold:g} is no AUC above 0.5 and at most 1")
    if (digest := _model(a)) != _model(b):
        raise UsageError(
            f"{a.layout.output} and {b.layout.output} are of different models ({digest[:8]} and {_model(b)[:8]}), "
            "whose latents have nothing to do with each other; encode both with one"
        )
    check_same_latents(a, b)
    one, other = _sample(a, cache), _sample(b, cache)
    if error_column(a.schema()) and error_column(b.schema()):
        names = [*_names(one.shape[1] - 1), "mse"]
    else:
        names = _names(min(one.shape[1], other.shape[1]))
        one, other = one[:, : len(names)], other[:, : len(names)]
    return drift_between(one, other, names, threshold)


def drift_between(a: Array, b: Array, names: Sequence[str], threshold: float = THRESHOLD) -> Drift:
    """Compare two samples of records.

    Args:
      a: numbers of the reference, float ``[n, D]``.
      b: numbers of what is compared with it, float ``[m, D]``.
      names: of the columns, ``[D]``.
      threshold: the least AUC that counts as drift.

    Raises:
      UsageError: the samples are too small.

    >>> generator = np.random.default_rng(0)
    >>> one, other = generator.normal(0, 1, (200, 2)), generator.normal([0, 2], 1, (200, 2))
    >>> found = drift_between(one, other, ["x", "y"])
    >>> found.drifted, found.table.column("name")[0].as_py()
    (True, 'y')
    """
    if min(len(a), len(b)) < FEWEST:
        raise UsageError(f"{len(a)} and {len(b)} records are too few to compare; each side needs {FEWEST}")
    auc, error = classifier_auc(a, b)
    return Drift(table=_table(a, b, names), auc=auc, error=error, threshold=threshold, rows=(len(a), len(b)))


def kolmogorov_smirnov(a: Array, b: Array) -> float:
    """The largest difference of two empirical distribution functions, from 0 to 1.

    Args:
      a: numbers ``[n]``.
      b: numbers ``[m]``.

    >>> kolmogorov_smirnov(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.5
    """
    a, b = np.sort(a), np.sort(b)
    every = np.concatenate([a, b])
    shares = [np.searchsorted(side, every, "right") / len(side) for side in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())


def wasserstein(a: Array, b: Array) -> float:
    """The area between two empirical distribution functions, in the unit of the numbers.

    Args:
      a: numbers ``[n]``.
      b: numbers ``[m]``.

    >>> wasserstein(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    1.0
    """
    a, b = np.sort(a), np.sort(b)
    every = np.sort(np.concatenate([a, b]))
    shares = [np.searchsorted(side, every[:-1], "right") / len(side) for side in (a, b)]
    return float((np.abs(shares[0] - shares[1]) * np.diff(every)).sum())


def auc_of(scores: Array, positive: Array) -> float:
    """The chance that a positive has a higher score than a negative; equal scores count half (Mann-Whitney).

    Args:
      scores: numbers ``[n]``.
      positive: bool ``[n]``, some true and some false.

    >>> auc_of(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    some = int(positive.sum())
    return float((ranks[positive].sum() - some * (some + 1) / 2) / (some * (len(scores) - some)))


def classifier_auc(a: Array, b: Array) -> tuple[float, float]:
    """How well a logistic regression over the dimensions and their squares tells two samples apart.

    Each half of the rows is judged by the classifier that was trained on the other half.

    Args:
      a: float ``[n, D]``.
      b: float ``[m, D]``.

    Returns:
      The AUC, and its standard error where the samples are of one distribution.
    """
    generator = np.random.default_rng(0)
    a, b = (side[np.sort(generator.permutation(len(side))[:_TRAINED])] for side in (a, b))
    features = _features(np.concatenate([a, b]))
    positive = np.arange(len(features)) >= len(a)
    half = _halves(np.concatenate([a, b]), positive, generator)
    aucs = []
    for trained in (half, ~half):
        weights = _fit(features[trained], positive[trained])
        aucs.append(auc_of(features[~trained] @ weights, positive[~trained]))
    n, m = len(a), len(b)
    return float(np.mean(aucs)), float(np.sqrt((n + m + 1) / (12 * n * m)))


def _halves(values: Array, positive: Array, generator: np.random.Generator) -> Array:
    """Which rows are of the first half, bool ``[n]``: about as many of each output in both.

    A row that both outputs have is in one half with its twin. Else its name there would be learned, and it is the wrong
    one here: two outputs that share most records would look less different than they are.
    """
    # As bytes, which sorts dimensions that do not vary twenty times as fast; -0 becomes 0.
    texts = np.ascontiguousarray(values + values.dtype.type(0)).view(f"V{values.shape[1] * values.itemsize}").ravel()
    names = np.unique(texts, return_inverse=True)[1].ravel()
    times = np.concatenate([_times_before(names[~positive]), _times_before(names[positive])])
    pairs = np.stack([names, times], 1)
    _, first, pair, count = np.unique(pairs, axis=0, return_index=True, return_inverse=True, return_counts=True)
    pair = pair.ravel()
    half = np.empty(len(count), bool)
    for alike in (count == 2, (count == 1) & positive[first], (count == 1) & ~positive[first]):
        rows = generator.permutation(np.sort(first[alike]))
        half[pair[rows]] = np.arange(len(rows)) % 2 == 0
    return np.asarray(half[pair])


def _times_before(names: Array) -> Array:
    """How often the number of each place stands before it, int64 ``[n]``.

    >>> _times_before(np.array([7, 5, 7, 7])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(names, kind="stable")
    ranked = names[order]
    times = np.empty(len(names), np.int64)
    times[order] = np.arange(len(names)) - np.searchsorted(ranked, ranked)
    return times


def _features(values: Array) -> Array:
    values = values.astype(np.float64)
    values -= values.mean(0)
    if values.shape[1] > _FEATURES:
        _, axes = np.linalg.eigh(values.T @ values)
        values = values @ axes[:, -_FEATURES:]
    deviation = values.std(0)
    values /= np.where(deviation > 0, deviation, 1)
    squares = np.square(values)
    squares -= squares.mean(0)
    spread = squares.std(0)
    squares /= np.where(spread > 0, spread, 1)
    return np.concatenate([values, squares, np.ones((len(values), 1))], axis=1)


def _fit(features: Array, positive: Array) -> Array:
    """Weights of a logistic regression with a small penalty, by Newton's method."""
    weights = np.zeros(features.shape[1])
    penalty = np.full(features.shape[1], 1e-2 * len(features) ** 0.5)
    penalty[-1] = 1e-6
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        gradient = features.T @ (chance - positive) + penalty * weights
        curvature = (features * (chance * (1 - chance))[:, None]).T @ features + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    return weights


def _model(committed: Committed) -> str:
    return str(committed.job["options"].get("model_digest", ""))


def _names(dimension: int) -> list[str]:
    return [f"latent[{number}]" for number in range(dimension)]


def _sample(committed: Committed, cache: str | None) -> Array:
    """Some rows of an output: its latents, and the error where it has one; float32 ``[m, D or D + 1]``."""
    latents = load_latents(committed, cache)
    count = len(latents)
    chosen = np.sort(np.random.default_rng(0).permutation(count)[:_PER_SIDE])
    values: Array = latents.values[chosen]
    if column := error_column(committed.schema()):
        errors = committed.column_table([column]).column(column).to_numpy()[chosen]
        values = np.concatenate([values, errors[:, None]], axis=1)
    return values


def _table(a: Array, b: Array, names: Sequence[str]) -> pa.Table:
    rows = list[dict[str, Any]]()
    for number, name in enumerate(names):
        one, other = a[:, number].astype(np.float64), b[:, number].astype(np.float64)
        deviation = float(np.concatenate([one, other]).std())
        rows.append(
            {
                "name": name,
                "ks": kolmogorov_smirnov(one, other),
                "wasserstein": wasserstein(one, other) / deviation if deviation > 0 else 0.0,
                "mean_a": float(one.mean()),
                "mean_b": float(other.mean()),
            }
        )
    return pa.Table.from_pylist(sorted(rows, key=lambda row: -row["ks"]))  # equal ones in the order of the latent
