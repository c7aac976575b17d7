"""Tables in partitions through whole jobs: the rows of the plain tables, by every reader, and the laws of an output."""

import shutil
from pathlib import Path
from typing import Any

import duckdb
import lance
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from lake.core.errors import InputError, OutputError, UsageError
from lake.formats.common.hive import NULL
from pipeline.beam.launch import launch
from pipeline.config import Gate
from pipeline.explore.output import Output
from pipeline.job.prepare import prepare
from pipeline.job.repair import repair_options, retry_options
from pipeline.options.job_options import JobOptions
from pipeline.output.verify import verify
from tests.conftest import Model, Pixels, png
from tests.pipeline.conftest import run_job

# Values that would be paths, patterns, parts of a URI or controls of a terminal, and one of another script.
TEXTS = ["../../up", "/etc", "a=b", "50%", "%2F", "a b", "..", "_x", "*[?]{}", "\x1b[2J\n", "żółw", "a:b#c'\"\\^", "+&"]


@pytest.fixture(scope="module")
def partitioned(tmp_path_factory: pytest.TempPathFactory, shards: Path, model: Model) -> Path:
    """The digits' latents by their label."""
    output = tmp_path_factory.mktemp("partitioned") / "out"
    summary = run_job("encode", shards, model.bundle, output, partition_by="label")
    assert (summary["complete"], summary["total"]["results"]) == (True, 1797)
    return output


def write_shard(path: Path, digits: Pixels, by: pa.Array, **damaged: bytes) -> None:
    """A Parquet shard of digits with a column ``by``; of ``damaged`` the names are ``at_<row>``."""
    images = [damaged.get(f"at_{row}", png(digit)) for row, digit in enumerate(digits[: len(by)])]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": pa.array(images, pa.binary()), "by": by}), path)


def in_order(table: pa.Table, by: str = "label") -> dict[str, Any]:
    """Identity, partition and latents of all rows, in the order of the source."""
    table = table.set_column(table.schema.get_field_index("shard"), "shard", table.column("shard").cast(pa.string()))
    order = [("shard", "ascending"), ("index", "ascending")]
    return table.select(["shard", "index", "key", by, "latent"]).sort_by(order).to_pydict()


def tables(output: Path) -> dict[str, bytes]:
    """The files of latents, by name."""
    files = (output / "latents").rglob("*.parquet")
    return {str(file.relative_to(output / "latents")): file.read_bytes() for file in files}


def test_files(partitioned: Path, encoded: Path) -> None:
    units = ("a/train-0", "a/train-1", "b/train-2")
    assert sorted(tables(partitioned)) == [f"label={label}/{unit}.parquet" for label in range(10) for unit in units]
    plain = pq.read_schema(encoded / "latents/a/train-0.parquet").names
    names = pq.read_schema(partitioned / "latents/label=7/a/train-0.parquet").names
    assert names == [name for name in plain if name != "label"]
    assert verify(str(partitioned), deep=True).problems == ()


def test_every_reader_finds_the_rows_of_the_plain_tables(partitioned: Path, encoded: Path, tmp_path: Path) -> None:
    wanted = in_order(Output(encoded).table.to_table())
    assert in_order(Output(partitioned).table.to_table()) == wanted
    assert Output(partitioned).table.schema.field("label").type == pa.int64()
    dataset = ds.dataset(partitioned / "latents", partitioning="hive")
    assert in_order(dataset.to_table()) == wanted
    assert in_order(lance.write_dataset(dataset, tmp_path / "copy.lance").to_table()) == wanted
    files = f"{partitioned}/latents/**/*.parquet"
    assert in_order(duckdb.sql(f"FROM read_parquet('{files}', hive_partitioning = true)").to_arrow_table()) == wanted
    assert in_order(pl.scan_parquet(files, hive_partitioning=True).collect().to_arrow()) == wanted
    assert in_order(pa.table(pd.read_parquet(partitioned / "latents"))) == wanted


def test_questions_have_the_answers_of_plain_tables(partitioned: Path, encoded: Path) -> None:
    one, other = Output(partitioned), Output(encoded)
    key = other.latents().keys[5].as_py()
    near = [
        output.similar(key=key, k=5).table.select(["shard", "index", "distance"]).to_pylist() for output in (one, other)
    ]
    assert near[0] == near[1]
    committed = one._committed
    assert committed.column_table(["label"]).column("label").type == pa.int64()
    assert sorted(committed.column_table(["label"]).column("label").to_pylist()) == sorted(
        other._committed.column_table(["label"]).column("label").to_pylist()
    )


def test_any_value_is_a_name_below_the_output(digits: Pixels, model: Model, tmp_path: Path) -> None:
    values = [*TEXTS, None, "", NULL, *TEXTS]
    write_shard(tmp_path / "in/a.parquet", digits, pa.array(values))
    output = tmp_path / "deep/out"
    run_job("encode", tmp_path / "in", model.bundle, output, partition_by="by")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "in"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert all(name.isprintable() and name.count("/") == 1 and name.startswith("by=") for name in tables(output))
    assert len(tables(output)) == len(TEXTS) + 1  # of null, the empty text and the name of null there is one
    wanted = [None if value in ("", NULL) else value for value in values]
    assert in_order(Output(output).table.to_table(), "by")["by"] == wanted
    assert in_order(ds.dataset(output / "latents", partitioning="hive").to_table(), "by")["by"] == wanted
    assert verify(str(output), deep=True).problems == ()
    files = f"{output}/latents/**/*.parquet"
    assert (
        in_order(duckdb.sql(f"FROM read_parquet('{files}', hive_partitioning = true)").to_arrow_table(), "by")["by"]
        == wanted
    )
    assert in_order(pl.scan_parquet(files, hive_partitioning=True).collect().to_arrow(), "by")["by"] == wanted


