"""A Lance dataset of the tables of an output: their rows, one version for each change, mended by the next run."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import HeldError, UsageError
from lake.core.records import OutputFile
from pipeline.tables.lance import DATASET, FILE_COLUMN, LanceTable
from pipeline.tables.table import TableSpec, files_digest

SPEC = TableSpec(kind="lance")


def write(output: Path, name: str, count: int, seed: int, **said: str) -> OutputFile:
    """A table of latents, as a unit writes one."""
    rng = np.random.default_rng(seed)
    vector = pa.list_(pa.field("element", pa.float32(), nullable=False), 4)
    latents = pa.FixedSizeListArray.from_arrays(pa.array(rng.standard_normal(count * 4, np.float32)), type=vector)
    columns = {
        "key": pa.array([f"k{row}" for row in range(count)]),
        "shard": pa.array([f"{name}.tar"] * count).dictionary_encode(),
        "index": pa.array(range(count), pa.int64()),
        "latent": latents,
    }
    file = output / name
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(said), file)
    return OutputFile(name=name, size=file.stat().st_size, rows=count, crc32c=f"{seed:08x}")


def dataset_of(output: Path, **version: int) -> Any:
    """The dataset, as its readers open it."""
    import lance  # not with the module: it takes a second, and the tests of other modules fork

    return lance.dataset(output / DATASET, **version)


def publish(output: Path, files: list[OutputFile], run: str = "r") -> int:
    """The version that is the current one then."""
    made = LanceTable(SPEC, str(output)).publish(files, 0, run, lambda: None)
    assert made is not None and made == LanceTable(SPEC, str(output)).current()
    assert (made.run, made.digest) == (run, files_digest(files))
    assert [*LanceTable(SPEC, str(output)).problems(files)] == []
    assert rows_of(dataset_of(output).to_table()) == rows_of_files(output, files)
    return int(made.id)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.drop_columns(FILE_COLUMN).to_pylist(), key=lambda row: (row["shard"], row["index"]))


def rows_of_files(output: Path, files: list[OutputFile]) -> list[dict[str, Any]]:
    rows = [row for file in files for row in pq.read_table(output / file.name, partitioning=None).to_pylist()]
    return sorted(rows, key=lambda row: (row["shard"], row["index"]))


def test_a_version_for_each_change(tmp_path: Path) -> None:
    a, b, c = (write(tmp_path, f"latents/{name}.parquet", 5 + seed, seed) for seed, name in enumerate("abc"))
    assert publish(tmp_path, [a, b], "monday") == 1
    assert publish(tmp_path, [a, b], "monday") == 1  # a commit that is repeated
    assert publish(tmp_path, [a, b, c], "tuesday") == 2  # more
    again = write(tmp_path, "latents/a-2.parquet", 9, 7)
    assert publish(tmp_path, [again, b, c], "wednesday") == 3  # one is done again
    assert publish(tmp_path, [again, c], "thursday") == 4  # one is gone
    assert publish(tmp_path, [], "friday") == 5
    assert dataset_of(tmp_path, version=2).count_rows() == 18


def test_no_rows_are_no_dataset(tmp_path: Path) -> None:
    assert LanceTable(SPEC, str(tmp_path)).publish([], 0, "r", lambda: None) is None
    empty = write(tmp_path, "latents/a.parquet", 0, 0)
    assert LanceTable(SPEC, str(tmp_path)).publish([empty], 0, "r", lambda: None) is None
    assert not (tmp_path / DATASET).exists() and LanceTable(SPEC, str(tmp_path)).current() is None


def test_others_may_index_and_compact(tmp_path: Path) -> None:
    files = [write(tmp_path, f"latents/{seed}.parquet", 100, seed) for seed in range(4)]
    for count in range(1, 5):
        publish(tmp_path, files[:count])
    dataset = dataset_of(tmp_path)
    dataset.optimize.compact_files()
    dataset = dataset_of(tmp_path)
    dataset.create_index("latent", "IVF_FLAT", num_partitions=2)
    assert len(dataset_of(tmp_path).get_fragments()) == 1
    current = LanceTable(SPEC, str(tmp_path)).current()
    assert current is not None and current.id == "4"
    publish(tmp_path, [files[0], write(tmp_path, "latents/1-2.parquet", 50, 9), *files[2:]])
    assert len(dataset_of(tmp_path).describe_indices()) == 1
    query = np.array(pq.read_table(tmp_path / "latents/1-2.parquet")["latent"][3].as_py(), np.float32)
    nearest = dataset_of(tmp_path).to_table(nearest={"column": "latent", "q": query, "k": 1})
    assert (nearest["shard"][0].as_py(), nearest["index"][0].as_py()) == ("latents/1-2.parquet.tar", 3)


def test_two_writers_leave_each_row_once(tmp_path: Path) -> None:
    """Another run commits the same between this one's look at the dataset and its commit."""
    a, b = (write(tmp_path, f"latents/{name}.parquet", 6, seed) for seed, name in enumerate("ab"))
    publish(tmp_path, [a])
    others = iter([lambda: publish(tmp_path, [a, b], "other")])
    made = LanceTable(SPEC, str(tmp_path)).publish([a, b], 0, "mine", lambda: next(others, lambda: None)() and None)
    assert made is not None and rows_of(dataset_of(tmp_path).to_table()) == rows_of_files(tmp_path, [a, b])
    assert [*LanceTable(SPEC, str(tmp_path)).problems([a, b])] == []


