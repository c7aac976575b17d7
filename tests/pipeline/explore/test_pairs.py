"""Pairs within a distance, against all distances."""

import numpy as np
import pytest

from lake.core.errors import UsageError
from pipeline.explore import pairs
from pipeline.explore.nearest import Metric, exact_distances
from pipeline.explore.pairs import equal_rows, pairs_within
from tests.pipeline.explore.values import clustered


def planted(count: int = 6000, dimension: int = 32) -> np.ndarray:
    """Clustered points, some of which are near others."""
    values = clustered(count, dimension)
    generator = np.random.default_rng(5)
    some = generator.permutation(count)[:200]
    noise = 0.1 * generator.standard_normal((100, dimension)) * generator.random((100, 1))
    values[some[:100]] = values[some[100:]] + noise
    return values


def all_pairs(values: np.ndarray, others: np.ndarray, radius: float, metric: Metric) -> set[tuple[int, int]]:
    near = np.stack([exact_distances(row, others, metric) <= radius for row in values])
    return {(int(one), int(other)) for one, other in np.argwhere(near)}


@pytest.mark.parametrize(("metric", "radius"), [(Metric.L2, 0.3), (Metric.COSINE, 2e-4)])
def test_all_pairs_and_no_others(metric: Metric, radius: float) -> None:
    values = planted()
    one, other = pairs_within(values, (values**2).sum(1), radius, metric)
    found = set(zip(one.tolist(), other.tolist(), strict=True))
    expected = {pair for pair in all_pairs(values, values, radius, metric) if pair[0] < pair[1]}
    assert len(found) == len(one)
    assert 20 < len(expected) < 100
    assert found == expected


@pytest.mark.parametrize(("metric", "radius"), [(Metric.L2, 0.3), (Metric.COSINE, 2e-4)])
def test_pairs_of_two_outputs(metric: Metric, radius: float) -> None:
    values = planted(3000)
    others = values[::-3] + np.float32(0.001)
    one, other = pairs_within(values, (values**2).sum(1), radius, metric, (others, (others**2).sum(1)))
    expected = all_pairs(values, others, radius, metric)
    assert set(zip(one.tolist(), other.tolist(), strict=True)) == expected
    assert len(expected) >= 1000


def test_far_from_the_origin() -> None:
    """Where squares of float32 lose the difference."""
    values = planted(2000) + np.float32(1000)
    one, other = pairs_within(values, (values**2).sum(1), 0.3, Metric.L2)
    found = set(zip(one.tolist(), other.tolist(), strict=True))
    assert found == {pair for pair in all_pairs(values, values, 0.3, Metric.L2) if pair[0] < pair[1]}


def test_equal_rows_are_pairs_with_the_first_only() -> None:
    values = np.zeros((4000, 8), np.float32)
    values[7] = 1
    one, other = pairs_within(values, (values**2).sum(1), 0.5, Metric.L2)
    assert one.tolist() == [0] * 3998
    assert other.tolist() == [row for row in range(1, 4000) if row != 7]


def test_rows_of_the_same_numbers_in_another_order_are_not_equal() -> None:
    values = np.array([[0, 1], [1, 0], [0, 1], [1, 0]], np.float32)
    assert equal_rows(values).tolist() == [0, 1, 0, 1]


def test_too_many_pairs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MOST_PAIRS", 1000)
    values = clustered(500, 4)
    with pytest.raises(UsageError, match=r"more than 1,000 pairs are within the threshold; give a smaller"):
        pairs_within(values, (values**2).sum(1), 100.0, Metric.L2)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_rows(count: int) -> None:
    values = np.ones((count, 3), np.float32)
    one, _ = pairs_within(values, (values**2).sum(1), 1.0, Metric.L2)
    assert len(one) == max(0, count - 1)
