"""Processes beside this one give what this one would, and end without a trace."""

import io
import logging
import os
import signal
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lake.core.container import Limits
from lake.core.counters import TALLY
from lake.core.errors import HeldError
from lake.core.records import Unit
from lake.storage import StoreOptions
from pipeline.beam import processes
from pipeline.beam.processes import with_processes_beside
from pipeline.config import JobConfig
from pipeline.job.prepare import Job, prepare
from pipeline.job.stage import begin
from pipeline.options.job_options import JobOptions
from pipeline.output.fencing.lease import release
from pipeline.output.state.plan_files import read_units, unpack_unit
from pipeline.output.units.receipts import Receipt
from pipeline.worker import apart
from pipeline.worker.beside import BESIDE
from pipeline.worker.run_unit import run_anew, run_unit
from tests.conftest import Model
from tests.pipeline.beam.test_launch import data_files
from tests.pipeline.conftest import run_job


@pytest.fixture
def options(tmp_path: Path, shards: Path, model: Model) -> JobOptions:
    return JobOptions(verb="encode", input=[str(shards)], model=str(model.bundle), output=str(tmp_path / "out"))


@pytest.fixture
def job(options: JobOptions) -> Iterator[Job]:
    job = begin(options, ends_with_process=True)
    yield job
    release(job.config.output, job.config.run)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of two cores, where the least is worth a process."""
    for name, value in (("cores", lambda: 2), ("_WORTH", 1), ("_WORTH_BYTES", 1), ("_UNITS", 1)):
        monkeypatch.setattr(processes, name, value)


def units(job: Job) -> dict[str, Unit]:
    found = [unpack_unit(data) for part in job.parts for data in read_units(part, StoreOptions())]
    return {unit.id: unit for unit in found}


@pytest.mark.usefixtures("two_cores")
def test_a_job_of_two_processes_has_the_bytes_of_one(
    tmp_path: Path, encoded: Path, shards: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, run = list[str](), apart.UnitProcess.run

    def noted(process: apart.UnitProcess, unit: Unit, config: JobConfig) -> Receipt:
        ran.append(unit.id)
        return run(process, unit, config)

    monkeypatch.setattr(apart.UnitProcess, "run", noted)
    before = TALLY.counts
    summary = run_job("encode", shards, model.bundle, tmp_path / "out")
    assert 1 <= len(ran) < 3
    assert data_files(tmp_path / "out") == data_files(encoded)
    assert summary["run"]["read"] == TALLY.counts.read - before.read == 1797
    assert TALLY.counts.units - before.units == 3
    assert TALLY.counts.running_bytes == before.running_bytes
    assert BESIDE.count == 0


@pytest.mark.usefixtures("two_cores")
def test_processes_are_for_small_images_and_much_work(options: JobOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(**other: Any) -> tuple[int | None, int]:
        job, found = with_processes_beside(prepare(replace(options, **other)))
        return job.config.threads, found

    assert count() == (1, 1)
    assert count(threads=2) == (2, 0)
    assert count(executor="tensorflow") == (None, 0)
    for name, value in (("_UNITS", 2), ("_WORTH", 1797 // 2 + 1), ("SHORT", 63), ("cores", lambda: 1)):
        with monkeypatch.context() as patch:
            patch.setattr(processes, name, value)
            assert count() == (None, 0), name
    monkeypatch.setattr(processes, "limits", lambda: Limits(cpus=None, memory=processes._MEMORY))
    assert count() == (None, 0)


@pytest.mark.usefixtures("two_cores")
def test_work_is_told_by_records_and_else_by_bytes(
    tmp_path: Path, options: JobOptions, digit_files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def count() -> int:
        return with_processes_beside(prepare(options))[1]

    monkeypatch.setattr(processes, "_WORTH", 1797 // 2)
    monkeypatch.setattr(processes, "_WORTH_BYTES", 1 << 30)
    assert count() == 1  # by the footers of Parquet
    sizes = [_packed(tmp_path / f"tars/{number}.tar.gz", digit_files[:50]) for number in range(2)]
    options = replace(options, input=[str(tmp_path / "tars")])
    monkeypatch.setattr(processes, "_WORTH_BYTES", sum(sizes))
    assert count() == 0
    monkeypatch.setattr(processes, "_WORTH_BYTES", sum(sizes) // 2)
    assert count() == 1


def _packed(shard: Path, files: list[bytes]) -> int:
    """Write images to a compressed tar, which does not tell how many there are; return its size."""
    shard.parent.mkdir(exist_ok=True)
    with tarfile.open(shard, "w:gz") as archive:
        for number, data in enumerate(files):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return shard.stat().st_size


def test_a_unit_is_tried_again_when_its_process_is_killed(job: Job) -> None:
    unit = next(iter(units(job).values()))
    wanted = run_anew(unit, job.config)
    before = TALLY.counts
    with BESIDE.started(1, job.config):
        os.kill(BESIDE._all[0]._process.pid, signal.SIGKILL)
        found = run_unit(unit, job.config)
        assert run_unit(unit, job.config).outputs == found.outputs  # here, for there is no process any more
    assert (found.outputs, found.read, found.error) == (wanted.outputs, wanted.read, None)
    assert TALLY.counts.read - before.read == 2 * wanted.read


def test_a_unit_that_ends_its_processes_fails_by_name(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_PROGRAM", "tests.faults.poison")
    monkeypatch.setenv("POISON", unit := next(iter(units(job))))
    before = TALLY.counts
    with BESIDE.started(1, job.config):
        receipt = run_unit(units(job)[unit], job.config)
    assert receipt.error is not None
    assert receipt.error.startswith(f"{unit}: it has ended its process twice, by SIGKILL; ")
    assert (receipt.outputs, TALLY.counts.read) == ((), before.read)


def test_what_is_raised_and_logged_there_is_raised_and_logged_here(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    unit = next(iter(units(job).values()))
    caplog.set_level(logging.DEBUG, "pipeline")
    release(job.config.output, job.config.run)
    with BESIDE.started(1, replace(job.config, model_digest="0" * 64)), pytest.raises(HeldError, match="nobody holds"):
        run_unit(unit, job.config)
    assert "warming up failed" in caplog.text


def test_processes_end_with_the_block(job: Job) -> None:
    with BESIDE.started(2, job.config):
        started = BESIDE._all
        assert all(process._process.poll() is None for process in started)
    assert all(process._process.returncode == -signal.SIGKILL for process in started)
