"""What a job would do, counted by hand."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lake.core import sealed_json
from lake.core.records import Unit
from lake.storage import put
from pipeline.cli.plan_text import describe_plan, plan_value
from pipeline.config import JobConfig, fingerprint, options_digest
from pipeline.job.forecast import Forecast, forecast
from pipeline.job.plan import make_plan
from pipeline.job.prepare import prepare_with_receipts
from pipeline.options.job_options import Scope
from pipeline.output.layout import Layout
from pipeline.output.units.receipts import Receipt
from tests.conftest import write_parquet
from tests.pipeline.job.conftest import Place, write_shard
from tests.pipeline.job.test_trial import image
from tests.pipeline.values import make_config, make_file, make_found, make_receipt, make_shard, make_unit

RUN = "20261128T210000Z-abcdef"
PLAIN = Scope()


def done(config: JobConfig, *units: Unit, read: int = 3, **changes: Any) -> dict[str, Receipt]:
    """Receipts of units that are done."""
    made = {"options": options_digest(config), "read": read} | changes
    return {unit.id: make_receipt(unit.id, **({"fingerprint": fingerprint(unit, config)} | made)) for unit in units}


def told(config: JobConfig, receipts: dict[str, Receipt], *paths: str, scope: Scope = PLAIN) -> Forecast:
    plan = make_plan(make_found(*paths), config, receipts, scope)
    left = SimpleNamespace(summaries=frozenset([RUN]))
    return forecast(SimpleNamespace(plan=plan, config=config, state=SimpleNamespace(left=left)), receipts)  # type: ignore[arg-type]


def commit(config: JobConfig, **run: Any) -> None:
    """Leave the summary of a run of 100 records in 4 s, after 6 s of start-up."""
    begin = time.time() - 3600
    ran = {"id": RUN, "read": 100, "started": begin, "first_result": begin + 6, "ended": begin + 10, "retry": False}
    total = {"units": 1, "read": 1, "results": 1, "rejects": 0, "reasons": {}, "output_bytes": 1}
    summary = {
        "complete": True,
        "refused": [],
        "verb": config.verb,
        "output": config.output,
        "model_digest": config.model_digest,
        "total": total,
        "examples": {},
        "options": config.options(),
        "run": ran | run,
    }
    put(Layout(config.output).summary(RUN), sealed_json.dumps(summary))


def counts(found: Forecast, row: str) -> tuple[int, int | None, int | None, bool, int | None]:
    value = found.rows[row]
    return value.units, value.shards, value.records, value.exact, value.bytes


def test_what_is_new_changed_unchanged_and_vanished(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    receipts = done(config, make_unit("a"), make_unit("gone"), read=30) | done(config, make_unit("b"), fingerprint="x")
    found = told(config, receipts, "a.tfrecord", "b.tfrecord", "c.tfrecord", "d.tfrecord")
    assert counts(found, "unchanged") == (1, 1, 30, True, 10)
    assert counts(found, "changed") == (1, 1, 30, False, 10), "as many for each byte as in the unchanged unit"
    assert counts(found, "new") == (2, 2, 60, False, 20)
    assert counts(found, "vanished") == (1, None, 30, True, None)
    assert counts(found, "dropped") == (0, None, 0, True, None)
    assert (found.todo.units, found.todo.records, found.todo.bytes) == (3, 90, 30)
    assert (found.all.units, found.all.records, found.all.bytes) == (4, 120, 40)
    pruned = told(config, receipts, "a.tfrecord", "b.tfrecord", scope=Scope(prune=True))
    assert (counts(pruned, "vanished")[0], counts(pruned, "dropped")[0]) == (0, 1)


def test_a_shard_that_is_cut_counts_once(tmp_path: Path) -> None:
    config, shards = make_config(tmp_path), (make_shard("big.parquet", size=1000),)
    units = [Unit(id=f"big-{n}", format="parquet", shards=shards, start=10 * n, stop=10 * n + 10) for n in range(4)]
    plan = SimpleNamespace(units=units, todo=units[1:], obsolete=["old"], vanished=[])
    receipts = done(config, units[0], read=10) | {"old": make_receipt("old", read=40)}
    left = SimpleNamespace(summaries=frozenset())
    job: Any = SimpleNamespace(plan=plan, config=config, state=SimpleNamespace(left=left))
    found = forecast(job, receipts)
    assert counts(found, "new") == (3, 1, 30, True, 1000)
    assert counts(found, "unchanged") == (1, 1, 10, True, 1000)
    assert (found.all.shards, found.all.records, found.all.bytes) == (1, 40, 1000)
    assert counts(found, "dropped") == (1, None, 40, True, None)


def test_only_rejects_are_tried_again(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    receipts = done(config, make_unit("a"), rejects={"wrong_size": 1}) | done(config, make_unit("b"))
    found = told(config, receipts, "a.tfrecord", "b.tfrecord", scope=Scope(retry_rejects=True))
    assert (counts(found, "retried")[0], counts(found, "unchanged")[0]) == (1, 1)


def test_shards_that_have_all_changed_hold_what_they_held(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    receipts = done(config, make_unit("a"), make_unit("b"), fingerprint="x", read=50)
    commit(config)
    found = told(config, receipts, "a.tfrecord", "b.tfrecord", "c.tfrecord")
    assert counts(found, "changed") == (2, 2, 100, False, 20)
    assert counts(found, "new") == (1, 1, 50, False, 10)
    assert found.estimate is not None
    assert found.estimate.seconds == pytest.approx(6 + 150 / 25)


def test_nothing_tells_the_records_of_a_first_run(tmp_path: Path) -> None:
    found = told(make_config(tmp_path), {}, "a.tfrecord", "b.tfrecord")
    assert counts(found, "new") == (2, 2, None, False, 20)
    assert found.estimate is None


def test_time_and_size_are_those_of_the_last_run(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    receipts = done(config, make_unit("a"), read=50, outputs=(make_file("latents/a.parquet", size=2000),))
    paths = ("a.tfrecord", "b.tfrecord", "c.tfrecord")
    assert told(config, receipts, *paths).estimate is None
    commit(config)
    found = told(config, receipts, *paths).estimate
    assert found is not None
    assert (found.startup, found.rate, found.run) == (6.0, 25.0, RUN)
    assert found.seconds == pytest.approx(6 + 100 / 25)
    assert found.output_bytes == 4000
    assert told(config, receipts, "a.tfrecord").estimate is None, "nothing is to be done"


def test_an_ensemble_takes_as_many_times_as_long(tmp_path: Path) -> None:
    plain, config = make_config(tmp_path), make_config(tmp_path, ensemble=8)
    receipts = done(config, make_unit("a"), read=50)
    rates = []
    for last in (plain, make_config(tmp_path, ensemble=4), config):
        commit(last)
        found = told(config, receipts, "a.tfrecord", "b.tfrecord").estimate
        assert found is not None
        rates.append(found.rate)
    assert rates == [25 / 8, 25 / 2, 25]


@pytest.mark.parametrize(
    "other", [{"read": 0}, {"first_result": None}, {"retry": True}, {"id": 5}, {"ended": "yesterday"}]
)
def test_a_run_that_says_nothing_is_no_measure(tmp_path: Path, other: dict[str, Any]) -> None:
    config = make_config(tmp_path)
    receipts = done(config, make_unit("a"))
    commit(config, **other)
    assert told(config, receipts, "a.tfrecord", "b.tfrecord").estimate is None
    commit(make_config(tmp_path, model_digest="other"))
    assert told(config, receipts, "a.tfrecord", "b.tfrecord").estimate is None, "of another model"


def test_a_plan_for_a_person(place: Place) -> None:
    shutil.rmtree(place.source)
    for name, rows in (("a", 9), ("b\x1b[2J", 4)):
        write_shard(place.source / f"{name}.parquet", rows)
    job, receipts = prepare_with_receipts(place.options())
    assert receipts == {}
    value = plan_value(place.options())
    assert json.loads(json.dumps(value)) == value
    assert (value["todo"], value["table"]["new"]["records"], value["table"]["new"]["exact"]) == (2, 13, True)
    assert value["probe"] == {"units": 2, "records": 13, "rejects": {}, "examples": {}}
    size = sum(path.stat().st_size for path in place.source.iterdir())
    text = describe_plan(value)
    assert text.splitlines() == [
        f"2 parquet shards below {place.source}",
        "",
        "           units  shards  records     size",
        f"to do          2       2       13   {size / 1000:.1f} kB",
        f"  new          2       2       13   {size / 1000:.1f} kB",
        "unchanged      0       0        0  0 bytes",
        f"all            2       2       13   {size / 1000:.1f} kB",
        "",
        "to do: a, b\\x1b[2J",
        "time and size of the output: unknown, since no run with this model has been committed here",
        "tried: 13 records of 2 units, all good",
    ]
    assert not Path(job.config.output).exists()


def test_what_the_tried_records_are(place: Place) -> None:
    shutil.rmtree(place.source)
    place.source.mkdir()
    bad = [image(9), b"junk", None, image(9)]
    write_parquet(place.source / "a.parquet", [image(8)] * 6 + bad, range(10))
    found = plan_value(place.options())["probe"]
    assert (found["records"], found["rejects"]) == (10, {"wrong_size": 2, "unknown_format": 1, "missing_image": 1})
    assert found["examples"]["wrong_size"].startswith("a.parquet[6]: 9x9 pixels")
    text = describe_plan(plan_value(place.options()))
    assert "tried: 10 records of 1 unit, 6 good, 4 would be rejected\n  2 wrong_size, such as a.parquet[6]: 9x9" in text


def test_records_are_reckoned_by_bytes_and_not_by_units() -> None:
    config = make_config()
    units = [make_unit("a", shards=(make_shard("a.tfrecord", size=100),)), make_unit("b")]
    plan = SimpleNamespace(units=units, todo=[units[1]], obsolete=[], vanished=[])
    left = SimpleNamespace(summaries=frozenset())
    job: Any = SimpleNamespace(plan=plan, config=config, state=SimpleNamespace(left=left))
    found = forecast(job, done(config, units[0], read=50))
    assert found.todo.records == 5
