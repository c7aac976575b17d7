"""Units on their way through a worker: in which order they come, what is logged of each."""

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp

from lake.core.records import Unit
from pipeline import EncodeShards
from pipeline.beam import steps
from pipeline.beam.steps import RunUnits, units_of
from pipeline.config import JobConfig
from pipeline.job.stage import begin
from pipeline.options.job_options import JobOptions
from pipeline.output.state.plan_files import unit_line, unpack_unit, write_lines
from pipeline.output.units.receipts import Receipt
from pipeline.worker import process
from pipeline.worker.process import close_worker
from tests.conftest import Model
from tests.pipeline.values import make_config, make_receipt, make_shard, make_unit

WHEN = Timestamp(0), GlobalWindow()


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
        assert (wanted.worker_key in process._workers) is (wanted is config)
    close_worker(config.worker_key)


def test_a_large_unit_does_not_keep_the_next_one_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of two units at once, one may be long at work."""
    last_begins, waited = threading.Event(), list[bool]()

    def run(unit: Unit, _: object) -> Receipt:
        if unit.id == "large":
            waited.append(last_begins.wait(20))
        if unit.id == "last":
            last_begins.set()
        return make_receipt(unit.id)

    monkeypatch.setattr(steps, "run_or_stop", run)
    monkeypatch.setattr(steps, "warm", lambda _: None)
    names = ["large", "small", "next", "last"]
    step, config = RunUnits(make_config()), make_config()
    step.setup()
    step.start_bundle()
    receipts = [receipt for unit in packed(names, tmp_path, config) for receipt in step.process(unit, *WHEN)]
    receipts += step.finish_bundle()
    step.teardown()
    assert waited == [True]
    assert sorted(json.loads(receipt.value)["unit"] for receipt in receipts) == sorted(names)


def packed(names: list[str], place: Path, config: JobConfig, workers: int = 1) -> list[bytes]:
    sizes = [1000 << 20 if name == "large" else 1 for name in names]
    units = [make_unit(name, shards=(make_shard(name, size=size),)) for name, size in zip(names, sizes, strict=True)]
    write_lines(str(place / "part"), map(unit_line, units))
    return [*units_of(str(place / "part"), config, workers)]


def test_where_elements_are_dealt_in_turn_a_worker_with_enough_to_do_gets_none(tmp_path: Path) -> None:
    dealt = packed(["large", "b", "c", "d"], tmp_path, make_config(), workers=2)
    assert [unit and unpack_unit(unit).id for unit in dealt] == ["large", "b", b"", "c", b"", "d"]
    step = RunUnits(make_config())
    assert [*step.process(b"", *WHEN)] == []
