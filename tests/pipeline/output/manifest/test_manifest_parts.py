"""A manifest of many units: parts that are written when their units change, and a root that takes them into effect."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import HeldError, VerifyError
from lake.storage.local import LocalSink, LocalStore
from pipeline.config import Gate
from pipeline.output.commit.commit import commit
from pipeline.output.commit.run import Run
from pipeline.output.fencing.lease import acquire, release
from pipeline.output.layout import Layout
from pipeline.output.manifest import manifest, manifest_cutter, manifest_parts
from pipeline.output.manifest.manifest import (
    Manifest,
    changed_manifest,
    publish_manifest,
    read_manifest,
    replaced_names,
    superseded_parts,
    write_manifest,
)
from pipeline.output.manifest.manifest_rows import encode_rows
from pipeline.output.units.receipts import Receipt, output_names, sum_counts
from tests.pipeline.values import make_config, make_file, make_receipt

RECEIPTS = [make_receipt(f"{number:03d}", rejects={"wrong_size": 1} if number % 2 else {}) for number in range(100)]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of about ten units, and at most twenty."""
    monkeypatch.setattr(manifest, "PART_UNITS", 20)
    monkeypatch.setattr(manifest_cutter, "PART_UNITS", 20)
    monkeypatch.setattr(manifest_parts, "_ENDS", 10)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "out"))


def files(layout: Layout) -> dict[str, int]:
    """The parts that are there, with the time of their writing."""
    return {path.name: path.stat().st_mtime_ns for path in Path(layout.manifest_parts).glob("*")}


def damaged(layout: Layout, said: str) -> None:
    """Whoever reads the manifest learns that it is damaged."""
    with pytest.raises(VerifyError, match=rf"_manifest\.parquet: the manifest is damaged \(.*{said}.*; remove it"):
        dict(read_manifest(layout))


def test_what_is_written_comes_back_in_order(layout: Layout) -> None:
    written = write_manifest(layout, reversed(RECEIPTS))
    found = read_manifest(layout)
    assert (written.rows, len(found), len(found.parts) > 4) == (100, 100, True)
    assert [*found] == sorted(receipt.unit for receipt in RECEIPTS)
    assert found == {receipt.unit: receipt for receipt in RECEIPTS}
    assert (found["042"], found.get("0421"), found.get("999")) == (RECEIPTS[42], None, None)
    assert found.counts() == sum_counts(RECEIPTS)
    assert set(found.names()) == output_names(RECEIPTS)
    assert [*found.rejected("wrong_size")] == RECEIPTS[1::2]


def test_equal_states_have_equal_parts_however_they_came_about(tmp_path: Path) -> None:
    """Units that come, change and go, against a dict; and every state against one that is written as a whole."""
    dice, layout = random.Random(1), Layout(str(tmp_path / "out"))
    found, state = read_manifest(layout), dict[str, Receipt]()
    for step, size in enumerate((15, 60, 1, 0, 40, 90, 5)):
        kept = 0.9 if step < 5 else 0.4
        new = {f"{dice.randrange(99):03d}": dice.random() < kept for _ in range(size)}
        changes = {unit: make_receipt(unit, read=step) if stays else None for unit, stays in new.items()}
        state = {unit: receipt for unit, receipt in {**state, **changes}.items() if receipt is not None}
        found = changed_manifest(layout, found, sorted(changes.items()))
        assert dict(found) == state
        whole = Layout(str(tmp_path / f"{step}"))
        write_manifest(whole, state.values())
        assert found.encode() == Path(whole.manifest).read_bytes()
    assert len(state) > 20


def test_a_part_is_written_when_its_units_change(layout: Layout) -> None:
    write_manifest(layout, RECEIPTS)
    before, old = files(layout), read_manifest(layout)
    changed = replace(RECEIPTS[42], outputs=(make_file("latents/new.parquet"),))
    new = changed_manifest(layout, old, [("042", changed)])
    assert len(files(layout).keys() - before) == 1
    assert before.items() < files(layout).items(), "and no other, nor is one replaced"
    (gone,) = superseded_parts(layout, new)
    assert "latents/042.parquet" in {*replaced_names(old, new)} < {*old.names()}
    assert read_manifest(layout)["042"] == RECEIPTS[42], "until the root is written"
    publish_manifest(layout, new)
    Path(gone.uri).unlink()
    assert read_manifest(layout) == {receipt.unit: receipt for receipt in RECEIPTS} | {"042": changed}


def test_a_large_manifest_of_an_earlier_version_is_read_and_becomes_parts(layout: Layout) -> None:
    Path(layout.output).mkdir()
    Path(layout.manifest).write_bytes(encode_rows(RECEIPTS))
    old = read_manifest(layout)
    assert old == {receipt.unit: receipt for receipt in RECEIPTS}
    publish_manifest(layout, changed_manifest(layout, old, []))
    assert len(read_manifest(layout).parts) > 4
    assert read_manifest(layout) == old


