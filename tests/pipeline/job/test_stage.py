"""From a checked job to one that workers can begin: the output is held, and what they need is written."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lake.core.errors import HeldError, InputError
from lake.storage import StoreOptions
from model.bundle import Bundle
from pipeline.config import options_digest
from pipeline.job import prepare as prepare_module
from pipeline.job import stage as module
from pipeline.job.prepare import Job, prepare
from pipeline.job.stage import begin, stage
from pipeline.options.job_options import Scope
from pipeline.options.kept_options import options_to_json
from pipeline.output.fencing.lease import acquire, release
from pipeline.output.layout import Layout
from pipeline.output.state.job_file import read_job_file, settled_schema
from pipeline.output.state.plan_files import read_obsolete, read_units, unpack_unit
from pipeline.output.units.receipts import read_receipts
from tests.pipeline.job.conftest import Place, write_shard
from tests.pipeline.job.test_prepare import finish


def holder(place: Place) -> dict[str, Any] | None:
    path = place.output / "_hold"
    return json.loads(path.read_text()) if path.exists() else None


def units(job: Job) -> list[str]:
    read = (read_units(part, StoreOptions()) for part in job.parts)
    return [unpack_unit(data).id for lines in read for data in lines]


def files(place: Place) -> list[str]:
    return sorted(path.relative_to(place.output).as_posix() for path in place.output.rglob("*") if path.is_file())


def test_the_large_units_come_first(place: Place) -> None:
    write_shard(place.source / "large.parquet", 900)
    job = begin(place.options(), ends_with_process=True)
    assert units(job) == ["large", "a", "b"]
    assert [unit.id for unit in job.plan.units] == ["a", "b", "large"]


def test_what_workers_need(place: Place) -> None:
    options = place.options(threads=3)
    job = begin(options, ends_with_process=True)
    digest = job.bundle.digest
    assert files(place) == [
        "_hold",
        "_job.json",
        f"_model/{digest}/golden.npz",
        f"_model/{digest}/model.json",
        f"_model/{digest}/model.keras",
        f"_plan/{job.config.run}/part-00000.jsonl",
        f"_plan/{job.config.run}/run.json",
    ]
    assert Bundle.open(job.config.model).digest == digest
    assert units(job) == ["a", "b"]
    found = read_job_file(str(place.output))
    assert found is not None
    assert found["settings"] == options_to_json(options)
    assert found["options_digest"] == options_digest(job.config)
    assert settled_schema(found, job.selection) == job.config.columns
    held = holder(place)
    assert held is not None
    assert held["run"] == job.config.run
    assert held["place"] != ""


def test_a_launcher_that_leaves_is_no_sign_of_life(place: Place) -> None:
    begin(place.options(), ends_with_process=False)
    held = holder(place)
    assert held is not None
    assert held["place"] == ""


def test_a_run_that_holds_the_output_is_not_disturbed(place: Place) -> None:
    acquire(str(place.output), "other", ends_with_process=True)
    before = files(place)
    with pytest.raises(HeldError, match="in use by run other"):
        begin(place.options(), ends_with_process=True)
    assert files(place) == before


def test_where_nothing_is_to_be_done_nothing_is_written(place: Place) -> None:
    finish(place, place.options())
    before = {name: (place.output / name).stat().st_mtime_ns for name in files(place)}
    job = begin(place.options(), ends_with_process=True)
    assert job.nothing_to_do
    assert {name: (place.output / name).stat().st_mtime_ns for name in files(place)} == before


def test_what_is_wrong_is_said_before_anything_is_written(place: Place) -> None:
    with pytest.raises(InputError):
        begin(place.options(input=(str(place.source / "none"),)), ends_with_process=True)
    assert not place.output.exists()


def test_success_does_not_stand_while_a_run_writes(place: Place) -> None:
    finish(place, place.options())
    write_shard(place.source / "c.parquet")
    job = begin(place.options(), ends_with_process=True)
    assert units(job) == ["c"]
    assert not (place.output / "_SUCCESS").exists()
    assert (place.output / "_manifest.parquet").exists()


def left(place: Place, run: str = "dead") -> None:
    """A hold of a run that died: its process has ended."""
    acquire(str(place.output), run, ends_with_process=True)
    path = place.output / "_hold"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"born": "0"}))


def test_after_a_run_that_died_is_tidied_up(place: Place) -> None:
    finish(place, place.options())
    left(place)
    job = begin(place.options(), ends_with_process=True)
    assert job.run.tidy
    assert not job.nothing_to_do
    assert not (place.output / "_SUCCESS").exists()
    held = holder(place)
    assert held is not None
    assert held["run"] == job.config.run


def test_after_a_run_that_ended_well_is_not(place: Place) -> None:
    finish(place, place.options())
    write_shard(place.source / "c.parquet")
    assert not begin(place.options(), ends_with_process=True).run.tidy


def when_taken(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Something happens between the plan and the moment when the output is held."""
    known = module.acquire

    def late(*args: Any, **named: Any) -> bool:
        act()
        return known(*args, **named)

    monkeypatch.setattr(module, "acquire", late)