def test_a_run_that_has_lost_the_output_changes_nothing(tmp_path: Path) -> None:
    a, b = (write(tmp_path, f"latents/{name}.parquet", 6, seed) for seed, name in enumerate("ab"))
    version = publish(tmp_path, [a])

    def lost() -> None:
        raise HeldError("lost")

    with pytest.raises(HeldError):
        LanceTable(SPEC, str(tmp_path)).publish([a, b], 0, "r", lost)
    assert dataset_of(tmp_path).version == version


def test_problems(tmp_path: Path) -> None:
    a, b = (write(tmp_path, f"latents/{name}.parquet", 6, seed) for seed, name in enumerate("ab"))
    table = LanceTable(SPEC, str(tmp_path))
    assert "is not there" in next(table.problems([a]))
    publish(tmp_path, [a, b])
    dataset_of(tmp_path).delete(f"{FILE_COLUMN} = 'latents/b.parquet' AND index > 1")
    (found,) = table.problems([a, b])
    assert "latents.lance has 2 rows of latents/b.parquet, and the manifest 6; remove the dataset" in found
    publish(tmp_path, [a, b])
    shutil.rmtree(tmp_path / DATASET)
    publish(tmp_path, [a, b])


def test_partitions_and_scales_come_along(tmp_path: Path) -> None:
    partition = {"latentlake.partition": "label=7", "latentlake.partition_type": "int64"}
    scale = {"latentlake.latent": json.dumps({"type": "float32", "scaling_factor": 2.0})}
    a = write(tmp_path, "latents/label=7/a.parquet", 3, 1, **partition, **scale)
    LanceTable(SPEC, str(tmp_path)).publish([a], 0, "r", lambda: None)
    dataset = dataset_of(tmp_path)
    assert dataset.to_table()["label"].to_pylist() == [7] * 3
    assert dataset.schema.metadata[b"latentlake.latent"].decode() == scale["latentlake.latent"]
    other = {"latentlake.latent": json.dumps({"type": "float32", "scaling_factor": 4.0})}
    a = write(tmp_path, "latents/label=7/a-2.parquet", 3, 2, **partition, **other)
    LanceTable(SPEC, str(tmp_path)).publish([a], 0, "r", lambda: None)
    assert dataset_of(tmp_path).schema.metadata[b"latentlake.latent"].decode() == other["latentlake.latent"]


@pytest.mark.parametrize(
    ("schema", "spec", "output", "error"),
    [
        ({"key": pa.string()}, SPEC, "s3://lake/out", "is in a store"),
        ({"key": pa.string()}, TableSpec(kind="lance", catalog="lake"), "out", "a directory of the output"),
        ({FILE_COLUMN: pa.string()}, SPEC, "out", "is called latentlake_file"),
        ({"x": pa.month_day_nano_interval()}, SPEC, "out", "'x' is month_day_nano_interval, which Lance does not have"),
    ],
)
def test_refused_by_name(schema: Mapping[str, pa.DataType], spec: TableSpec, output: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        LanceTable(spec, output).check(pa.schema(schema.items()), [])


def test_what_latents_are_made_of_fits() -> None:
    kinds = (pa.float32(), pa.float16(), pa.uint16(), pa.int8(), pa.uint8())
    lists = {f"latent_{kind}": pa.list_(kind, 8) for kind in kinds}
    more = {"shard": pa.dictionary(pa.int32(), pa.string()), "sha256": pa.binary(32), "latent": pa.list_(pa.float32())}
    LanceTable(SPEC, "out").check(pa.schema([*lists.items(), *more.items()]), [])
