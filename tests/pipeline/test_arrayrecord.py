"""Latents as ArrayRecord through a job, read as Grain reads them: by number, across files, by other processes."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import UsageError
from pipeline.job.prepare import prepare
from pipeline.options.job_options import JobOptions
from pipeline.output.verify import verify
from tests.conftest import Model, write_parquet
from tests.lake.formats.arrayrecord.samples import sample
from tests.pipeline.conftest import run_job

COUNT = 60


@pytest.fixture
def source(digit_files: list[bytes], tmp_path: Path) -> Path:
    """Two shards in a directory, with a record that is no image."""
    files = [*digit_files[:COUNT]]
    files[7] = b"no image"
    for at in range(2):
        write_parquet(tmp_path / f"in/a/train-{at}.parquet", files[at * 30 : at * 30 + 30], range(30))
    return tmp_path / "in"


def test_records_are_the_rows_of_the_table(source: Path, model: Model, tmp_path: Path) -> None:
    # The class that Grain's data source is made of.
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    tables, cache = tmp_path / "tables/latents", tmp_path / "cache/latents"
    for output, format in ((tables.parent, "parquet"), (cache.parent, "arrayrecord")):
        options = {"latent_format": format, "latent_type": "int8", "gate": {"max_reject_fraction": 0.1}}
        run_job("encode", source, model.bundle, output, **options)
    assert verify(str(cache.parent), deep=True).problems == ()
    names = [f"a/train-{at}" for at in range(2)]
    assert sorted(str(file.relative_to(cache)) for file in cache.rglob("*.*")) == [
        f"{name}{suffix}" for name in names for suffix in (".arrayrecord", ".json")
    ]
    found = [pq.read_table(tables / f"{name}.parquet") for name in names]
    for table, name in zip(found, names, strict=True):
        said = json.loads((cache / f"{name}.json").read_text())
        assert json.loads(said["latentlake.latent"])["scale"] == _scale(table)
        assert said["latentlake.unit"] == name and said["latentlake.fingerprint"]
    rows = pa.concat_tables(found).to_pylist()
    records: ArrayRecordDataSource = ArrayRecordDataSource([cache / f"{name}.arrayrecord" for name in names])
    assert len(records) == len(rows) == COUNT - 1
    places = np.random.default_rng(0).permutation(len(rows)).tolist()
    for place, record in zip(places, pickle.loads(pickle.dumps(records)).__getitems__(places), strict=True):
        values, row = sample(record), rows[place]
        np.testing.assert_array_equal(values["latent"].reshape(-1), np.array(row["latent"], np.int8))
        assert [values[name] for name in ("key", "shard", "index", "label")] == [
            row[name] for name in ("key", "shard", "index", "label")
        ]


def _scale(table: pa.Table) -> list[float]:
    scale: list[float] = json.loads(table.schema.metadata[b"latentlake.latent"])["scale"]
    return scale


def test_what_is_damaged_is_found(source: Path, model: Model, tmp_path: Path) -> None:
    options = {"latent_format": "arrayrecord", "gate": {"max_reject_fraction": 0.1}}
    run_job("encode", source, model.bundle, tmp_path / "out", **options)
    file = tmp_path / "out/latents/a/train-1.arrayrecord"
    whole = file.read_bytes()
    file.write_bytes(file.with_name("train-0.arrayrecord").read_bytes())
    assert len(file.read_bytes()) == len(whole), "whose size tells nothing"
    (found,) = verify(str(tmp_path / "out")).problems
    assert found.unit == "a/train-1" and found.problem.startswith("its fingerprint is ")
    for name, at in (("train-1.arrayrecord", 5000), ("train-1.json", 50)):
        data = file.with_name(name).read_bytes() if name.endswith("json") else whole
        file.write_bytes(whole)
        file.with_name(name).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert {found.unit for found in verify(str(tmp_path / "out"), deep=True).problems} == {"a/train-1"}


def test_a_job_does_not_start_without_the_library(
    source: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "array_record.python", None)
    options = JobOptions(
        verb="encode",
        input=(str(source),),
        model=model.bundle,
        output=str(tmp_path / "out"),
        latent_format="arrayrecord",
    )
    with pytest.raises(UsageError, match=r"pip install 'latentlake\[arrayrecord\]', also on workers"):
        prepare(options)
    assert not (tmp_path / "out").exists()
