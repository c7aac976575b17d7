"""What a worker logs of each unit."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline import EncodeShards
from pipeline.beam.steps import RunUnits
from pipeline.job.stage import begin
from pipeline.options.job_options import JobOptions
from pipeline.worker import process
from pipeline.worker.process import close_worker
from tests.conftest import Model


def test_a_line_of_json_for_every_unit(
    tmp_path: Path, shards: Path, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    """By the names and to the values of Beam's counters."""
    caplog.set_level(logging.INFO, "pipeline.beam.steps")
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | EncodeShards(input=[str(shards)], model=model.bundle, output=str(tmp_path / "out"))
    result = pipeline.run()
    result.wait_until_finish()
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == "pipeline.beam.steps"]
    assert sorted(line["unit"] for line in lines) == ["a/train-0", "a/train-1", "b/train-2"]
    assert all(line["error"] is None and line["seconds"] > 0 for line in lines)
    found = result.metrics().query(MetricsFilter().with_namespace("latentlake"))["counters"]
    counters = {counter.key.metric.name: counter.result for counter in found}
    assert counters == {name: sum(line[name] for line in lines) for name in counters}
    assert counters["records_read"] == 1797


def test_the_model_is_loaded_before_the_first_unit(tmp_path: Path, shards: Path, model: Model) -> None:
    """A bundle that cannot be loaded is left to the unit, whose error is reported."""
    options = JobOptions(verb="encode", input=(str(shards),), model=model.bundle, output=str(tmp_path / "out"))
    config = begin(options, ends_with_process=True).config
    for wanted in (config, replace(config, model=str(tmp_path / "none"), model_digest="0" * 64)):
        step = RunUnits(wanted)
        step.setup()
        step.teardown()
        assert (wanted.of_worker in process._workers) is (wanted is config)
    close_worker(*config.of_worker)
