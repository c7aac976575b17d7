"""No directory of an output is named like a column of its tables."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import InputError, UsageError
from pipeline.config import ImagesOut
from pipeline.job.table_names import check_directories
from tests.pipeline.values import COLUMNS, make_config, make_unit

NEW_SHARDS = ImagesOut(format="parquet", rewrite=False, image_format="lossless", quality=90, error_map=False)
DIRECTORIES = {  # below the input -> whether readers would take it for a column of the table
    "shard=0": True,
    "a/index=5/b": True,
    "label=0": True,
    "LABEL=0": True,
    "key=": True,
    "latent=x": True,
    "dt=2026-11-22": False,
    "labels=0": False,
    "label": False,
    "label%3D0": False,
    "psnr=3": False,  # encode has no such column
}


def agrees(root: Path, table: pa.Table) -> bool:
    """Whether four readers of a directory give what its one table holds, in the columns of the table."""
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow.dataset as ds

    read = {
        "duckdb": lambda: duckdb.sql(f"SELECT * FROM '{root}/**/*.parquet'").to_arrow_table().to_pylist(),
        "pandas": lambda: pd.read_parquet(root).to_dict("records"),
        "polars": lambda: pl.read_parquet(root).to_dicts(),
        "arrow": lambda: ds.dataset(root, partitioning="hive").to_table().to_pylist(),
    }
    (wanted,) = table.to_pylist()
    for reader in read.values():
        try:
            (row,) = reader()
        except (pa.ArrowException, TypeError):
            return False
        if any(str(row[name]) != str(value) for name, value in wanted.items() if name != "latent"):
            return False
        if len(row["latent"]) != 2:
            return False
    return True


@pytest.mark.parametrize(("directory", "taken"), DIRECTORIES.items())
def test_directories_that_readers_take_for_columns_are_refused(tmp_path: Path, directory: str, taken: bool) -> None:
    table = pa.table({"key": ["k"], "shard": ["s"], "index": [1], "latent": [[1.0, 2.0]], "label": [9]})
    (tmp_path / directory).mkdir(parents=True)
    pq.write_table(table, tmp_path / directory / "x.parquet")
    assert agrees(tmp_path, table) is not taken
    units = [make_unit("a/b"), make_unit(f"{directory}/x", f"{directory}/x.tar"), make_unit("label=3")]
    if taken:
        with pytest.raises(InputError, match=r"directory '\w+=.*named like a column.*--input of a job of its own"):
            check_directories(make_config(), units)
    else:
        check_directories(make_config(), units)


@pytest.mark.parametrize(
    ("directory", "changes"),
    [
        ("reason=x", {}),
        ("psnr=3", {"verb": "reconstruct"}),
        ("height=3", {"verb": "denoise"}),
        ("latent_variance=3", {"variance": True}),
        ("image=3", {"verb": "decode", "images": NEW_SHARDS}),
        ("source_key=3", {"columns": replace(COLUMNS, carry=pa.schema([("key", pa.int64())]))}),
    ],
)
def test_columns_of_every_table_count(directory: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="named like a column"):
        check_directories(make_config(**changes), [make_unit(f"{directory}/x")])
    if changes:
        check_directories(make_config(), [make_unit(f"{directory}/x")])


def test_the_output_itself_has_no_such_name() -> None:
    with pytest.raises(UsageError, match="--output /lake/label=0/out: 'label=0' is named like a column"):
        check_directories(make_config("/lake/label=0/out"), [])
    check_directories(make_config("/lake/dt=0/out"), [])