def test_a_manifest_that_has_become_small_is_one_file(layout: Layout) -> None:
    write_manifest(layout, RECEIPTS)
    small = changed_manifest(layout, read_manifest(layout), [(receipt.unit, None) for receipt in RECEIPTS[:90]])
    assert not small.parts
    publish_manifest(layout, small)
    assert pq.read_table(layout.manifest).num_rows == 10
    assert {stat.uri for stat in superseded_parts(layout, small)} == {
        layout.at(f"_manifest/{n}") for n in files(layout)
    }


def test_a_part_that_was_changed_is_found(layout: Layout) -> None:
    write_manifest(layout, RECEIPTS)
    one, other = (Path(layout.at(part.name)) for part in read_manifest(layout).parts[:2])
    data = one.read_bytes()
    one.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    damaged(layout, f"{one.name}: its bytes are not those")
    one.write_bytes(other.read_bytes())
    damaged(layout, f"{one.name}: its bytes are not those")
    one.unlink()
    damaged(layout, one.name)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("units", 3, "the row of part _manifest/.* is not the one"),
        ("crc32c", "00000000", "the row of part"),
        ("rejects", [], "the row of part"),
        ("name", "_manifest/../../victim.parquet", "no name of a part"),
        ("name", "latents/a.parquet", "no name of a part"),
    ],
)
def test_a_root_that_was_changed_is_found(layout: Layout, name: str, value: Any, said: str) -> None:
    write_manifest(layout, RECEIPTS)
    table = pq.read_table(layout.manifest)
    rows = table.to_pylist()
    rows[1][name] = value
    pq.write_table(pa.Table.from_pylist(rows, table.schema), layout.manifest)
    damaged(layout, said)
    pq.write_table(table.slice(1), layout.manifest)
    damaged(layout, "its footer is not the one")
    pq.write_table(table.take([1, 0, *range(2, len(table))]), layout.manifest)
    damaged(layout, "its parts are not in order")


def test_a_root_that_counts_other_units_than_its_part_has_is_found(layout: Layout) -> None:
    write_manifest(layout, RECEIPTS)
    found = read_manifest(layout)
    forged = replace(found.parts[0], read=found.parts[0].read + 1)
    publish_manifest(layout, Manifest(layout, parts=[forged, *found.parts[1:]]))
    damaged(layout, "its units are not those that the root counts")


def test_a_part_that_a_commit_removes_meanwhile_is_no_damage(layout: Layout) -> None:
    write_manifest(layout, RECEIPTS)
    slow = read_manifest(layout)
    publish_manifest(layout, changed_manifest(layout, slow, [("000", None)]))
    Path(layout.at(slow.parts[0].name)).unlink()
    with pytest.raises(HeldError, match="is gone: a run has committed meanwhile; run the command again"):
        dict(slow)


class KilledError(Exception):
    """In the place of a process that has ended."""


def kill_at(patch: pytest.MonkeyPatch, number: int) -> None:
    """End a commit before its so-manieth request that changes something."""
    count = iter(range(number))

    def ending(known: Any) -> Any:
        def act(*arguments: Any, **named: Any) -> Any:
            if next(count, None) is None:
                if isinstance(arguments[0], LocalSink):
                    arguments[0].abort()
                raise KilledError
            return known(*arguments, **named)

        return act

    patch.setattr(LocalSink, "publish", ending(LocalSink.publish))
    patch.setattr(LocalStore, "delete", ending(LocalStore.delete))


def test_killed_before_any_request_of_a_commit_the_manifest_is_whole_and_the_end_the_same(tmp_path: Path) -> None:
    """Of a night that redoes some units, drops one, and whose commit is made again."""
    old = {receipt.unit: receipt for receipt in RECEIPTS}
    new = [make_receipt(f"{number:03d}", fingerprint="new") for number in (7, 55, 56, 200)]
    expected, wanted, number = {**old, **{receipt.unit: receipt for receipt in new}}, dict[str, bytes](), -1
    config = make_config(tmp_path / "out")
    layout, run = Layout(config.output), Run(units=101, todo=4, obsolete="", passed_over={}, started=1.0)
    seen = set[bool]()
    while True:
        for path in (*Path(layout.manifest_parts).glob("*"), Path(layout.summary(config.run))):
            path.unlink(missing_ok=True)
        write_manifest(layout, RECEIPTS)
        release(config.output, config.run)
        acquire(config.output, config.run, ends_with_process=True)
        with pytest.MonkeyPatch.context() as patch:
            number += 1
            kill_at(patch, number)
            try:
                commit(config, Gate(), run, new)
                ended = True
            except KilledError:
                ended = False
        found = dict(read_manifest(layout))
        assert found in (old, expected)
        seen.add(found == old)
        commit(config, Gate(), run, new)
        now = {path.name: path.read_bytes() for path in (*Path(layout.manifest_parts).glob("*"), Path(layout.manifest))}
        wanted = wanted or now
        assert now == wanted, "and no part is left that the root does not name"
        if ended:
            break
    assert seen == {True, False}
    assert number > 6
