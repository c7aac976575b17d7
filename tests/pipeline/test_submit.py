"""Launchers that leave: who may, what they leave for the workers, and a commit that is called twice."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline import hold
from pipeline.cli import main
from pipeline.commit import Gate, commit
from pipeline.config import Verb
from pipeline.errors import HeldError
from pipeline.job import Job, begin
from pipeline.settings import Settings
from pipeline.submit import leaves, makes_template, runner, with_processes
from pipeline.summary import check_complete, describe
from pipeline.transforms import FailUnlessComplete, RunJob
from pipeline.unit import run_unit
from tests.conftest import Model
from tests.faults.outputs import files

DATAFLOW = ["--runner=DataflowRunner", "--region=europe-west4"]


@pytest.fixture
def job(tmp_path: Path, shards: Path, model: Model) -> Job:
    """Begun, as a launcher that leaves does it."""
    source = shutil.copytree(shards, tmp_path / "in")
    asked = Settings(verb=Verb.ENCODE, input=(str(source),), model=model.bundle, output=str(tmp_path / "out"))
    return begin(asked, ends_here=False)


@pytest.mark.parametrize(
    ("arguments", "detach", "left"),
    [
        ([], False, False),
        (DATAFLOW, False, False),
        (DATAFLOW, True, True),
        ([*DATAFLOW, "--template_location=gs://lake/t"], False, True),
        (["--template_location=gs://lake/t"], False, False),
        (["--runner", "apache_beam.runners.DataflowRunner", "--template_location", "gs://lake/t"], False, True),
        (["--runner=PortableRunner", "--job_endpoint=flink:8099"], True, True),
        (["--runner=PortableRunner", "--job_endpoint=flink:8099"], False, False),
    ],
)
def test_who_leaves(arguments: list[str], detach: bool, left: bool) -> None:
    assert leaves(arguments, detach) is left


@pytest.mark.parametrize("arguments", [[], ["--runner=FlinkRunner"], ["--runner=FnApiRunner"]])
def test_a_job_that_ends_with_its_launcher_is_not_left(
    arguments: list[str], tmp_path: Path, shards: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--input", str(shards), "--model", model.bundle, "--output", str(tmp_path / "out"), "--detach"]
    assert main(["encode", *words, *arguments]) == 2
    assert f"error: --detach: with {runner(arguments) or 'no --runner'} the job ends" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_options_that_beam_refuses_are_wrong_use(
    tmp_path: Path, shards: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--input", str(shards), "--model", model.bundle, "--output", str(tmp_path / "out")]
    assert main(["encode", *words, "--runner=NoSuchRunner"]) == 2
    assert "error: Beam refuses its options: Unexpected pipeline runner: NoSuchRunner" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_dataflow_has_one_process_for_a_machine_unless_told_otherwise() -> None:
    alone = ["--experiments=no_use_multiple_sdk_containers", "--number_of_worker_harness_threads=2"]
    assert with_processes(DATAFLOW, None) == [*DATAFLOW, *alone]
    assert with_processes(DATAFLOW, 1) == DATAFLOW
    named = [*DATAFLOW, "--experiments=use_multiple_sdk_containers", "--number_of_worker_harness_threads=4"]
    assert with_processes(named, None) == named
    assert with_processes(["--runner=FlinkRunner"], None) == ["--runner=FlinkRunner"]
    assert makes_template(DATAFLOW) is False


def test_the_hold_lasts_until_the_workers_begin_and_then_as_ever(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    output, run = job.config.output, job.config.run
    now = time.time()
    hold.await_workers(output, run)
    monkeypatch.setattr(time, "time", lambda: now + 600)
    with pytest.raises(HeldError, match=r"whose workers have 126\d s to begin"):
        hold.check_free(output)
    hold.beat(output, run)
    monkeypatch.setattr(time, "time", lambda: now + 600 + hold.EXPIRY - 1)
    with pytest.raises(HeldError, match="last heard of 59 s ago"):
        hold.check_free(output)
    monkeypatch.setattr(time, "time", lambda: now + 600 + hold.EXPIRY + 1)
    assert hold.check_free(output) is False


def test_a_hold_whose_workers_never_begin_ends(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    hold.await_workers(job.config.output, job.config.run)
    with pytest.raises(HeldError, match=r"whose workers have 18[56]\d s to begin"):
        hold.check_free(job.config.output)
    monkeypatch.setattr(time, "time", lambda: now + hold.STARTUP + hold.EXPIRY + 1)
    assert hold.check_free(job.config.output) is False


def test_a_launcher_that_lost_its_hold_does_not_submit(job: Job) -> None:
    with pytest.raises(HeldError, match="no longer held"):
        hold.await_workers(job.config.output, "another")


def test_a_commit_that_is_called_again_gives_what_it_gave(job: Job) -> None:
    """An engine that lost the answer calls it again: the output, its summary and the next run's hold stay."""
    output = Path(job.config.output)
    receipts = [run_unit(unit, job.config) for unit in job.plan.todo]
    first = commit(job.config, Gate(), job.run, receipts)
    before = files(output)
    hold.take(str(output), "the next", ends_here=False)
    held = (output / "_hold").read_bytes()
    assert commit(job.config, Gate(), job.run, receipts) == json.loads(json.dumps(first))
    assert files(output) == before
    assert (output / "_hold").read_bytes() == held


def test_a_run_that_lost_its_hold_before_its_commit_does_not_commit(job: Job) -> None:
    receipts = [run_unit(unit, job.config) for unit in job.plan.todo]
    hold.release(job.config.output, job.config.run)
    with pytest.raises(HeldError, match="nobody holds it"):
        commit(job.config, Gate(), job.run, receipts)
    assert not (Path(job.config.output) / "_SUCCESS").exists()


@pytest.mark.parametrize("most", [0, 3])
def test_a_pipeline_fails_where_success_is_kept_back(job: Job, most: int) -> None:
    """Of three units that fail none is allowed, or all are."""
    for shard in job.found.shards:
        Path(shard.uri).touch()  # since it was planned: another one
    job = replace(job, settings=replace(job.settings, gate=Gate(max_failed_units=most)))
    pipeline = beam.Pipeline(runner=FnApiRunner())
    pipeline | RunJob(job) | FailUnlessComplete()
    if most:
        pipeline.run().wait_until_finish()
    else:
        with pytest.raises(Exception, match=r"out has no _SUCCESS: 3 failed units, 0 allowed"):
            pipeline.run().wait_until_finish()
    assert (Path(job.config.output) / "_SUCCESS").exists() is bool(most)


def test_what_is_said_of_a_job_that_goes_on() -> None:
    known = {"run": "20261126T010203Z-abcdef", "units": 1234, "runner": "DataflowRunner", "job": None}
    summary = {"complete": None, "output": "gs://lake/out", "submitted": known}
    check_complete(summary)
    assert describe(summary) == (
        "submitted: run 20261126T010203Z-abcdef, 1,234 units, to DataflowRunner\n"
        "its pipeline ends with gs://lake/out/_SUCCESS, or fails and says why"
    )
    named = {**summary, "submitted": {**known, "job": "2026-11-26_1"}}
    assert "to DataflowRunner as 2026-11-26_1\n" in describe(named)
