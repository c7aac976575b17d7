"""Other people's tools open an output and see the same values."""

from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.conftest import Pixels


@pytest.fixture(scope="module")
def latents(encoded: Path) -> Pixels:
    return np.stack([np.asarray(row, np.float32) for row in pq.read_table(encoded / "latents")["latent"].to_pylist()])


def test_pyarrow_dataset(encoded: Path, latents: Pixels) -> None:
    table = ds.dataset(encoded / "latents").to_table(filter=ds.field("label") == 3)
    labels = pq.read_table(encoded / "latents")["label"].to_numpy()
    np.testing.assert_array_equal(np.stack(table["latent"].to_numpy()), latents[labels == 3])


def test_duckdb(encoded: Path, latents: Pixels) -> None:
    import duckdb

    rows = duckdb.sql(
        f'SELECT latent, shard, "index" FROM \'{encoded}/latents/**/*.parquet\' ORDER BY shard, "index"'
    ).fetchall()
    np.testing.assert_array_equal(np.array([row[0] for row in rows], np.float32), latents)


def test_pandas(encoded: Path, latents: Pixels) -> None:
    import pandas as pd

    frame = pd.read_parquet(encoded / "latents")
    np.testing.assert_array_equal(np.stack(frame["latent"].to_list()), latents)
    assert frame["shard"].value_counts().to_dict() == {
        "a/train-0.parquet": 700,
        "a/train-1.parquet": 300,
        "b/train-2.parquet": 797,
    }


def test_polars(encoded: Path, latents: Pixels) -> None:
    import polars as pl

    frame = pl.read_parquet(f"{encoded}/latents/**/*.parquet")
    np.testing.assert_array_equal(frame["latent"].to_numpy(), latents)


def test_lance(encoded: Path, latents: Pixels, tmp_path: Path) -> None:
    import lance

    copy = lance.write_dataset(ds.dataset(encoded / "latents"), tmp_path / "copy.lance")
    assert np.array_equal(np.stack(copy.to_table(columns=["latent"])["latent"].to_numpy()), latents)
    assert copy.count_rows("label = 3") == 183


@pytest.mark.filterwarnings("ignore")  # its own, while it is imported
def test_datasets(encoded: Path, latents: Pixels, tmp_path: Path) -> None:
    from datasets import load_dataset

    files = sorted(str(path) for path in (encoded / "latents").rglob("*.parquet"))
    loaded = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    np.testing.assert_array_equal(np.array(loaded["latent"], np.float32), latents)
    assert loaded.features["latent"].length == 16