def test_a_unit_that_is_done_again_replaces_all_of_its_files(digits: Pixels, model: Model, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    write_shard(source / "a.parquet", digits, pa.array(["x", "y", "x"]))
    write_shard(source / "b.parquet", digits, pa.array(["y", "z"]))
    run_job("encode", source, model.bundle, output, partition_by="by")
    before = tables(output)
    assert sorted(before) == ["by=x/a.parquet", "by=y/a.parquet", "by=y/b.parquet", "by=z/b.parquet"]
    assert run_job("encode", source, model.bundle, output, partition_by="by")["run"]["units"] == 0
    write_shard(source / "a.parquet", digits, pa.array(["z", "y", "y", "y"]))
    assert run_job("encode", source, model.bundle, output, partition_by="by")["run"]["units"] == 1
    assert sorted(tables(output)) == ["by=y/a.parquet", "by=y/b.parquet", "by=z/a.parquet", "by=z/b.parquet"]
    assert tables(output)["by=y/b.parquet"] == before["by=y/b.parquet"]
    assert verify(str(output), deep=True).problems == ()
    with pytest.raises(OutputError, match=r"partition_by by -> None"):
        run_job("encode", source, model.bundle, output)
    run_job("encode", source, model.bundle, output, overwrite=True)
    assert sorted(tables(output)) == ["a.parquet", "b.parquet"]


@pytest.mark.slow
def test_retry_and_repair(digits: Pixels, model: Model, tmp_path: Path) -> None:
    source, output, gate = tmp_path / "in", tmp_path / "out", Gate(max_reject_fraction=1)
    large = png(np.kron(digits[1], np.ones((2, 2), np.uint8)))
    write_shard(source / "a.parquet", digits, pa.array(["x", "y", "x", "x"]), at_1=large)
    first = run_job("encode", source, model.bundle, output, partition_by="by", gate=gate)
    assert first["total"]["rejects"] == 1 and sorted(tables(output)) == ["by=x/a.parquet"]
    again = launch(retry_options(str(output), {"resize": "stretch"}), [])
    assert again["total"]["results"] == 4 and sorted(tables(output)) == ["by=x/a.parquet", "by=y/a.parquet"]
    assert verify(str(output), deep=True).problems == ()
    whole = tables(output)
    (output / "latents/by=x/a.parquet").write_bytes(whole["by=y/a.parquet"])
    (found,) = {problem.unit for problem in verify(str(output)).problems}
    assert "its partition is 'by=y', but its name says 'by=x'" in verify(str(output)).describe()
    launch(repair_options(verify(str(output))), [])
    assert found == "a" and verify(str(output), deep=True).problems == ()


@pytest.mark.slow
def test_images_are_found_by_their_rows(digits: Pixels, model: Model, tmp_path: Path) -> None:
    """Images of a unit lie in the order of the source, and rows in that of partitions."""
    write_shard(tmp_path / "in/a.parquet", digits, pa.array(["x", "y", "x", "y", "z"]), at_2=b"no image")
    options: dict[str, Any] = {"output_format": "parquet", "gate": Gate(max_reject_fraction=1)}
    found = []
    for name, by in (("out", "by"), ("plain", None)):
        run_job("reconstruct", tmp_path / "in", model.bundle, tmp_path / name, partition_by=by, **options)
        output = Output(tmp_path / name)
        keys = sorted(output.table.to_table()["key"].to_pylist())
        found.append({key: np.array(image).tolist() for key, image in output.images(keys).items()})
    assert found[0] == found[1] and len(found[0]) == 4
    assert verify(str(tmp_path / "out"), deep=True).problems == ()


def test_too_many_values_fail_their_unit(
    digits: Pixels, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.worker.partitioned_table.MOST_PARTITIONS", 3)
    write_shard(tmp_path / "in/a.parquet", digits, pa.array([1, 2, 3, 4]))
    write_shard(tmp_path / "in/b.parquet", digits, pa.array([1, 2, 3, 3]))
    write_shard(tmp_path / "in/c.parquet", digits, pa.array([5, 5]))
    gate = Gate(max_failed_units=1)
    summary = run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out", partition_by="by", gate=gate)
    (failed,) = summary["failed"]
    assert failed["unit"] == "a" and "more than 3 values of 'by'" in failed["error"]
    assert sorted(tables(tmp_path / "out")) == ["by=1/b.parquet", "by=2/b.parquet", "by=3/b.parquet", "by=5/c.parquet"]


@pytest.mark.parametrize(
    ("by", "more", "error"),
    [
        ("label", {"latent_format": "mds"}, (UsageError, "--partition-by is of tables, and mds")),
        ("la/bel", {}, (UsageError, "a directory is named after it")),
        ("nothing", {}, (InputError, "set --partition-by to")),
        ("image", {}, (InputError, "directories are named after texts, integers")),
    ],
)
def test_refused_by_name(
    shards: Path, model: Model, tmp_path: Path, by: str, more: dict[str, Any], error: tuple[type[Exception], str]
) -> None:
    options = JobOptions(
        verb="encode", input=(str(shards),), model=model.bundle, output=str(tmp_path / "out"), partition_by=by, **more
    )
    with pytest.raises(error[0], match=error[1]):
        prepare(options)


def test_a_directory_of_the_columns_name_is_refused(shards: Path, model: Model, tmp_path: Path) -> None:
    shutil.copytree(shards / "a", tmp_path / "in/label=3")
    options = JobOptions(
        verb="encode",
        input=(str(tmp_path / "in"),),
        model=model.bundle,
        output=str(tmp_path / "out"),
        partition_by="label",
    )
    with pytest.raises(InputError, match="named like a column"):
        prepare(options)
