"""A retry of rejects whose unit is run again after its files were replaced: no row is there twice, and none is lost."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.core.records import Unit
from lake.core.retry import Backoff
from lake.formats.common.parquet_table import TableWriter
from lake.storage import StoreOptions
from pipeline.config import Gate
from pipeline.job.prepare import Job
from pipeline.job.repair import retry_options
from pipeline.job.stage import begin
from pipeline.options.job_options import JobOptions
from pipeline.output.state.plan_files import read_units, unpack_unit
from pipeline.worker import run_unit as module
from pipeline.worker.run_unit import run_unit
from pipeline.worker.unit_input import read_unit
from tests.conftest import Model, png, write_parquet
from tests.faults.outputs import DATA
from tests.pipeline.conftest import run_job

GATE = Gate(max_reject_fraction=1)
SIZES = (8, 10, 8, 10, 10, 8, 0, 8)  # of images; 8 is the model's, and 0 is no image


@pytest.fixture(params=[SIZES, SIZES[:6] + SIZES[7:]], ids=["a reject stays", "none stays"])
def options(tmp_path: Path, model: Model, request: pytest.FixtureRequest) -> JobOptions:
    """Of a retry that gets all records of another size."""
    rng, sizes = np.random.default_rng(4), request.param
    images = [png(rng.integers(0, 256, (size, size), np.uint8)) if size else b"no image" for size in sizes]
    write_parquet(tmp_path / "in/a.parquet", images, range(len(images)))
    run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out", gate=GATE)
    return retry_options(str(tmp_path / "out"), {"resize": "crop"})


def only_unit(job: Job) -> Unit:
    (unit,) = [unpack_unit(data) for part in job.parts for data in read_units(part, StoreOptions())]
    return unit


def data(job: Job) -> dict[str, bytes]:
    found = (path for name in DATA for path in Path(job.config.output, name).rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in found}


def test_an_engine_that_starts_it_again(options: JobOptions) -> None:
    job = begin(options, ends_with_process=False)
    first = run_unit(only_unit(job), job.config)
    assert first.results == 7
    whole = data(job)
    again = run_unit(only_unit(job), job.config)
    assert (again.read, again.results, again.outputs) == (first.read, first.results, first.outputs)
    assert data(job) == whole


def test_a_disk_that_fails_before_the_receipt(options: JobOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has the new rows then, and the old rejects are there."""
    job = begin(options, ends_with_process=False)
    left, publish = [OSError(errno.EIO, "for a moment")], TableWriter.publish

    def published(table: TableWriter) -> Any:
        made = publish(table)
        if left:
            raise left.pop()
        return made

    monkeypatch.setattr(TableWriter, "publish", published)
    monkeypatch.setattr("lake.core.retry.TRANSIENT", Backoff(first=0, most=0, attempts=2))
    found = run_unit(only_unit(job), job.config)
    assert not left and found.results == 7
    torn = data(job)
    run_unit(only_unit(job), job.config)
    assert data(job) == torn


def test_two_workers_at_once(options: JobOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """One has replaced the files when the other, which has read some of them before, is about to."""
    job = begin(options, ends_with_process=False)
    found = list[Any]()
    opened = read_unit

    def read(*arguments: Any) -> Any:
        monkeypatch.setattr(module, "read_unit", opened)  # the other one's
        found.append(run_unit(only_unit(job), job.config))
        return opened(*arguments)

    monkeypatch.setattr(module, "read_unit", read)
    monkeypatch.setattr("lake.core.retry.TRANSIENT", Backoff(first=0, most=0, attempts=2))
    late = run_unit(only_unit(job), job.config)
    assert (late.read, late.results, late.outputs) == (found[0].read, found[0].results, found[0].outputs)
    assert late.results == 7
