"""The commit range by range as steps of a pipeline: a whole job, and what ends a run in between."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.beam import range_steps
from pipeline.beam.range_steps import CommitRanges, KeyByRange
from pipeline.output.commit import ranges
from pipeline.output.commit.run import Run
from pipeline.output.fencing.stop import Stop
from pipeline.output.manifest import manifest, manifest_cutter, manifest_parts
from pipeline.output.manifest.manifest import read_manifest
from tests.conftest import Model, Pixels
from tests.pipeline.conftest import run_job
from tests.pipeline.output.commit.test_range_commit import FIRST, Night, Output, commit_once, receipts, told

_SEEN = list[dict[str, Any]]()


def keep(summary: dict[str, Any]) -> None:
    _SEEN.append(summary)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of about four units, and at most eight; ranges where more than eight units change."""
    for module in (manifest, manifest_cutter, ranges):
        monkeypatch.setattr(module, "PART_UNITS", 8)
    monkeypatch.setattr(manifest_parts, "_ENDS", 4)
    monkeypatch.setattr(range_steps, "RECEIPTS", 3)
    monkeypatch.setattr(range_steps, "_HELD", 20)
    _SEEN.clear()


def files(output: Path) -> dict[str, bytes]:
    """All files, but for summaries and the job file, in which times and places are."""
    paths = (path for path in output.rglob("*") if path.is_file())
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in paths
        if path.name not in ("_SUCCESS", "summary.json", "_job.json")
    }


def test_a_job_of_many_units_leaves_what_one_task_commits(
    tmp_path: Path, model: Model, digits: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for number, image in enumerate(digits[:30]):
        np.save(tmp_path / f"in/{number:02d}.npy", image[None])
    found = run_job("encode", tmp_path / "in", model.bundle, tmp_path / "ranges")
    monkeypatch.setattr(ranges, "PART_UNITS", 10**6)
    expected = run_job("encode", tmp_path / "in", model.bundle, tmp_path / "one")
    assert files(tmp_path / "ranges") == files(tmp_path / "one")
    assert len(files(tmp_path / "one")) > 33, "30 tables, a root and its parts"
    assert (found["complete"], found["total"]) == (True, expected["total"])


def committed(output: Output, night: Night, run: Run, *more: str) -> dict[str, Any]:
    """The summary of a pipeline that is given receipts."""
    lines = [*more, *(receipt.to_json() for receipt in night.fresh)]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        step = CommitRanges(output.config, night.gate, run, None)
        _ = pipeline | beam.Create(lines) | beam.Reshuffle() | step | "Keep" >> beam.Map(keep)
    (summary,) = _SEEN
    return summary


def test_receipts_come_to_their_ranges(tmp_path: Path) -> None:
    one, other = Output(tmp_path / "one"), Output(tmp_path / "other")
    expected = commit_once(one, FIRST)
    assert told(committed(other, FIRST, other.begin(FIRST))) == told(expected)
    assert other.files() == one.files()


def test_a_stop_of_a_worker_ends_the_run(tmp_path: Path) -> None:
    output = Output(tmp_path / "out")
    run = output.begin(FIRST)
    night = replace(FIRST, fresh=FIRST.fresh[:50])
    summary = committed(output, night, run, Stop(stop="the disk is full", exit_status=1).to_line())
    assert summary["stopped"] == {"stop": "the disk is full", "exit_status": 1}
    assert read_manifest(output.layout) == {}


def test_what_a_range_meets_ends_a_run_that_its_engine_starts_again(tmp_path: Path) -> None:
    output = Output(tmp_path / "out")
    run = output.begin(FIRST)
    output.config = replace(output.config, restarts=True)
    wrong = replace(FIRST.fresh[77], results=99)
    summary = committed(output, replace(FIRST, fresh=[*FIRST.fresh[:77], wrong, *FIRST.fresh[78:]]), run)
    assert summary["stopped"]["stop"].startswith("unit 077: 80 records read, but 99 results")
    assert read_manifest(output.layout) == {}


def test_few_receipts_wait_for_others(tmp_path: Path) -> None:
    """Of all ranges together: there may be a thousand."""
    output = Output(tmp_path / "out")
    output.begin(FIRST)
    step = KeyByRange(output.config)
    step.start_bundle()
    given = receipts(range(120))
    keyed = [pair for receipt in given for pair in step.process(receipt.to_json())]
    waiting = [pair.value for pair in step.finish_bundle()]
    assert len(waiting) < 20
    found = [one.unit for _, block in (*keyed, *waiting) for one in range_steps._receipts([block])]
    assert sorted(found) == [receipt.unit for receipt in given]
