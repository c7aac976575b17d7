"""The latents of an output as one matrix: what the tables hold, never an older state."""

from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import LatentlakeError, UsageError
from lake.formats.common.vector_storage import VectorStorage
from pipeline.explore.committed import Committed
from pipeline.explore.latent_cache import load_latents
from tests.pipeline.explore.values import clustered, make_output


def caches(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_what_the_tables_hold(tmp_path: Path) -> None:
    values = clustered(1000, 6)
    output = make_output(tmp_path / "o", values, sizes=[300, 0, 700])
    for _ in range(2):  # made, and found
        latents = load_latents(Committed.read(output))
        np.testing.assert_array_equal(latents.values, values)
        np.testing.assert_allclose(latents.norms, (values.astype(np.float64) ** 2).sum(1), rtol=1e-6)
        assert latents.keys.to_pylist() == [f"k{row}" for row in range(1000)]
        assert latents.rows.column("shard").to_pylist() == ["u0.tar"] * 300 + ["u2.tar"] * 700
        assert latents.rows.column("index").to_pylist() == [*range(300), *range(700)]
    assert isinstance(latents.values, np.memmap)
    assert len(caches(tmp_path / "o/_cache")) == 1


def test_another_state_has_another_cache(tmp_path: Path) -> None:
    first = load_latents(Committed.read(make_output(tmp_path / "o", clustered(50, 4))))
    values = clustered(60, 4, seed=1)
    second = load_latents(Committed.read(make_output(tmp_path / "o", values)))
    np.testing.assert_array_equal(second.values, values)
    np.testing.assert_array_equal(first.values, clustered(50, 4))  # who has it mapped keeps it
    assert len(caches(tmp_path / "o/_cache")) == 1


def test_a_killed_process_leaves_nothing_that_counts(tmp_path: Path) -> None:
    output = make_output(tmp_path / "o", clustered(50, 4))
    left = tmp_path / "o/_cache/.building-x"
    left.mkdir(parents=True)
    (left / "latents.npy").write_bytes(b"half")
    np.testing.assert_array_equal(load_latents(Committed.read(output)).values, clustered(50, 4))


def _length(output: str) -> int:
    return len(load_latents(Committed.read(output)))


def test_several_processes_at_once(tmp_path: Path) -> None:
    output = make_output(tmp_path / "o", clustered(5000, 16))
    with get_context("fork").Pool(3) as pool:
        assert pool.map(_length, [output] * 6) == [5000] * 6
    assert len(caches(tmp_path / "o/_cache")) == 1


def test_a_cache_elsewhere(tmp_path: Path) -> None:
    outputs = [make_output(tmp_path / name, clustered(9, 4, seed)) for seed, name in enumerate("ab")]
    for seed, output in enumerate(outputs):
        latents = load_latents(Committed.read(output), str(tmp_path / "cache"))
        np.testing.assert_array_equal(latents.values, clustered(9, 4, seed))
    assert len(caches(tmp_path / "cache")) == 2
    assert not (tmp_path / "a/_cache").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    output = make_output(tmp_path / "o", clustered(9, 4))
    (tmp_path / "o/_cache").write_text("a file")
    with pytest.raises(UsageError, match=r"_cache: the latents cannot be kept there .*; name another directory"):
        load_latents(Committed.read(output))


def test_a_table_that_is_not_the_manifests(tmp_path: Path) -> None:
    output = make_output(tmp_path / "o", clustered(9, 4))
    committed, file = Committed.read(output), tmp_path / "o/latents/u0.parquet"
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({"latentlake.fingerprint": "another"}), file)
    with pytest.raises(LatentlakeError, match="is not the table that the manifest names; wait for the run"):
        load_latents(committed)
    file.unlink()
    with pytest.raises(LatentlakeError, match="is not the table that the manifest names"):
        list(committed.batches())
    assert caches(tmp_path / "o/_cache") == []


def test_latents_of_other_shapes_are_refused_by_name(tmp_path: Path) -> None:
    output = make_output(tmp_path / "o", clustered(2, 4))
    file = tmp_path / "o/latents/u0.parquet"
    lists = pa.array([[1.0], [1.0, 2.0]], pa.list_(pa.float32()))
    table = pq.read_table(file)
    pq.write_table(table.set_column(3, "latent", lists), file)
    with pytest.raises(UsageError, match=r"has latents of type list<"):
        load_latents(Committed.read(output))


@pytest.mark.parametrize(
    "storage",
    [
        VectorStorage(type="float16", scaling_factor=0.5, shift_factor=0.25),
        VectorStorage(type="bfloat16"),
        VectorStorage(type="int8", scale=(0.1,), offset=(0.0,)),
        VectorStorage(type="binary", scale=(1.0,) * 12, offset=(0.0,) * 12),
    ],
    ids=lambda storage: storage.type,
)
def test_latents_of_smaller_numbers_are_read_as_they_were(tmp_path: Path, storage: VectorStorage) -> None:
    values = clustered(40, 12)
    latents = load_latents(Committed.read(make_output(tmp_path / "o", values, storage=storage)))
    np.testing.assert_array_equal(latents.values, storage.unpack(storage.pack(values)[0], 12))
    assert latents.values.dtype == np.float32
