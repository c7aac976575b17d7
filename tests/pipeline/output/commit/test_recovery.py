"""What the next run counts on, of runs that did not come to their end: told by hand-made plans and receipts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lake.core.errors import VerifyError
from lake.core.records import Unit
from lake.storage import StoreOptions
from pipeline.output.commit.recovery import (
    Recovered,
    find_leavings,
    known_state,
    read_recovered,
    run_after,
    write_recovered,
)
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import write_manifest
from pipeline.output.state.plan_files import unit_line, write_lines
from pipeline.output.units.marks import mark_name
from pipeline.output.units.receipts import Receipt, write_receipt
from tests.pipeline.values import guard_for, make_receipt, make_unit

FIRST, SECOND, THIRD = (f"20261129T02000{n}Z-aaaaaa" for n in range(3))


class Output:
    """An output in which runs died."""

    def __init__(self, path: Path) -> None:
        self.layout = Layout(str(path))

    def committed(self, *units: str) -> None:
        write_manifest(self.layout, [make_receipt(unit) for unit in units])

    def planned(self, run: str, *units: str | Unit) -> None:
        made = [make_unit(unit) if isinstance(unit, str) else unit for unit in units]
        write_lines(f"{self.layout.plan(run)}/part-00000.jsonl", map(unit_line, made))

    def done(self, run: str, *units: str, error: str | None = None) -> None:
        for unit in units:
            write_receipt(self.layout, replace(make_receipt(unit, read=9), run=run, error=error))

    def ended(self, run: str) -> None:
        path = Path(self.layout.summary(run))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")

    def known(self) -> tuple[dict[str, str], Recovered]:
        """By unit the run of its receipt, "" for the manifest's; and what of it the commit is told."""
        receipts, recovered = known_state(self.layout, find_leavings(self.layout), StoreOptions())
        return {unit: receipt.run for unit, receipt in receipts.items()}, recovered


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path / "out")


def told(adopted: Sequence[str] = (), doubtful: Sequence[str] = ()) -> Recovered:
    return Recovered(adopted=list(adopted), doubtful=list(doubtful))


def test_nothing_is_known_of_nothing(output: Output) -> None:
    assert output.known() == ({}, told())
    assert not find_leavings(output.layout).unfinished
    assert find_leavings(output.layout).last_run == ""


def test_what_a_run_did_before_it_died_is_done(output: Output) -> None:
    output.committed("a", "b")
    output.planned(FIRST, "b", "c", "d")
    output.done(FIRST, "b", "c")
    assert output.known() == ({"a": "", "b": FIRST, "c": FIRST}, told(adopted="bc"))


def test_what_a_run_may_have_replaced_before_it_died_is_not_done(output: Output) -> None:
    """Whatever the manifest says."""
    output.committed("a", "b")
    output.planned(FIRST, "b", "c")
    assert output.known() == ({"a": ""}, told(doubtful="b"))


def test_a_damaged_plan_of_a_dead_run_is_named_with_what_to_do(output: Output) -> None:
    output.committed("a", "b")
    output.planned(FIRST, "b", "c")
    (part,) = Path(output.layout.plans).rglob("*.jsonl")
    part.write_bytes(part.read_bytes()[:-9])
    said = r"part-00000\.jsonl: the plan of a run that died is damaged; remove it, run the job again, and let verify"
    with pytest.raises(VerifyError, match=said):
        output.known()
    part.unlink()
    assert output.known() == ({"a": "", "b": ""}, told())


def test_the_last_run_that_was_to_do_a_unit_says_what_its_files_hold(output: Output) -> None:
    output.committed("a")
    output.planned(FIRST, "a", "b", "c")
    output.done(FIRST, "a", "b", "c")
    output.planned(SECOND, "a", "b")
    output.done(SECOND, "b")
    assert output.known() == ({"b": SECOND, "c": FIRST}, told(adopted="bc", doubtful="a"))


def test_a_receipt_that_comes_late_to_another_run_says_nothing(output: Output) -> None:
    output.planned(FIRST, "a")
    output.planned(SECOND, "a")
    output.done(FIRST, "a")
    assert output.known() == ({}, told())


def test_what_comes_late_to_a_committed_output_says_nothing(output: Output) -> None:
    """Neither a receipt nor a plan: a later run has committed and removed what it found of them."""
    output.committed("a", "b")
    output.ended(SECOND)
    output.done(FIRST, "a", "z")
    output.planned(FIRST, "b")
    assert output.known() == ({"a": "", "b": ""}, told())
    assert find_leavings(output.layout).unfinished, "the next commit removes them"


def test_a_run_that_died_in_its_clean_up_has_committed(output: Output) -> None:
    output.committed("a", "b")
    output.planned(FIRST, "a", "b")
    output.ended(FIRST)
    assert output.known() == ({"a": "", "b": ""}, told())


def test_a_retry_of_rejects_says_what_it_replaces(output: Output) -> None:
    output.committed("a", "b", "c")
    output.planned(FIRST, *(replace(make_unit(unit), retry_rejects=True) for unit in "abc"))
    output.done(FIRST, "b")
    output.done(FIRST, "c", error="its files were being replaced")
    assert output.known() == ({"a": "", "b": FIRST}, told(adopted="b", doubtful="c"))


def test_a_retry_of_rejects_whose_receipt_is_gone_has_replaced_a_file_all_the_same(output: Output) -> None:
    output.committed("a", "b")
    output.planned(FIRST, *(replace(make_unit(unit), retry_rejects=True) for unit in "ab"))
    mark = Path(output.layout.replaced(FIRST, mark_name("b")))
    mark.parent.mkdir()
    mark.write_bytes(b"{}")
    assert output.known() == ({"a": ""}, told(doubtful="b"))


def test_receipts_of_versions_that_did_not_name_their_run_count(output: Output) -> None:
    output.committed("a")
    output.done("", "b")
    output.done("", "a", error="to be done again")
    assert output.known() == ({"b": ""}, told(adopted="b", doubtful="a"))


def test_the_order_of_runs_is_that_of_their_ids(output: Output) -> None:
    for run in (SECOND, FIRST):
        output.planned(run, "a")
    assert find_leavings(output.layout).last_run == SECOND
    output.ended(THIRD)
    output.planned("zzz", "b")
    assert find_leavings(output.layout).last_run == THIRD, "no run is called zzz"


@pytest.mark.parametrize("ahead", ["", FIRST, "29990101T000000Z-ffffff", "99999999T999999Z-ffffff"])
def test_runs_after_a_clock_that_was_ahead_are_in_order(output: Output, ahead: str) -> None:
    """Fourteen of them had names that no later run took for those of runs."""
    last = ahead
    for _ in range(12 if ahead.startswith("9") else 30):
        run = run_after(last)
        assert run > last
        output.planned(run, "a")
        assert find_leavings(output.layout).last_run == run
        last = run


def test_what_the_commit_is_told(output: Output, tmp_path: Path) -> None:
    guard = guard_for(output.layout.output, FIRST)
    uri = output.layout.recovered(FIRST)
    write_recovered(uri, told("ab", "c"), guard)
    assert read_recovered(uri) == Recovered(adopted=("a", "b"), doubtful=("c",))
    assert read_recovered("") == read_recovered(f"{tmp_path}/gone") == Recovered()
    assert told("a") and told((), "a") and not told()
    assert isinstance(read_recovered(uri), Recovered)
    assert Receipt.from_json(make_receipt("a").to_json()).run == ""
