"""Outliers by neighbours, against all distances."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.neighbors import NearestNeighbors

from lake.core.errors import UsageError
from pipeline.explore.committed import Committed
from pipeline.explore.outliers import Score, find_outliers
from tests.pipeline.explore.values import clustered, make_output


def test_the_farthest_of_all(tmp_path: Path) -> None:
    values = clustered(3000, 8)
    values[[5, 77, 2999]] += np.array([[9], [8], [7]], np.float32)
    found = find_outliers(Committed.read(make_output(tmp_path / "o", values)), top=10, k=5)
    distances, _ = NearestNeighbors(n_neighbors=6, algorithm="brute").fit(values).kneighbors(values)
    scores = distances[:, 5]
    order = np.argsort(-scores)[:10]
    assert found.by == Score.NEIGHBOURS
    assert found.exact
    assert found.table.column("key").to_pylist() == [f"k{row}" for row in order]
    np.testing.assert_allclose(found.table.column("score").to_numpy(), scores[order], rtol=1e-5)


def test_a_group_of_outliers(tmp_path: Path) -> None:
    """Twenty that are nearly equal: each has nineteen neighbours, and is an outlier all the same."""
    values = clustered(3000, 8)
    values[100:120] = values.mean(0) + 9 * values.std(0) + np.random.default_rng(0).normal(0, 0.01, (20, 8))
    committed = Committed.read(make_output(tmp_path / "o", values))
    found = find_outliers(committed, top=20)
    assert {*found.table.column("key").to_pylist()} == {f"k{row}" for row in range(100, 120)}
    assert not {*find_outliers(committed, top=20, k=19).table.column("key").to_pylist()} & {
        f"k{row}" for row in range(100, 120)
    }


def test_by_the_error_where_there_is_one(tmp_path: Path) -> None:
    errors = np.array([0.1, 0.5, 0.3, 0.5], np.float32)
    output = make_output(tmp_path / "o", clustered(4, 3), more={"mse": pa.array(errors)}, sizes=[1, 3])
    found = find_outliers(Committed.read(output), top=3)
    assert found.by == Score.ERROR
    assert [(row["key"], row["shard"], row["index"]) for row in found.table.to_pylist()] == [
        ("k1", "u1.tar", 0),
        ("k3", "u1.tar", 2),
        ("k2", "u1.tar", 1),
    ]
    assert find_outliers(Committed.read(output), top=3, by=Score.NEIGHBOURS).by == Score.NEIGHBOURS


def test_equal_records_are_no_outliers(tmp_path: Path) -> None:
    values = np.zeros((700, 4), np.float32)
    values[600] = 1
    found = find_outliers(Committed.read(make_output(tmp_path / "o", values)), top=2)
    assert found.table.column("key").to_pylist()[0] == "k600"
    assert found.table.column("score").to_pylist() == [2.0, 0.0]


def test_one_record_has_no_neighbours(tmp_path: Path) -> None:
    output = make_output(tmp_path / "o", clustered(1, 4))
    assert len(find_outliers(Committed.read(output), top=2).table) == 0
    with pytest.raises(UsageError, match="has no errors"):
        find_outliers(Committed.read(output), top=2, by=Score.ERROR)
