"""Nearest latents, against scikit-learn."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from pipeline.explore import nearest
from pipeline.explore.nearest import Metric, exact_distances, find_nearest
from tests.pipeline.explore.values import clustered


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("queries", [1, 3, 1500])
def test_the_same_as_scikit_learn(metric: Metric, queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "_PRODUCTS", 1 << 16)  # many blocks
    monkeypatch.setattr(nearest, "_FEWEST", 100)
    values = clustered(4000, 24)
    asked = clustered(queries, 24, seed=1)
    positions, distances = find_nearest(values, (values**2).sum(1), asked, 7, metric)
    truth = NearestNeighbors(n_neighbors=7, algorithm="brute", metric=str(metric).replace("l2", "euclidean"))
    expected, expected_positions = truth.fit(values.astype(np.float64)).kneighbors(asked.astype(np.float64))
    np.testing.assert_array_equal(positions, expected_positions)
    np.testing.assert_allclose(distances, expected, atol=1e-6)


def test_many_equal_rows() -> None:
    """More than there are places for candidates, in every block."""
    values = np.zeros((5000, 4), np.float32)
    values[4999] = 1
    positions, distances = find_nearest(values, (values**2).sum(1), values[4999:], 3, Metric.L2)
    assert positions[0, 0] == 4999
    np.testing.assert_allclose(distances, [[0, 2, 2]])


@pytest.mark.parametrize("count", [0, 1, 5])
def test_fewer_rows_than_are_asked_for(count: int) -> None:
    values = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    positions, distances = find_nearest(values, (values**2).sum(1), np.zeros((2, 2), np.float32), 9, Metric.L2)
    assert positions.shape == distances.shape == (2, count)
    assert positions.tolist() == [list(range(count))] * 2


def test_a_latent_of_zeros_has_no_direction() -> None:
    zero, one = np.zeros((1, 3)), np.ones((1, 3))
    assert exact_distances(zero, one, Metric.COSINE).tolist() == [1.0]
    values = np.array([[0, 0, 0], [1, 1, 1], [-1, -1, -1]], np.float32)
    positions, distances = find_nearest(values, (values**2).sum(1), np.ones((1, 3), np.float32), 3, Metric.COSINE)
    assert positions.tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(distances, [[0, 1, 2]], atol=1e-12)
