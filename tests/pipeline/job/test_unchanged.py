"""A plan against a manifest in parts: the same as against all receipts, and only parts that differ are read."""

import random
from pathlib import Path

import pytest

from lake.core.records import Shard, Unit
from lake.inputs.discover import Found
from lake.inputs.shard_list import Builder
from pipeline.config import fingerprint, options_digest
from pipeline.job.plan import Plan, make_plan, reject_limit
from pipeline.options.job_options import Scope
from pipeline.output.layout import Layout
from pipeline.output.manifest import manifest, manifest_cutter, manifest_parts
from pipeline.output.manifest.manifest import Manifest, read_manifest, write_manifest
from pipeline.output.units.receipts import Receipt
from tests.pipeline.values import make_config, make_receipt

CONFIG = make_config()


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of about ten units, and at most twenty."""
    monkeypatch.setattr(manifest, "PART_UNITS", 20)
    monkeypatch.setattr(manifest_cutter, "PART_UNITS", 20)
    monkeypatch.setattr(manifest_parts, "_ENDS", 10)


def listed(identities: dict[str, str]) -> Found:
    builder = Builder()
    for name, identity in identities.items():
        builder.add(f"{name}.tfrecord", 10, identity)
    return Found(root="/in", format="tfrecord", shards=builder.build("/in"))


def committed(output: Path, identities: dict[str, str]) -> Manifest:
    """The manifest of a run over these shards."""
    layout = Layout(str(output))
    units = make_plan(listed(identities), CONFIG, {}).units
    write_manifest(layout, (receipt_of(unit) for unit in units))
    return read_manifest(layout)


def receipt_of(unit: Unit) -> Receipt:
    return make_receipt(unit.id, fingerprint=fingerprint(unit, CONFIG), options=options_digest(CONFIG))


def told(plan: Plan) -> tuple[object, ...]:
    return [*plan.units], [*plan.todo], plan.obsolete, plan.vanished


def parts_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of parts, as they are read."""
    found, known = list[str](), Manifest._bytes
    monkeypatch.setattr(Manifest, "_bytes", lambda self, part: (found.append(part.name), known(self, part))[1])
    return found


def test_of_an_unchanged_input_the_root_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = {f"{number:03d}": "1" for number in range(100)}
    before, read = committed(tmp_path, shards), parts_read(monkeypatch)
    plan = make_plan(listed(shards), CONFIG, before)
    assert told(plan) == ([*plan.units], [], [], [])
    assert len(plan.units) == 100
    assert reject_limit(plan, before, 0.5, None) == 1000
    assert read == []


def test_of_a_changed_shard_its_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = {f"{number:03d}": "1" for number in range(100)}
    before, read = committed(tmp_path, shards), parts_read(monkeypatch)
    plan = make_plan(listed(shards | {"042": "2", "999": "1"}), CONFIG, before)
    assert [unit.id for unit in plan.todo] == ["042", "999"]
    assert len({*read}) <= 2


def test_a_plan_is_the_one_that_all_receipts_give(tmp_path: Path) -> None:
    dice = random.Random(1)
    for number in range(4):
        shards = {f"{dice.randrange(90):03d}": "1" for _ in range(60)}
        before = committed(tmp_path / f"{number}", shards)
        new = {name: dice.choice("1112") for name in shards if dice.random() < 0.9}
        new |= {f"{dice.randrange(90):03d}-new": "1" for _ in range(dice.choice((0, 1)))}
        found = listed(new or {"a": "1"})
        for scope in (Scope(), Scope(prune=True), Scope(redo=frozenset(dice.sample([*shards], 1)))):
            plan, wanted = make_plan(found, CONFIG, before, scope), make_plan(found, CONFIG, dict(before), scope)
            assert told(plan) == told(wanted)
            assert reject_limit(plan, before, 0.5, 10_000) == reject_limit(wanted, dict(before), 0.5, 10_000)


def test_receipts_of_other_options_are_not_what_is_planned(tmp_path: Path) -> None:
    shards = {f"{number:03d}": "1" for number in range(60)}
    before = committed(tmp_path, shards)
    plan = make_plan(listed(shards), make_config(variance=True), before)
    assert len(plan.todo) == len(shards)
    assert isinstance(plan.todo[0].shards[0], Shard)
