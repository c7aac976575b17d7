"""Which giants are cut: by an index that fits, else by a pass, and not all of very many."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from lake.core.records import Shard, Unit
from lake.formats.common import cuts as module
from lake.formats.common.cuts import Cuts, Giant, giant
from lake.formats.tfrecord.framing import framed
from lake.inputs import giants
from lake.inputs.discover import Found
from lake.inputs.giants import find_cuts
from tests.lake.formats.support import shard_of

RECORD = b"x" * 84  # 100 bytes with its framing
CUTS = Cuts(rows=(0, 10, 20, 30), offsets=(0, 1000, 2000))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giants, "GIANT_BYTES", 2000)
    monkeypatch.setattr(module, "SLICE_BYTES", 1000)


def found(*shards: Shard) -> Found:
    return Found(root="/", format="tfrecord", shards=shards)


def no(unit: Unit) -> bool:
    del unit
    return False


def cut(shard: Shard, known: dict[Giant, Cuts] | None = None) -> Cuts | None:
    return find_cuts(found(shard), lambda: known or {}, no).get(giant("tfrecord", shard))


def test_a_giant_is_cut_once(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.tfrecord", framed([RECORD] * 30))
    small = shard_of(tmp_path / "b.tfrecord", framed([RECORD] * 20))
    assert find_cuts(found(shard, small), dict, no) == {giant("tfrecord", shard): CUTS}
    other = replace(CUTS, rows=(0, 1, 2, 30))
    assert cut(shard, {giant("tfrecord", shard): other}) == other
    assert cut(shard, {giant("tfrecord", replace(shard, identity="earlier")): other}) == CUTS


def test_without_giants_nothing_is_asked_of_the_output(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.tfrecord", framed([RECORD] * 20))
    assert find_cuts(found(shard), lambda: pytest.fail("asked"), no) == {}


def test_what_is_done_as_a_whole_stays_whole(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.tfrecord", framed([RECORD] * 30))
    asked: list[Unit] = []

    def done(unit: Unit) -> bool:
        asked.append(unit)
        return True

    assert find_cuts(found(shard), dict, done) == {}
    assert asked == [Unit(id="a", format="tfrecord", shards=(shard,))]


def test_of_very_many_only_those_with_an_index_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giants, "PASSES", 1)
    shards = [shard_of(tmp_path / f"{name}.tfrecord", framed([RECORD] * 30)) for name in "ab"]
    assert find_cuts(found(*shards), dict, no) == {}
    (tmp_path / "b.index").write_bytes(b"".join(b"%d 100\n" % (100 * i) for i in range(30)))
    made = find_cuts(found(*shards), dict, no)
    assert [(name[1], cuts.rows, cuts.index) for name, cuts in made.items()] == [("b.tfrecord", CUTS.rows, "b.index")]
    assert set(find_cuts(found(*shards), lambda: made, no)) == {giant("tfrecord", shard) for shard in shards}


@pytest.mark.parametrize("name", ["a.idx", "a.index", "a.tfrecord.idx", "a.tfrecord.index"])
def test_an_index_counts_as_long_as_it_is_the_same(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = shard_of(tmp_path / "a.tfrecord", framed([RECORD] * 30))
    index = tmp_path / name
    index.write_bytes(b"".join(b"%d 100\n" % (100 * i) for i in range(30)))
    with monkeypatch.context() as alone:
        alone.setattr(giants, "_by_pass", lambda *_: pytest.fail("a pass"))
        by_index = cut(shard)
        assert by_index == replace(CUTS, index=name, index_identity=by_index.index_identity if by_index else "")
        assert by_index and cut(shard, {giant("tfrecord", shard): by_index}) == by_index
    index.write_bytes(b"0 1000\n1000 1000\n2000 1000\n")
    with caplog.at_level(logging.WARNING):
        assert cut(shard, {giant("tfrecord", shard): by_index}) == CUTS
    assert f"{name} is left aside, make it anew or remove it" in caplog.text
    assert "a.tfrecord: no record of 1000 bytes, as its index says, at byte 0; " in caplog.text


def test_a_damaged_giant_is_remembered_as_one_that_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = shard_of(tmp_path / "a.tfrecord", framed([RECORD] * 30)[:-1])
    assert cut(shard) == Cuts()
    monkeypatch.setattr(giants, "_by_pass", lambda *_: pytest.fail("a pass"))
    assert cut(shard, {giant("tfrecord", shard): Cuts()}) == Cuts()
