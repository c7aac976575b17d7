"""Drift: the statistics against SciPy and scikit-learn, the verdict on small twins of what happens to data."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp, wasserstein_distance
from sklearn.metrics import roc_auc_score

from lake.core.errors import UsageError
from pipeline.explore.committed import Committed
from pipeline.explore.drift import auc_of, classifier_auc, find_drift, kolmogorov_smirnov, wasserstein
from tests.pipeline.explore.values import clustered, make_output


@pytest.mark.parametrize("sizes", [(300, 200), (1, 50)])
def test_statistics_are_those_of_scipy(sizes: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal(size).round(1) + shift for size, shift in zip(sizes, (0, 0.5), strict=True))
    assert kolmogorov_smirnov(a, b) == pytest.approx(ks_2samp(a, b).statistic, abs=1e-12)
    assert wasserstein(a, b) == pytest.approx(wasserstein_distance(a, b), abs=1e-12)


def test_auc_is_that_of_scikit_learn_with_equal_scores_too() -> None:
    generator = np.random.default_rng(0)
    positive = generator.random(500) < 0.3
    scores = (generator.standard_normal(500) + positive).round(1)
    assert auc_of(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_the_classifier_finds_what_a_linear_one_can() -> None:
    """Two normal distributions whose means are one deviation apart: the best AUC is Phi(1 / sqrt 2) = 0.7602."""
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((8000, 5)), generator.standard_normal((8000, 5))
    b[:, 2] += 1
    auc, error = classifier_auc(a, b)
    assert auc == pytest.approx(0.7602, abs=0.01)
    assert error == pytest.approx(1 / np.sqrt(6 * 8000), rel=0.01)


def twins(change: str) -> tuple[np.ndarray, np.ndarray]:
    """Two samples of digits-like clusters, and what is done to the second."""
    generator = np.random.default_rng(3)
    centres = 3 * generator.standard_normal((10, 16))
    kinds = generator.integers(0, 10, 12000)
    values = centres[kinds] + generator.standard_normal((12000, 16))
    a, b, kind = values[:6000], values[6000:], kinds[6000:]
    if change == "contrast":
        b = b * 0.9
    if change == "class":
        b = b[kind != 3]
    return a.astype(np.float32), b.astype(np.float32)


@pytest.mark.parametrize(("change", "drifted"), [("", False), ("contrast", True), ("class", True)])
def test_the_verdict(tmp_path: Path, change: str, drifted: bool) -> None:
    a, b = twins(change)
    drift = find_drift(*(Committed.read(make_output(tmp_path / name, side)) for name, side in (("a", a), ("b", b))))
    assert drift.drifted is drifted
    assert drift.rows == (len(a), len(b))
    first = drift.table.to_pylist()[0]
    number = int(first["name"].removeprefix("latent[").rstrip("]"))
    assert first["ks"] == pytest.approx(ks_2samp(a[:, number], b[:, number]).statistic, abs=1e-9)
    assert first["ks"] == max(drift.table.column("ks").to_pylist())


def test_a_small_sample_is_no_drift_by_chance(tmp_path: Path) -> None:
    values = clustered(120, 64)
    sides = [make_output(tmp_path / "a", values[:60]), make_output(tmp_path / "b", values[60:])]
    assert not find_drift(*map(Committed.read, sides)).drifted


def test_records_that_both_outputs_have_hide_no_drift(tmp_path: Path) -> None:
    """A night later all records are there still, and one in sixteen is new and has less contrast."""
    a, b = twins("")
    later = np.concatenate([a, 0.8 * b[:400]])
    sides = [Committed.read(make_output(tmp_path / name, side)) for name, side in (("a", a), ("b", later))]
    assert find_drift(*sides).drifted
    same = find_drift(sides[0], sides[0])
    assert same.auc == pytest.approx(0.5, abs=1e-6)
    assert same.table.column("name").to_pylist()[:3] == ["latent[0]", "latent[1]", "latent[2]"]


@pytest.mark.parametrize(
    ("count", "digest", "threshold", "text"),
    [
        (100, "d2", 0.52, "different models"),
        (5, "d1", 0.52, "too few to compare; each side needs 20"),
        (100, "d1", 0.3, "max_auc: 0.3 is no AUC above 0.5"),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, count: int, digest: str, threshold: float, text: str) -> None:
    a = make_output(tmp_path / "a", clustered(100, 4))
    b = make_output(tmp_path / "b", clustered(count, 4), digest=digest)
    with pytest.raises(UsageError, match=text):
        find_drift(Committed.read(a), Committed.read(b), threshold)
