"""The plan: which units there are, which are to be done, and which are given up."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lake.core.errors import InputError
from lake.core.records import Reason, Unit
from lake.inputs import units as units_of
from lake.inputs.expected import Expected
from lake.inputs.reference import CleanShards, Reference
from lake.inputs.sampled import UNIT_IMAGES, LatentSampling
from pipeline.config import JobConfig, fingerprint, options_digest
from pipeline.job import plan as module
from pipeline.job.plan import Plan, make_plan, reject_limit
from pipeline.options.job_options import Scope
from pipeline.output.units.receipts import Receipt
from tests.pipeline.job.conftest import write_shard
from tests.pipeline.values import COLUMNS, make_config, make_found, make_receipt, make_shard, make_unit

CONFIG = make_config()
FOUND = make_found("a.tfrecord", "b.tfrecord")


def done(config: JobConfig, *units: Unit, **changes: Any) -> dict[str, Receipt]:
    """Receipts of units that are done."""
    made = {"options": options_digest(config)} | changes
    return {unit.id: make_receipt(unit.id, **({"fingerprint": fingerprint(unit, config)} | made)) for unit in units}


def ids(plan: Plan) -> tuple[list[str], list[str], list[str]]:
    return [unit.id for unit in plan.units], [unit.id for unit in plan.todo], [*plan.obsolete]


def test_at_first_everything_is_to_be_done() -> None:
    plan = make_plan(FOUND, CONFIG, {})
    assert ids(plan) == (["a", "b"], ["a", "b"], [])
    assert plan.todo == plan.units == [make_unit("a"), make_unit("b")]
    assert plan.todo_bytes == 20


def test_what_is_done_is_not_done_again() -> None:
    receipts = done(CONFIG, make_unit("a"))
    assert ids(make_plan(FOUND, CONFIG, receipts)) == (["a", "b"], ["b"], [])
    receipts = done(CONFIG, make_unit("a"), make_unit("b"))
    plan = make_plan(FOUND, CONFIG, receipts)
    assert ids(plan) == (["a", "b"], [], [])
    assert plan.todo_bytes == 0


def test_what_changed_is_done_again() -> None:
    receipts = done(CONFIG, make_unit("a"), make_unit("b"))
    changed = replace(FOUND, shards=(FOUND.shards[0], make_shard("b.tfrecord", identity="2")))
    assert ids(make_plan(changed, CONFIG, receipts)) == (["a", "b"], ["b"], [])
    assert ids(make_plan(FOUND, make_config(reject_bytes=5), receipts))[1] == ["a", "b"]
    receipts["a"] = replace(receipts["a"], fingerprint="")
    assert ids(make_plan(FOUND, CONFIG, receipts))[1] == ["a"]


def test_what_is_to_be_redone_is_done_from_scratch() -> None:
    receipts = done(CONFIG, make_unit("a"), make_unit("b"), rejects={"wrong_size": 1})
    plan = make_plan(FOUND, CONFIG, receipts, Scope(redo=frozenset({"b", "none"}), retry_rejects=True))
    assert plan.todo == [make_unit("a", retry_rejects=True), make_unit("b")]


def test_only_units_with_rejects_are_tried_once_more() -> None:
    receipts = done(CONFIG, make_unit("a"), rejects={"wrong_size": 1}) | done(CONFIG, make_unit("b"))
    assert ids(make_plan(FOUND, CONFIG, receipts))[1] == []
    plan = make_plan(FOUND, CONFIG, receipts, Scope(retry_rejects=True))
    assert plan.todo == [make_unit("a", retry_rejects=True)]
    assert plan.units == [make_unit("a"), make_unit("b")]


def test_a_new_unit_is_not_tried_once_more() -> None:
    assert make_plan(FOUND, CONFIG, {}, Scope(retry_rejects=True)).todo == [make_unit("a"), make_unit("b")]


@pytest.mark.parametrize(("expected", "again"), [(2, True), (3, False), (4, True)])
def test_a_unit_with_another_number_of_records_than_expected_is_done_again(expected: int, again: bool) -> None:
    counts = Expected(shards={"a.tfrecord": expected, "b.tfrecord": 3})
    receipts = done(CONFIG, make_unit("a"), make_unit("b"))
    plan = make_plan(FOUND, CONFIG, receipts, expected=counts)
    assert [unit.id for unit in plan.todo] == (["a"] if again else [])
    assert [unit.expected for unit in plan.units] == [expected, 3]


def test_of_a_damaged_shard_no_more_can_be_read() -> None:
    counts = Expected(shards={"a.tfrecord": 9, "b.tfrecord": 9})
    receipts = done(CONFIG, make_unit("a"), rejects={Reason.DAMAGED_SHARD: 1})
    receipts |= done(CONFIG, make_unit("b"), rejects={Reason.WRONG_SIZE: 1})
    assert ids(make_plan(FOUND, CONFIG, receipts, expected=counts))[1] == ["b"]


def test_a_number_for_all_says_nothing_of_a_unit() -> None:
    receipts = done(CONFIG, make_unit("a"), make_unit("b"))
    plan = make_plan(FOUND, CONFIG, receipts, expected=Expected(total=99))
    assert ids(plan)[1] == []
    assert [unit.expected for unit in plan.units] == [None, None]


@pytest.mark.parametrize(("prune", "obsolete"), [(False, []), (True, ["c", "d/e"])])
def test_units_whose_shards_are_gone_stay_unless_they_are_pruned(prune: bool, obsolete: list[str]) -> None:
    receipts = done(CONFIG, *(make_unit(name) for name in ("a", "b", "d/e", "c")))
    assert ids(make_plan(FOUND, CONFIG, receipts, Scope(prune=prune))) == (["a", "b"], [], obsolete)


def test_units_of_other_options_go() -> None:
    """What was made with another model must not stand beside the rest, even where its shard is gone."""
    receipts = done(CONFIG, make_unit("c")) | done(CONFIG, make_unit("d"), options="other")
    assert ids(make_plan(FOUND, CONFIG, receipts))[2] == ["d"]


def test_units_of_a_shard_that_is_cut_in_another_way_go() -> None:
    slices = [make_unit(f"a-{number:05d}-of-00002", "a.tfrecord") for number in range(2)]
    other = make_unit("gone-00000-of-00002", "gone.tfrecord")
    receipts = done(CONFIG, *slices, other, make_unit("x/a"))
    assert ids(make_plan(FOUND, CONFIG, receipts)) == (["a", "b"], ["a", "b"], [unit.id for unit in slices])


def test_a_whole_shard_that_is_cut_now_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shard(tmp_path / "a.parquet", rows=4)
    shard = make_shard("a.parquet", uri=str(tmp_path / "a.parquet"), size=1000)
    found = make_found(format="parquet")
    found = replace(found, shards=(shard,))
    monkeypatch.setattr(units_of, "SPLIT_BYTES", 300)
    reader = type(units_of.FORMATS["parquet"].reader)
    monkeypatch.setattr(reader, "rows", lambda self, shard: [1, 1, 1, 1])
    receipts = done(CONFIG, make_unit("a", shards=(shard,), format="parquet"))
    plan = make_plan(found, CONFIG, receipts)
    assert [(unit.start, unit.stop) for unit in plan.todo] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert plan.obsolete == ["a"]
    assert plan.todo_bytes == 1000, "each slice has its share"


@pytest.mark.parametrize("changes", [{"columns": replace(COLUMNS, whole=True)}, {"reference": True}])
def test_a_shard_that_is_written_again_or_compared_is_never_cut(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(units_of, "SPLIT_BYTES", 1)
    reader = type(units_of.FORMATS["parquet"].reader)
    monkeypatch.setattr(reader, "rows", lambda self, shard: [1, 1, 1, 1])
    found = make_found("a.parquet", format="parquet")
    clean = None
    if "reference" in changes:
        changes = {"reference": Reference(format="parquet", columns=COLUMNS)}
        clean = CleanShards(root="/c", stems={"a": found.shards[0]}, only=None)
    plan = make_plan(found, make_config(**changes), {}, clean=clean)
    assert [unit.id for unit in plan.units] == ["a"]
    assert [shard.path for shard in plan.units[0].clean] == (["/c/a.parquet"] if "reference" in changes else [])
    assert len(make_plan(found, CONFIG, {}).units) == 4


def test_groups_of_files_that_are_cut_in_another_way_go() -> None:
    found = make_found("a/1.png", "a/2.png", format="folder")
    names = (
        "a/part-00000000",
        "a/part-0000beef",
        "a/part-00000000-1",
        "b/part-00000000",
        "a/b/part-0",
        "part-0",
        "a/x",
    )
    receipts = done(CONFIG, *(make_unit(name, format="folder") for name in names))
    plan = make_plan(found, CONFIG, receipts)
    assert [unit.id for unit in plan.units] == ["a/part-00000000"]
    assert plan.obsolete == ["a/part-00000000-1", "a/part-0000beef"]
    other = done(CONFIG, make_unit("b/part-1", format="folder"), options="other")
    assert make_plan(found, CONFIG, receipts | other).obsolete == [*plan.obsolete, "b/part-1"]
    assert make_plan(found, CONFIG, receipts, Scope(prune=True)).obsolete == sorted(set(names) - {"a/part-00000000"})


def test_images_of_the_prior_are_units_without_shards() -> None:
    config = make_config(sampling=LatentSampling(count=UNIT_IMAGES + 5))
    found = make_found(format="drawn")
    plan = make_plan(found, config, {})
    assert [(unit.id, unit.start, unit.stop) for unit in plan.todo] == [
        ("part-00000", 0, UNIT_IMAGES),
        ("part-00001", UNIT_IMAGES, UNIT_IMAGES + 5),
    ]
    fewer = make_config(sampling=LatentSampling(count=5))
    assert ids(make_plan(found, fewer, done(config, *plan.units))) == (["part-00000"], ["part-00000"], ["part-00001"])


@pytest.mark.parametrize("paths", [("a.tfrecord", "a.tfrecord.gz"), ("x/a.tfrecord", "b.tfrecord", "x/a.tfrecords")])
def test_two_shards_of_one_name_are_refused(paths: tuple[str, ...]) -> None:
    one, two = paths[0], paths[-1]
    unit = one.removesuffix(".tfrecord")
    with pytest.raises(InputError, match=rf"^/in/{one} and /in/{two} would both be written as '{unit}'; run one job"):
        make_plan(make_found(*paths), CONFIG, {})


def test_how_many_records_may_be_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FEW_REJECTS", 0)
    slices = [make_unit("a", stop=600), make_unit("b", start=600, stop=1000)]
    plan = Plan(units=slices, todo=slices, obsolete=[])
    assert reject_limit(plan, {}, 0.01, None) == 10
    assert reject_limit(plan, {}, 0.01, 5000) == 50, "what the user expects counts"
    assert reject_limit(plan, {}, 1.0, None) == 1000
    # Results of shards that are gone stay, and count; those that are done again or dropped do not.
    receipts = {
        unit: make_receipt(unit, read=read, rejects={"corrupt_image": bad})
        for unit, read, bad in (("a", 600, 600), ("old", 4000, 7), ("dropped", 100, 100))
    }
    assert reject_limit(replace(plan, obsolete=["dropped"]), receipts, 0.01, None) == 50 - 7
    assert reject_limit(replace(plan, todo=slices[1:], obsolete=["dropped"]), receipts, 0.01, None) == 0


def test_few_rejects_stop_nothing_and_unknown_numbers_neither() -> None:
    few = make_unit("a", stop=1000)
    assert reject_limit(Plan(units=[few], todo=[few], obsolete=[]), {}, 0.01, None) == 1000
    whole = make_unit("b")
    assert reject_limit(Plan(units=[few, whole], todo=[few, whole], obsolete=[]), {}, 0.01, None) is None
    files = make_unit("c", *(f"{number}.png" for number in range(4000)), format="folder")
    assert reject_limit(Plan(units=[files], todo=[files], obsolete=[]), {}, 0.5, None) == 2000