def test_a_plan_that_is_out_of_date_is_made_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shard(place.source / "c.parquet")
    options = place.options()
    (place.source / "c.parquet").rename(place.source.parent / "c.parquet")

    def other_run() -> None:
        finish(place, options)
        write_shard(place.source / "c.parquet")

    when_taken(monkeypatch, other_run)
    job = begin(options, ends_with_process=True)
    assert units(job) == ["c"], "the other run has done the rest"
    held = holder(place)
    assert held is not None
    assert held["run"] == job.config.run


def test_what_another_run_has_done_meanwhile_is_not_done_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    when_taken(monkeypatch, lambda: finish(place, place.options()))
    job = begin(place.options(), ends_with_process=True)
    assert job.nothing_to_do
    assert holder(place) is None, "it lets go of what it does not need"
    assert (place.output / "_SUCCESS").exists()


@pytest.mark.parametrize("where", ["stage", "prepare"])
def test_a_job_that_cannot_begin_lets_go_of_its_output(
    place: Place, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    def other_run() -> None:
        finish(place, place.options(), success=False)
        monkeypatch.setattr(module, where, fail)

    when_taken(monkeypatch, other_run)
    with pytest.raises(KeyboardInterrupt):
        begin(place.options(), ends_with_process=True)
    assert holder(place) is None


def test_a_plan_of_many_units_has_several_parts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        write_shard(place.source / f"n{number}.parquet")
    for name in (module, prepare_module):
        monkeypatch.setattr(name, "UNITS_PER_PART", 3)
    job = begin(place.options(), ends_with_process=True)
    assert [len([*read_units(part, StoreOptions())]) for part in job.parts] == [3, 3, 1]
    assert units(job) == ["a", "b", *(f"n{number}" for number in range(5))]


def test_units_that_are_given_up_are_written_down(place: Place) -> None:
    finish(place, place.options())
    (place.source / "b.parquet").unlink()
    job = begin(place.options(scope=Scope(prune=True)), ends_with_process=True)
    assert read_obsolete(job.run.obsolete) == {"b"}
    assert job.parts == []


def test_units_that_are_done_anew_count_as_not_done_until_they_are(place: Place) -> None:
    """A repair that dies must not leave a damaged file that the manifest calls good."""
    finish(place, place.options())
    job = begin(place.options(scope=Scope(redo=frozenset({"b"}))), ends_with_process=True)
    assert units(job) == ["b"]
    (receipt,) = read_receipts(Layout(str(place.output))).values()
    assert (receipt.unit, receipt.fingerprint, receipt.error) == ("b", "", "to be done again")
    release(str(place.output), job.config.run)
    assert [unit.id for unit in prepare(place.options()).plan.todo] == ["b"]


def test_a_retry_leaves_how_the_output_was_made(place: Place) -> None:
    begun = begin(place.options(), ends_with_process=True)
    before = (place.output / "_job.json").read_bytes()
    job = prepare(place.options(max_pixels=7, retry_policies={"max_pixels": 5}, overwrite=True))
    stage(replace(job, config=replace(job.config, run=begun.config.run)))
    assert (place.output / "_job.json").read_bytes() == before
    job = prepare(place.options(max_pixels=7, overwrite=True))
    stage(replace(job, config=replace(job.config, run=begun.config.run)))
    assert (place.output / "_job.json").read_bytes() != before


def test_a_copy_of_the_model_that_stands_is_kept(place: Place) -> None:
    job = begin(place.options(), ends_with_process=True)
    path = Path(job.config.model, "model.keras")
    before = path.stat().st_mtime_ns
    stage(job)
    assert path.stat().st_mtime_ns == before
