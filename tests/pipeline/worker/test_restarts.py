"""A job that its engine starts again: units that are done give the receipt that they left."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lake.core.records import Unit
from lake.storage import StoreOptions
from pipeline.job.prepare import Job
from pipeline.job.stage import begin
from pipeline.options.job_options import JobOptions, Scope
from pipeline.output.layout import Layout
from pipeline.output.state.plan_files import read_units, unpack_unit
from pipeline.output.units import receipts as receipts_module
from pipeline.output.units.receipts import Receipt, write_receipt
from pipeline.worker import run_unit as module
from pipeline.worker.run_unit import run_unit
from pipeline.worker.unit_outputs import _BEING_REPLACED
from tests.conftest import Model


@pytest.fixture
def job(tmp_path: Path, shards: Path, model: Model) -> Job:
    """Staged for an engine."""
    options = JobOptions(verb="encode", input=(str(shards),), model=model.bundle, output=str(tmp_path / "out"))
    return begin(options, ends_with_process=False)


def units(job: Job) -> list[Unit]:
    found = [unpack_unit(data) for part in job.parts for data in read_units(part, StoreOptions())]
    return sorted(found, key=lambda unit: unit.id)


def files(job: Job) -> dict[str, tuple[int, int]]:
    """What units have written: each file with its inode and time."""
    found = [p for d in ("latents", "_receipts") for p in Path(job.config.output, d).rglob("*") if p.is_file()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def test_what_is_done_is_not_done_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not even looked at, and no model is loaded for it."""
    first, second, third = units(job)
    left = [run_unit(unit, job.config) for unit in (first, second)]
    before = files(job)
    with monkeypatch.context() as patched:
        patched.setattr(module, "worker_for", None)
        assert [run_unit(unit, job.config) for unit in (first, second)] == left
    assert files(job) == before
    assert run_unit(third, job.config).results == 797


def test_a_table_is_on_the_disk_before_its_receipt(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that loses its power may lose the receipt, but never has one without its files."""
    run_unit(units(job)[0], job.config)  # which makes directories
    happened, sync, publish = list[str](), os.fsync, Path.replace

    def fsync(handle: int) -> None:
        happened.append("sync " + Path(f"/proc/self/fd/{handle}").readlink().name.partition("-")[0])
        sync(handle)

    def replace_by(path: Path, target: Path) -> Path:
        happened.append(f"publish {target.suffix}")
        return publish(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace_by)
    unit = units(job)[1]
    run_unit(unit, job.config)
    mark, receipt, directory = "publish .json", "publish .json", Path("latents", unit.id).parent.name
    assert happened == [mark, "sync .latentlake", "publish .parquet", f"sync {directory}", receipt]


@pytest.mark.parametrize("torn", [b"", b"\0" * 300])
def test_a_receipt_that_a_loss_of_power_has_torn_makes_its_unit_be_done_again(job: Job, torn: bytes) -> None:
    first = units(job)[0]
    receipt = Path(Layout(job.config.output).receipt(first.id))
    run_unit(first, job.config)
    whole = receipt.read_bytes()
    receipt.write_bytes(torn)
    run_unit(first, job.config)
    assert receipt.read_bytes().splitlines()[:8] == whole.splitlines()[:8]


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "of another model"},
        {"error": "is damaged"},
        {"error": _BEING_REPLACED},
        {"unit": "another"},
        {"read": 699},
    ],
    ids=str,
)
def test_what_is_no_result_is_done_again(job: Job, changes: dict[str, Any]) -> None:
    first = replace(units(job)[0], expected=700)
    done = run_unit(first, job.config)
    layout = Layout(job.config.output)
    other = replace(done, **changes)
    receipt = Path(layout.receipt(first.id))
    write_receipt(layout, other)
    if other.unit != first.id:
        Path(layout.receipt(other.unit)).replace(receipt)
    before = files(job)
    again = run_unit(first, job.config)
    assert (again.results, again.outputs) == (700, done.outputs)
    assert files(job).items().isdisjoint({(str(receipt), before[str(receipt)])})


def test_a_damaged_receipt_is_none(job: Job) -> None:
    first = units(job)[0]
    run_unit(first, job.config)
    Path(Layout(job.config.output).receipt(first.id)).write_bytes(b"{")
    assert run_unit(first, job.config).results == 700


def test_rejects_are_tried_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fingerprint of a retry is that of the first try."""
    first = units(job)[0]
    run_unit(first, job.config)
    tried = list[str]()
    monkeypatch.setattr(module, "run_anew", lambda unit, _: tried.append(unit.id) or Receipt(unit="", fingerprint=""))
    run_unit(replace(first, retry_rejects=True), job.config)
    assert tried == [first.id]


def test_a_unit_that_verification_found_damaged_is_done_once_more_and_not_twice(
    tmp_path: Path, shards: Path, model: Model
) -> None:
    redo = Scope(redo=frozenset(["a/train-0"]))
    options = JobOptions(verb="encode", input=(str(shards),), model=model.bundle, output=str(tmp_path / "out"))
    for unit in units(job := begin(options, ends_with_process=False)):
        run_unit(unit, job.config)
    Path(job.config.output, "_hold").unlink()
    job = begin(replace(options, scope=redo), ends_with_process=False)
    (unit,) = units(job)
    before = files(job)
    run_unit(unit, job.config)
    done = files(job)
    assert done != before
    run_unit(unit, job.config)
    assert files(job) == done


def test_a_run_of_this_process_asks_for_no_receipt(
    tmp_path: Path, shards: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody starts it again, and every request costs."""
    options = JobOptions(verb="encode", input=(str(shards),), model=model.bundle, output=str(tmp_path / "out"))
    job = begin(options, ends_with_process=True)
    monkeypatch.setattr(receipts_module, "_read_receipt", None)
    assert [run_unit(unit, job.config).error for unit in units(job)] == [None] * 3
