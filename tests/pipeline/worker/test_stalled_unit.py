"""A unit from its description to its receipt, with a lease that nobody but its worker renews."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lake.core.errors import HeldError, LatentlakeError, UnfinishedError
from lake.storage import StoreOptions
from pipeline.beam.launch import launch
from pipeline.config import Gate
from pipeline.job.stage import begin
from pipeline.options.job_options import JobOptions
from pipeline.output.fencing import lease, lease_record
from pipeline.output.fencing.lease import acquire
from pipeline.output.state.plan_files import read_units, unpack_unit
from pipeline.output.verify import verify
from pipeline.worker import run_unit as module
from pipeline.worker.reject_limit import RejectLimit
from pipeline.worker.run_unit import run_unit
from tests.conftest import Model, write_parquet
from tests.pipeline.values import make_config


def test_a_shard_that_stalls_for_longer_than_the_lease_keeps_its_output(
    tmp_path: Path, shards: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWAL", 0.05)
    monkeypatch.setattr(lease_record, "EXPIRY", 0.5)
    output, read = str(tmp_path / "out"), module.read_unit
    options = JobOptions(verb="encode", input=(str(shards),), model=model.bundle, output=output)
    job = begin(options, ends_with_process=False)

    def stalled(*arguments: Any) -> Iterator[Any]:
        for batch in read(*arguments):
            time.sleep(1.5)
            with pytest.raises(HeldError, match=f"in use by run {job.config.run}"):
                acquire(output, "another", ends_with_process=False)
            yield batch

    monkeypatch.setattr(module, "read_unit", stalled)
    unit = unpack_unit(next(read_units(job.parts[0], StoreOptions())))
    receipt = run_unit(unit, job.config)
    assert (receipt.error, receipt.rejected) == (None, 0)
    assert receipt.results == receipt.read > 0


@pytest.mark.parametrize("threads", [1, 4])
def test_the_rejects_of_a_unit_have_a_budget(tmp_path: Path, model: Model, threads: int) -> None:
    """Whatever the batches, the first ones are kept as they are; all have a row."""
    files = [b"junk %d " % number * 100 for number in range(2000)]
    write_parquet(tmp_path / "in/a.parquet", files, range(len(files)))
    options = JobOptions(
        verb="encode",
        input=(str(tmp_path / "in"),),
        model=model.bundle,
        output=str(tmp_path / "out"),
        gate=Gate(max_reject_fraction=1.0),
        reject_bytes=600,
        reject_budget=100_000,
        threads=threads,
    )
    summary = launch(options, [])
    assert summary["options"]["reject_budget"] == 100_000
    table = pq.read_table(tmp_path / "out/rejects/a.parquet").to_pylist()
    kept, room = [], 100_000
    for data in (file[:600] for file in files):
        kept.append(data if len(data) <= room else None)
        room -= len(data) if len(data) <= room else 0
    assert [row["data"] for row in table] == kept
    assert all(row["data_truncated"] for row in table)
    assert verify(str(tmp_path / "out"), deep=True).problems == ()


def test_a_run_stops_where_its_output_can_no_longer_be_complete(
    tmp_path: Path, model: Model, digit_files: list[bytes]
) -> None:
    write_parquet(tmp_path / "in/a.parquet", digit_files[:300], range(300))
    write_parquet(tmp_path / "in/b.parquet", [*digit_files[:10], *[b"junk"] * 20_000], range(20_010))
    options = JobOptions(
        verb="encode",
        input=(str(tmp_path / "in"),),
        model=model.bundle,
        output=str(tmp_path / "out"),
        expect_records="20310",
        threads=1,
    )
    says = r"[12],\d{3} records were rejected so far, [12],\d{3} of them as unknown_format, and 1,000 may be"
    with pytest.raises(LatentlakeError, match=says) as caught:
        launch(options, [])
    assert caught.value.exit_status == 3
    assert not (tmp_path / "out/_SUCCESS").exists()
    allowed = replace(options, gate=Gate(max_reject_fraction=0.99))
    summary = launch(allowed, [])
    assert summary["complete"]
    assert summary["total"]["reasons"] == {"unknown_format": 20_000}


def test_a_unit_that_runs_again_is_counted_once() -> None:
    limit, config = RejectLimit(), make_config(reject_limit=5)
    for _ in range(10):
        limit.forget(config, "a")
        limit.add(config, "a", ["wrong_size"] * 4)
    limit.add(config, "b", ["empty_image"])
    limit.add(make_config(reject_limit=5, run="another"), "a", ["wrong_size"] * 5)
    limit.add(make_config(reject_limit=None, run="third"), "a", ["wrong_size"] * 50)
    with pytest.raises(UnfinishedError, match="6 records were rejected so far, 4 of them as wrong_size, and 5 may be"):
        limit.add(config, "b", ["empty_image"])
