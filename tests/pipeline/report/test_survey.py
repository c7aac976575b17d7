"""One pass over the tables of an output, against NumPy over all of it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lake.core.errors import UsageError
from lake.formats.common.vector_storage import VectorStorage
from pipeline.explore.committed import Committed
from pipeline.report.latent_map import color_columns
from pipeline.report.survey import survey
from pipeline.report.survey_latents import reference_distances
from tests.pipeline.explore.values import clustered, make_output


def test_a_whole_output(tmp_path: Path) -> None:
    values = clustered(3000, 24)
    values[7] = values[1234]
    more = {
        "mse": pa.array(np.linspace(0, 1, 3000), pa.float32()),
        "label": pa.array([f"c{row % 3}" for row in range(3000)]),
    }
    found = survey(Committed.read(make_output(tmp_path / "o", values, more=more, sizes=[1000, 0, 2000])), sample=500)
    latents = found.latents
    assert latents is not None
    assert latents.hashes is not None
    assert (len(found), found.total, found.whole) == (3000, 3000, True)
    np.testing.assert_allclose(latents.mean, values.mean(0, dtype=np.float64), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(latents.variance, values.var(0, dtype=np.float64), rtol=1e-4)
    assert len(latents.rows) == 500
    np.testing.assert_array_equal(latents.values, values[latents.rows])
    assert len(np.unique(latents.hashes)) == 2999
    assert latents.hashes[7] == latents.hashes[1234]
    np.testing.assert_allclose(found.numbers["mse"], np.linspace(0, 1, 3000), atol=1e-6)
    assert found.carried.column("label").to_pylist() == [f"c{row % 3}" for row in found.sampled]
    assert found.identity.column("key").to_pylist() == [f"k{row}" for row in range(3000)]
    assert found.units() == ["u0", "u2"]
    assert [*zip(found.table[[0, 999, 1000]], found.row[[0, 999, 1000]], strict=True)] == [(0, 0), (0, 999), (1, 0)]


def test_columns_of_types_that_arrow_does_not_count(tmp_path: Path) -> None:
    values = [f"{row} {'x' * 300}" for row in range(900)]
    more = {
        "half": pa.array([row / 2 for row in range(900)], pa.float16()),
        "view": pa.array(values, pa.string_view()),
        "large": pa.array(values, pa.large_string()),
    }
    output = make_output(tmp_path / "o", clustered(900, 4), more=more, sizes=[450, 450])
    found = survey(Committed.read(output), sample=200)
    assert found.carried.column("half").to_pylist() == [row / 2 for row in found.sampled]
    for name in ("view", "large"):
        assert all(
            values[row].startswith(text)
            for row, text in zip(found.sampled, found.carried.column(name).to_pylist(), strict=True)
        )
    assert {column.name for column in color_columns(found, found.sampled, "half")} >= {"half", "view", "large"}


def test_the_same_output_gives_the_same_survey(tmp_path: Path) -> None:
    committed = Committed.read(make_output(tmp_path / "o", clustered(900, 8), sizes=[450, 450]))
    one, other = survey(committed, sample=100), survey(committed, sample=100)
    np.testing.assert_array_equal(one.sampled, other.sampled)
    assert one.latents is not None
    assert other.latents is not None
    np.testing.assert_array_equal(one.latents.distances, other.latents.distances)


def test_a_bounded_part_of_a_large_output(tmp_path: Path) -> None:
    """Units are chosen by their checksums, those that are asked for first, and of each only the first rows are read."""
    output = make_output(tmp_path / "o", clustered(20 * 1500, 4), sizes=[1500] * 20)
    found = survey(Committed.read(output), most=4096, sample=3000, first=["u17"])
    assert not found.whole
    assert len(found.tables) == 4
    assert "u17" in found.units()
    assert len(found) == 4 * 1024
    assert np.bincount(found.table).tolist() == [1024] * 4
    other = survey(Committed.read(output), most=4096, sample=3000)
    assert len({*found.units()} & {*other.units()}) >= 3


def test_latents_in_other_types(tmp_path: Path) -> None:
    values = np.abs(clustered(400, 16))
    scale = np.full(16, 0.1, np.float32)
    storage = VectorStorage(type="int8", scale=tuple(scale.tolist()), offset=(0.0,) * 16)
    found = survey(Committed.read(make_output(tmp_path / "o", values, storage=storage)))
    assert found.latents is not None
    np.testing.assert_allclose(found.latents.values, np.clip(np.round(values / 0.1), -128, 127) * 0.1, atol=0.051)
    assert found.latents.hashes is None  # 128 bits: equal ones may be of different images


def test_distances_are_those_to_the_tenth_part() -> None:
    values, references = clustered(60, 12), clustered(160, 12, seed=1)
    references[3] = values[5]
    apart = np.linalg.norm(values[:, None].astype(np.float64) - references, axis=2)
    apart[apart < 1e-6] = np.inf
    expected = np.sort(apart.reshape(60, 16, 10).min(2), axis=1)[:, 9]
    found = reference_distances(values, references, 10)
    others = np.arange(60) != 5  # of a part that holds the row itself no other one counts
    np.testing.assert_allclose(found[others], expected[others], rtol=1e-4)
    assert found[5] > 0


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    output = make_output(tmp_path / "o", clustered(9, 4), more={"label": pa.array(["a"] * 9)})
    with pytest.raises(UsageError, match=r"--color-by: .* has no column 'lable'; it has label"):
        survey(Committed.read(output), color_by="lable")


def test_an_output_without_results(tmp_path: Path) -> None:
    found = survey(Committed.read(make_output(tmp_path / "o", np.empty((0, 4), np.float32), sizes=[0])))
    assert (len(found), found.total, found.whole) == (0, 0, True)
    assert found.latents is not None
    assert found.latents.values.shape == (0, 4)


def test_long_keys_end_the_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only that of the table in which they were met: each of thousands would add a batch."""
    monkeypatch.setattr("pipeline.report.survey._IDENTITY_BYTES", 1)
    found = survey(Committed.read(make_output(tmp_path / "o", clustered(300, 4), sizes=[100, 100, 100])))
    assert (len(found), found.total, found.whole) == (100, 300, False)
    assert found.latents is not None and found.latents.rows.max() < 100
