"""Latents as points and statistics, against scikit-learn and NumPy."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.decomposition import PCA

from lake.core.errors import UsageError
from pipeline.explore.committed import Committed
from pipeline.report.latent_map import color_column, correlated_pairs, latent_facts, principal_components
from pipeline.report.survey import survey
from tests.pipeline.explore.values import clustered, make_output


@pytest.mark.parametrize("dimension", [3, 40, 1100])
def test_principal_components_are_those_of_scikit_learn(dimension: int) -> None:
    values = clustered(150, dimension)
    mean, axes, shares = principal_components(values, 2)
    known = PCA(2, svd_solver="full").fit(values.astype(np.float64))
    np.testing.assert_allclose(np.abs((axes * known.components_.T).sum(0)), 1, atol=1e-6)
    np.testing.assert_allclose(shares, known.explained_variance_ratio_, rtol=1e-5)
    points, expected = (values - mean) @ axes, known.transform(values.astype(np.float64))
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-4 * np.abs(expected).max())


def test_what_dimensions_say(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    values[:, 2] = 0.25  # dead
    values[:, 4] = -3 * values[:, 1] + 0.1 * values[:, 5]
    found = latent_facts(survey(Committed.read(make_output(tmp_path / "o", values))), "pca", None, {})
    assert found is not None
    assert found.map is not None
    assert found.dead == [2]
    ((first, second, r),) = found.correlated
    assert (first, second) == (1, 4)
    assert r == pytest.approx(np.corrcoef(values[:, 1], values[:, 4])[0, 1], abs=1e-6)
    assert len(found.map.records) == len(found.map.points) == 500
    assert found.map.explained is not None
    assert found.map.explained[0] >= found.map.explained[1] > 0


def test_one_record_says_nothing_of_dimensions(tmp_path: Path) -> None:
    found = latent_facts(survey(Committed.read(make_output(tmp_path / "o", clustered(1, 4)))), "pca", None, {})
    assert found is not None and found.dead == [] and found.map is None


def test_colours(tmp_path: Path) -> None:
    more = {
        "label": pa.array(np.arange(300) % 4),
        "age": pa.array(np.linspace(0, 1, 300)),
        "blob": pa.array([b"x"] * 300),
    }
    output = make_output(tmp_path / "o", clustered(300, 5), more=more, sizes=[100, 200])
    found = latent_facts(survey(Committed.read(output), color_by="age"), "pca", "age", {})
    assert found is not None
    assert found.map is not None
    columns = {column.name: column for column in found.map.colors}
    assert list(columns) == ["age", "label", "unit"]
    np.testing.assert_allclose(columns["age"].values, np.linspace(0, 1, 300))
    label = columns["label"]
    assert label.categories is not None
    assert [label.categories[int(at)] for at in label.values] == [str(row % 4) for row in range(300)]
    assert columns["unit"].categories == ("u1", "u0")


def test_many_texts_become_the_most_frequent_and_others() -> None:
    texts = ["common"] * 5 + [f"t{number:02d}" for number in range(30)]
    column = color_column("caption", pa.chunked_array([texts]))
    assert column.categories is not None
    assert len(column.categories) == 20
    assert (column.categories[0], column.categories[-1]) == ("common", "others")
    assert int((column.values == 19).sum()) == 12


def test_large_numbers_are_a_scale() -> None:
    """As ids and times are, of which no float is exactly the one."""
    numbers = pa.chunked_array([pa.array([2**62 + row for row in range(1, 31)])])
    assert color_column("id", numbers).values[0] == 2.0**62


def test_dimensions_that_are_constant_have_no_correlation() -> None:
    assert correlated_pairs(np.ones((9, 3), np.float32), np.arange(3)) == []


def test_pacmap_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pacmap", None)
    found = survey(Committed.read(make_output(tmp_path / "o", clustered(50, 4))))
    with pytest.raises(UsageError, match=r"needs the package pacmap.*pip install 'latentlake\[map\]'"):
        latent_facts(found, "pacmap", None, {})
