"""Launchers that leave: who may, what they leave for the workers, and a commit that is called twice."""

import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import JobServerOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from lake.core.errors import HeldError, UsageError
from pipeline.beam.runners import detaches, makes_template, runner, with_processes, with_quick_server
from pipeline.cli.command import main
from pipeline.cli.summary import describe
from pipeline.config import Gate
from pipeline.job.prepare import Job
from pipeline.job.stage import begin
from pipeline.options.job_options import JobOptions
from pipeline.output.commit.commit import commit
from pipeline.output.commit.publish_state import check_complete
from pipeline.output.fencing import lease, lease_record
from pipeline.transforms import FailUnlessComplete, RunJob
from pipeline.worker.run_unit import run_unit
from tests.conftest import Model
from tests.faults.outputs import files

pytestmark = pytest.mark.slow  # jobs, or models, from end to end

FLINK = ["--runner=FlinkRunner", "--flink_master=jobmanager:8081"]
DATAFLOW = ["--runner=DataflowRunner", "--region=europe-west4"]


@pytest.fixture
def job(tmp_path: Path, shards: Path, model: Model) -> Job:
    """Begun, as a launcher that detaches does it."""
    source = shutil.copytree(shards, tmp_path / "in")
    asked = JobOptions(verb="encode", input=(str(source),), model=model.bundle, output=str(tmp_path / "out"))
    return begin(asked, ends_with_process=False)


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
        ([*FLINK, "--environment_type=EXTERNAL"], True, True),
        ([*FLINK, "--environment_type=DOCKER", "--artifacts_dir=gs://lake/staged"], True, True),
    ],
)
def test_who_leaves(arguments: list[str], detach: bool, left: bool) -> None:
    assert detaches(arguments, detach) is left


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (FLINK, "LOOPBACK"),
        ([*FLINK, "--environment_type=LOOPBACK"], "LOOPBACK"),
        ([*FLINK, "--environment_type=PROCESS"], "--environment_type=PROCESS needs an --artifacts_dir"),
        (["--runner=PortableRunner", "--job_endpoint=a:1", "--environment_type=LOOPBACK"], "LOOPBACK"),
        (["--runner=SparkRunner"], "with SparkRunner the job ends with this process"),
        (["--runner=FlinkRunner", "--flink_master=[local]"], "with FlinkRunner the job ends with this process"),
    ],
)
def test_who_does_not(arguments: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=re.escape(why)):
        detaches(arguments, True)
    assert detaches(arguments, False) is False


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


def test_a_job_server_is_compiled_once_unless_told_otherwise() -> None:
    assert with_quick_server(FLINK) == [*FLINK, "--job_server_jvm_properties=-XX:TieredStopAtLevel=1"]
    options = PipelineOptions(with_quick_server(FLINK)).view_as(JobServerOptions)
    assert options.job_server_jvm_properties == ["-XX:TieredStopAtLevel=1"]
    for own in ("--job_server_jvm_properties=-Xmx1g", "--job_server_jvm_property=-Xmx1g"):
        assert with_quick_server([*FLINK, own]) == [*FLINK, own]


def test_the_hold_lasts_until_the_workers_begin_and_then_as_ever(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    output, run = job.config.output, job.config.run
    now = time.time()
    lease.await_workers(output, run)
    monkeypatch.setattr(lease, "store_time", lambda _: now + 600)
    with pytest.raises(HeldError, match=r"whose workers have 126\d s to begin"):
        lease.check_free(output)
    lease.renew(output, run)
    monkeypatch.setattr(lease, "store_time", lambda _: now + 600 + lease_record.EXPIRY - 1)
    with pytest.raises(HeldError, match="last heard of 59 s ago"):
        lease.check_free(output)
    monkeypatch.setattr(lease, "store_time", lambda _: now + 600 + lease_record.EXPIRY + 1)
    assert lease.check_free(output) is False


def test_a_hold_whose_workers_never_begin_ends(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    lease.await_workers(job.config.output, job.config.run)
    with pytest.raises(HeldError, match=r"whose workers have 18[56]\d s to begin"):
        lease.check_free(job.config.output)
    monkeypatch.setattr(lease, "store_time", lambda _: now + lease_record.STARTUP + lease_record.EXPIRY + 1)
    assert lease.check_free(job.config.output) is False


def test_a_launcher_that_lost_its_hold_does_not_submit(job: Job) -> None:
    with pytest.raises(HeldError, match="no longer held"):
        lease.await_workers(job.config.output, "another")


def test_a_commit_that_is_called_again_gives_what_it_gave(job: Job) -> None:
    """An engine that lost the answer calls it again: the output, its summary and the next run's hold stay."""
    output = Path(job.config.output)
    receipts = [run_unit(unit, job.config) for unit in job.plan.todo]
    first = commit(job.config, Gate(), job.run, receipts)
    before = files(output)
    lease.acquire(str(output), "the next", ends_with_process=False)
    held = (output / "_hold").read_bytes()
    assert commit(job.config, Gate(), job.run, receipts) == json.loads(json.dumps(first))
    assert files(output) == before
    assert (output / "_hold").read_bytes() == held


def test_a_run_that_lost_its_hold_before_its_commit_does_not_commit(job: Job) -> None:
    receipts = [run_unit(unit, job.config) for unit in job.plan.todo]
    lease.release(job.config.output, job.config.run)
    with pytest.raises(HeldError, match="nobody holds it"):
        commit(job.config, Gate(), job.run, receipts)
    assert not (Path(job.config.output) / "_SUCCESS").exists()


@pytest.mark.parametrize("most", [0, 3])
def test_a_pipeline_fails_where_success_is_kept_back(job: Job, most: int) -> None:
    """Of three units that fail none is allowed, or all are."""
    for shard in job.found.shards:
        Path(shard.uri).touch()  # since it was planned: another one
    job = replace(job, options=replace(job.options, gate=Gate(max_failed_units=most)))
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
        "its pipeline ends with gs://lake/out/_SUCCESS, or fails and says why; how far it is: latentlake status "
        "gs://lake/out"
    )
    assert "its page: http://flink:8081/x\n" in describe(
        {**summary, "submitted": {**known, "page": "http://flink:8081/x"}}
    )
    named = {**summary, "submitted": {**known, "job": "2026-11-26_1"}}
    assert "to DataflowRunner as 2026-11-26_1\n" in describe(named)
