"""The commit, against receipts made by hand: what it refuses, what it leaves, and in which order."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake import __version__
from lake.core import sealed_json
from lake.core.counters import RETRIES
from lake.core.errors import HeldError, LatentlakeError, UnfinishedError, VerifyError
from lake.core.records import OutputFile, Reason, Reject, Stage
from lake.storage import Guard, StoreOptions, configure, configured, measured
from pipeline.config import Gate, JobConfig, RejectRetry
from pipeline.output.commit import commit as module
from pipeline.output.commit import publish_state, recovery
from pipeline.output.commit.commit import commit
from pipeline.output.commit.publish_state import check_complete
from pipeline.output.commit.recovery import Recovered, write_recovered
from pipeline.output.commit.run import Run
from pipeline.output.describe.description import Description
from pipeline.output.fencing import lease, lease_record
from pipeline.output.fencing.heartbeat import guard_of
from pipeline.output.fencing.lease import acquire
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import read_manifest
from pipeline.output.state.plan_files import write_obsolete
from pipeline.output.units.receipts import Receipt, write_receipt
from pipeline.output.units.tables import reject_rows
from tests.pipeline.values import make_config, make_file, make_receipt

LENIENT = Gate(max_reject_fraction=1.0, max_failed_units=100)


class Output:
    """An output that a run holds."""

    def __init__(self, path: Path) -> None:
        self.path, self.layout = path, Layout(str(path))
        self.config: JobConfig = make_config(path)
        acquire(str(path), self.config.run, ends_with_process=True)

    def commit(self, fresh: Sequence[Receipt], gate: Gate = Gate(), **run: Any) -> dict[str, Any]:  # noqa: B008
        """Commit receipts as if they were all of the plan."""
        plain: dict[str, Any] = {"units": len(fresh), "todo": len(fresh), "obsolete": "", "passed_over": {}}
        return commit(self.config, gate, Run(**({"started": 100.0} | plain | run)), fresh)

    def again(self, run: str) -> "Output":
        """The next run holds it."""
        self.config = replace(self.config, run=run)
        acquire(str(self.path), run, ends_with_process=True)
        return self

    def write(self, *names: str) -> None:
        """Files of these names."""
        for name in names:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_bytes(b"data")

    @property
    def files(self) -> list[str]:
        """Names of all files, but for those of one run's summary."""
        found = (path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file())
        return sorted(name for name in found if not name.startswith("_plan/"))

    @property
    def success(self) -> dict[str, Any] | None:
        """What ``_SUCCESS`` says; None where there is none."""
        path = self.path / "_SUCCESS"
        return sealed_json.loads(path.read_bytes(), "_SUCCESS") if path.exists() else None


@pytest.fixture
def output(tmp_path: Path) -> Output:
    RETRIES.take()
    return Output(tmp_path / "out")


def failed(unit: str, **changes: Any) -> Receipt:
    return Receipt(unit=unit, fingerprint=f"print of {unit}", error=f"{unit} is damaged", **changes)


def test_a_card_comes_before_success_and_again_the_same(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    description = Description(pages=("card",), source=("in",), sources=1, due=True)

    def killed(*_: object) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="killed"):
        patch.setattr(publish_state, "_publish", killed)
        output.commit([make_receipt("a")], description=description)
    card = output.path / "README.md"
    before = card.read_bytes()
    assert output.success is None
    output.commit([make_receipt("a")], description=description)
    assert card.read_bytes() == before
    assert output.success is not None


def test_the_summary_says_what_the_output_holds(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = [
        make_receipt("a", read=200, rejects={"corrupt_image": 1}, first=300.0, store_retries=2, spent={"read": 1.0}),
        make_receipt("b", read=100, first=200.0, store_retries=3, spent={"read": 2.0, "model": 1.5}),
    ]
    RETRIES.add()
    monkeypatch.setattr(publish_state, "time", SimpleNamespace(time=lambda: 150.12345))
    summary = output.commit(fresh, units=5, passed_over={"unknown_format": {"count": 7, "examples": ["a"]}})
    manifest = output.path / "_manifest.parquet"
    assert summary.pop("manifest") == {
        "name": "_manifest.parquet",
        "size": manifest.stat().st_size,
        "rows": 2,
        "crc32c": checksum(manifest),
    }
    assert isinstance(summary.pop("python"), str)
    assert len(summary.pop("examples")["corrupt_image"]) == 1
    assert summary == {
        "complete": True,
        "refused": [],
        "verb": "encode",
        "output": str(output.path),
        "model_digest": "d1",
        "latent_layer": "encoded",
        "total": {
            "units": 2,
            "read": 300,
            "results": 299,
            "rejects": 1,
            "reasons": {"corrupt_image": 1},
            "output_bytes": 200,
        },
        "run": {
            "id": "run-1",
            "retry": False,
            "units": 2,
            "kept_units": 3,
            "passed_over_files": 7,
            "passed_over": {"unknown_format": {"count": 7, "examples": ["a"]}},
            "failed_units": 0,
            "read": 300,
            "results": 299,
            "rejects": 1,
            "reasons": {"corrupt_image": 1},
            "output_bytes": 200,
            "written": {"latents": {"files": 2, "rows": 299, "bytes": 200}},
            "store_retries": 6,
            "started": 100.0,
            "first_result": 200.0,
            "ended": 150.12345,
            "seconds": 50.123,
            "timing": {
                "start": 100.0,
                "step": 5.00005,
                "records": [100.0, *[0.0] * 18, 200.0],
                "slowest": [{"unit": "a", "seconds": 0.0, "read": 200}, {"unit": "b", "seconds": 0.0, "read": 100}],
                "spent": {"model": 1.5, "read": 3.0},
            },
            "sample": ["b", "a"],
        },
        "failed": [],
        "options": output.config.options(),
        "version": __version__,
    }


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return measured(file)[1]


def test_what_is_left_is_what_was_committed(output: Output) -> None:
    fresh = [make_receipt("b"), make_receipt("a")]
    output.write("latents/a.parquet", "latents/b.parquet")
    summary = output.commit(fresh)
    assert output.success == json.loads(json.dumps(summary))
    kept = (output.path / "_plan/run-1/summary.json").read_bytes()
    assert kept == (output.path / "_SUCCESS").read_bytes()
    assert read_manifest(output.layout) == {receipt.unit: receipt for receipt in fresh}
    assert output.files == ["_SUCCESS", "_manifest.parquet", "latents/a.parquet", "latents/b.parquet"]


@pytest.mark.parametrize("todo", [0, 1, 3, 4])
def test_another_number_of_receipts_than_planned_is_refused(output: Output, todo: int) -> None:
    fresh = [make_receipt("a"), make_receipt("b")]
    with pytest.raises(LatentlakeError, match=rf"^{todo} units were planned and 2 left a receipt"):
        output.commit(fresh, todo=todo)
    assert output.success is None
    assert read_manifest(output.layout) == {}


def test_two_receipts_of_one_unit_are_one(output: Output) -> None:
    with pytest.raises(LatentlakeError, match="2 units were planned and 1 left a receipt"):
        output.commit([make_receipt("a"), make_receipt("a")])


@pytest.mark.parametrize(
    ("results", "rejects"), [(2, {}), (4, {}), (3, {"corrupt_image": 1}), (1, {"corrupt_image": 1}), (0, {})]
)
def test_records_that_neither_gave_a_result_nor_a_reject_are_refused(
    output: Output, results: int, rejects: dict[str, int]
) -> None:
    wrong = make_receipt("b", read=3, rejects=rejects, results=results)
    with pytest.raises(LatentlakeError, match=rf"^unit b: 3 records read, but {results} results and"):
        output.commit([make_receipt("a"), wrong, make_receipt("c")], LENIENT)
    assert output.success is None
    assert read_manifest(output.layout) == {}


def test_what_a_failed_unit_counted_is_no_matter(output: Output) -> None:
    assert output.commit([make_receipt("a"), failed("b", read=3)], LENIENT)["complete"]


def test_one_file_of_two_units_is_refused(output: Output) -> None:
    shared = make_file("images/a.tar")
    fresh = [make_receipt("a", outputs=(make_file("latents/a.parquet"), shared)), make_receipt("b", outputs=(shared,))]
    with pytest.raises(LatentlakeError, match=r"units 'a' and 'b' both wrote images/a\.tar"):
        output.commit(fresh)
    assert output.success is None
    assert read_manifest(output.layout) == {}


def test_one_file_of_a_new_unit_and_one_of_before_is_refused(output: Output) -> None:
    shared = make_file("images/a.tar")
    output.commit([make_receipt("a", outputs=(shared,))])
    with pytest.raises(LatentlakeError, match=r"both wrote images/a\.tar"):
        output.again("run-2").commit([make_receipt("b", outputs=(shared,))])


def test_a_unit_that_names_a_file_twice_is_no_clash(output: Output) -> None:
    twice = make_file("images/a.tar")
    assert output.commit([make_receipt("a", outputs=(twice, twice))])["complete"]


def test_of_a_unit_that_is_gone_the_name_is_free(output: Output) -> None:
    shared = make_file("images/a.tar")
    output.commit([make_receipt("a", outputs=(shared,)), make_receipt("c")])
    output.again("run-2").write("images/a.tar")
    write_obsolete(output.layout.obsolete("run-2"), ["a"])
    summary = output.commit([make_receipt("b", outputs=(shared,))], obsolete=output.layout.obsolete("run-2"))
    assert summary["complete"]
    assert sorted(read_manifest(output.layout)) == ["b", "c"]
    assert "images/a.tar" in output.files, "it is the other unit's now"


def take_over(output: Output) -> None:
    (output.path / "_hold").unlink()
    acquire(str(output.path), "other", ends_with_process=True)


@pytest.mark.parametrize("where", ["publish_manifest", "examples", "_publish", "put"])
def test_a_run_that_lost_its_output_leaves_no_success(
    output: Output, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Whenever another run took it: the last look is just before ``_SUCCESS``."""
    output.write("latents/old.parquet")
    known: Callable[..., Any] = getattr(publish_state, where)

    def late(*args: Any, **named: Any) -> Any:
        take_over(output)
        monkeypatch.setattr(publish_state, where, known)
        return known(*args, **named)

    monkeypatch.setattr(publish_state, where, late)
    with pytest.raises(HeldError, match="no longer held by run run-1, run other"):
        output.commit([make_receipt("a")], tidy=True)
    assert output.success is None
    assert "latents/old.parquet" in output.files, "who lost the output deletes nothing"
    assert json.loads((output.path / "_hold").read_text())["run"] == "other"


def test_a_run_that_lost_its_output_before_changes_nothing(output: Output) -> None:
    take_over(output)
    before = output.files
    with pytest.raises(HeldError):
        output.commit([make_receipt("a")])
    assert output.files == before


def test_committed_once_more_nothing_changes(output: Output) -> None:
    """An engine that lost the answer asks again, with the receipts or what it has left of them."""
    summary = output.commit([make_receipt("a")])
    before = {name: (output.path / name).read_bytes() for name in output.files}
    assert output.commit([], todo=7) == json.loads(json.dumps(summary))
    assert {name: (output.path / name).read_bytes() for name in output.files} == before


def test_a_damaged_summary_is_not_taken_for_an_answer(output: Output) -> None:
    output.commit([make_receipt("a")])
    path = output.path / "_plan/run-1/summary.json"
    path.write_bytes(path.read_bytes().replace(b"true", b"True"))
    with pytest.raises(VerifyError, match=r"summary\.json"):
        output.commit([make_receipt("a")])


def test_the_output_is_let_go_of_at_the_end(output: Output) -> None:
    output.commit([make_receipt("a")])
    assert not (output.path / "_hold").exists()


def test_a_manifest_that_could_not_be_written_is_written_again(
    output: Output, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def shaky(layout: Layout, manifest: Any, guard: Guard) -> OutputFile:
        tries.append(1)
        if len(tries) == 1:
            raise TimeoutError("the store was away")
        return known(layout, manifest, guard)

    known = publish_state.publish_manifest
    monkeypatch.setattr(publish_state, "publish_manifest", shaky)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert output.commit([make_receipt("a"), make_receipt("b")])["total"]["units"] == 2
    assert sorted(read_manifest(output.layout)) == ["a", "b"]
    assert len(tries) == 2
    assert caplog.messages[0].startswith("the manifest failed")


def test_a_commit_that_takes_longer_than_the_lease_keeps_it(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it runs: no launcher is there that could renew it."""
    monkeypatch.setattr(lease, "RENEWAL", 0.05)
    monkeypatch.setattr(lease_record, "EXPIRY", 1.5)
    where, known = str(output.path), publish_state.publish_manifest
    lease.release(where, "run-1")
    acquire(where, "run-1", ends_with_process=False)

    def slow(layout: Layout, manifest: Any, guard: Guard) -> OutputFile:
        for _ in range(8):
            time.sleep(0.25)
            with pytest.raises(HeldError):
                acquire(where, "another", ends_with_process=False)
        return known(layout, manifest, guard)

    monkeypatch.setattr(publish_state, "publish_manifest", slow)
    assert output.commit([make_receipt("a")])["complete"]


def test_a_commit_that_lost_its_output_in_its_clean_up_removes_nothing_more(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    output.write("latents/a.parquet", "latents/of-a-run-that-died.parquet")
    known = module.clean_up

    def late(*arguments: Any, **more: Any) -> None:
        (output.path / "_hold").unlink()
        output.again("run-2")
        output.write("latents/of-the-next-run.parquet")
        known(*arguments, **more)

    monkeypatch.setattr(module, "clean_up", late)
    with pytest.raises(HeldError, match=r"run run-1 committed .* and then lost it .*: .* run run-2 on"):
        output.commit([make_receipt("a")], tidy=True)
    assert {"latents/of-the-next-run.parquet", "latents/of-a-run-that-died.parquet", "_hold"} < {*output.files}


def test_a_commit_that_lost_its_output_at_its_very_end_says_so(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing was left to be removed."""
    known = module.clean_up

    def late(*arguments: Any, **more: Any) -> None:
        known(*arguments, **more)
        (output.path / "_hold").unlink()
        output.again("run-2")

    monkeypatch.setattr(module, "clean_up", late)
    with pytest.raises(HeldError, match="run run-1 committed"):
        output.commit([make_receipt("a")])
    assert (output.path / "_hold").exists()


def test_a_unit_that_is_done_anew_replaces_the_one_of_before(output: Output) -> None:
    old = make_receipt("a", outputs=(make_file("latents/a.parquet"), make_file("rejects/a.parquet")))
    output.write("latents/a.parquet", "rejects/a.parquet", "latents/b.parquet")
    output.commit([old, make_receipt("b")])
    new = make_receipt("a", read=9, fingerprint="another")
    summary = output.again("run-2").commit([new], units=2)
    assert read_manifest(output.layout) == {"a": new, "b": make_receipt("b")}
    assert summary["total"]["read"] == 12
    assert summary["run"]["read"] == 9
    assert summary["run"]["kept_units"] == 1
    assert [name for name in output.files if not name.startswith("_")] == ["latents/a.parquet", "latents/b.parquet"]


def test_receipts_that_a_dead_run_left_are_of_the_output(output: Output) -> None:
    """And its files too: those that are superseded go, as those of the manifest do."""
    left = make_receipt("a", outputs=(make_file("latents/a.parquet"),))
    pending = make_receipt("b", outputs=(make_file("latents/b.parquet"), make_file("images/b.tar")))
    for receipt in (left, pending, Receipt(unit="c", fingerprint="", error="to be done again")):
        write_receipt(output.layout, receipt)
    output.write("latents/a.parquet", "latents/b.parquet", "images/b.tar")
    new = make_receipt("b")
    recovered = output.layout.recovered("run-1")
    write_recovered(recovered, Recovered(adopted=["a", "b"]), guard_of(str(output.path), "run-1"))
    summary = output.commit([new], units=3, tidy=True, recovered=recovered)
    assert read_manifest(output.layout) == {"a": left, "b": new}
    assert summary["total"]["units"] == 2
    assert output.files == ["_SUCCESS", "_manifest.parquet", "latents/a.parquet", "latents/b.parquet"]


def test_this_runs_receipts_need_not_be_read_again(output: Output) -> None:
    """What is among the files may be of a twin: what came to the commit counts."""
    write_receipt(output.layout, make_receipt("a", read=99, outputs=()))
    write_receipt(output.layout, make_receipt("b"))
    asked: list[Any] = []
    read = recovery.read_receipts_of
    recovered = output.layout.recovered("run-1")
    write_recovered(recovered, Recovered(adopted=["a", "b"]), guard_of(str(output.path), "run-1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "read_receipts_of", lambda layout, units: (asked.append(units), read(layout, units))[1])
        summary = output.commit([make_receipt("a"), failed("b")], LENIENT, recovered=recovered)
    assert summary["total"]["read"] == 6
    assert asked == [["b"]]
    assert read_manifest(output.layout) == {"a": make_receipt("a"), "b": make_receipt("b")}


def test_a_receipt_that_the_plan_counted_on_and_that_is_gone_ends_the_commit(output: Output) -> None:
    """It was removed by its name, late: what the manifest says of the unit may not be what its file holds."""
    output.commit([make_receipt("a"), make_receipt("b")])
    output.again("run-2")
    recovered, success = output.layout.recovered("run-2"), output.success
    write_recovered(recovered, Recovered(adopted=["a", "b"]), guard_of(str(output.path), "run-2"))
    write_receipt(output.layout, replace(make_receipt("a", fingerprint="new"), run="dead"))
    says = r"^1 receipts of an earlier run are gone, such as .*/out/_receipts/b\.json; run the job again, which does"
    with pytest.raises(LatentlakeError, match=says):
        output.commit([], recovered=recovered)
    assert read_manifest(output.layout) == {"a": make_receipt("a"), "b": make_receipt("b")}
    assert output.success == success


def test_an_attempt_that_died_in_its_clean_up_has_removed_receipts_that_it_counted_on(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    recovered, left = output.layout.recovered("run-1"), make_receipt("a")
    write_recovered(recovered, Recovered(adopted=["a"]), guard_of(str(output.path), "run-1"))
    write_receipt(output.layout, left)

    def killed(layout: Layout, *_: object, **__: object) -> None:
        Path(layout.receipt("a")).unlink()
        raise OSError("killed")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="killed"):
        patch.setattr(module, "clean_up", killed)
        output.commit([make_receipt("b")], recovered=recovered)
    assert output.commit([make_receipt("b")], recovered=recovered)["complete"]
    assert read_manifest(output.layout) == {"a": left, "b": make_receipt("b")}


def test_receipts_that_the_plan_did_not_count_on_are_of_nothing(output: Output) -> None:
    """A run that lost this output may have sent them before, and they arrived afterwards."""
    write_receipt(output.layout, make_receipt("late"))
    output.write("latents/a.parquet")
    output.commit([make_receipt("a")])
    assert read_manifest(output.layout) == {"a": make_receipt("a")}
    assert output.files == ["_SUCCESS", "_manifest.parquet", "latents/a.parquet"]


def test_a_unit_whose_files_a_dead_run_may_have_replaced_is_done_by_its_new_receipt_alone(output: Output) -> None:
    output.write("latents/a.parquet", "latents/b.parquet", "latents/c.parquet")
    output.commit([make_receipt("a"), make_receipt("b"), make_receipt("c")])
    output.again("run-2")
    recovered = output.layout.recovered("run-2")
    write_recovered(recovered, Recovered(doubtful=["a", "b"]), guard_of(str(output.path), "run-2"))
    new = make_receipt("a", read=5)
    output.commit([new, failed("b")], LENIENT, units=3, recovered=recovered)
    assert read_manifest(output.layout) == {"a": new, "c": make_receipt("c")}
    assert output.files == ["_SUCCESS", "_manifest.parquet", "latents/a.parquet", "latents/c.parquet"]


def test_the_process_reaches_stores_as_the_job_does(output: Output) -> None:
    before = configured()
    output.config = replace(output.config, stores=StoreOptions(anonymous=True))
    try:
        output.commit([make_receipt("a")])
        assert configured() == StoreOptions(anonymous=True)
    finally:
        configure(before)


@pytest.mark.parametrize(("allowed", "complete"), [(0, False), (1, False), (2, True), (3, True)])
def test_failed_units_keep_success_back(output: Output, allowed: int, complete: bool) -> None:
    fresh = [make_receipt("a"), failed("c"), failed("b")]
    summary = output.commit(fresh, Gate(max_failed_units=allowed))
    assert summary["complete"] is complete
    assert (output.success is not None) is complete
    assert summary["run"]["failed_units"] == 2
    assert summary["failed"] == [
        {"unit": "b", "error": "b is damaged"},
        {"unit": "c", "error": "c is damaged"},
    ]
    assert summary["total"]["units"] == 1
    assert summary["run"]["read"] == 3, "of what failed nothing counts"
    if not complete:
        assert summary["refused"] == [f"2 failed units, {allowed} allowed (--max-failed-units)"]
        with pytest.raises(UnfinishedError, match=r"has no _SUCCESS: 2 failed units"):
            check_complete(summary)
    else:
        check_complete(summary)
    assert read_manifest(output.layout) == {"a": make_receipt("a")}


def test_only_some_failed_units_are_named(output: Output) -> None:
    fresh = [failed(f"{number:02d}") for number in range(25)]
    summary = output.commit(fresh, LENIENT)
    assert [entry["unit"] for entry in summary["failed"]] == [f"{number:02d}" for number in range(20)]
    assert summary["run"]["failed_units"] == 25
    assert summary["run"]["first_result"] is None


@pytest.mark.parametrize(("share", "complete"), [(0.099, False), (0.1, True), (0.101, True)])
def test_the_share_of_rejects_is_of_all_records(output: Output, share: float, complete: bool) -> None:
    fresh = [make_receipt("a", read=50, rejects={"corrupt_image": 6, "wrong_size": 3}), make_receipt("b", read=40)]
    write_receipt(output.layout, make_receipt("c", read=10, rejects={"wrong_size": 1}))
    summary = output.commit(fresh, Gate(max_reject_fraction=share))
    assert summary["complete"] is complete
    if not complete:
        assert summary["refused"] == ["10.00% of the records were rejected, 9.9% allowed (--max-reject-fraction)"]


def test_an_output_of_nothing_is_complete(output: Output) -> None:
    summary = output.commit([], Gate(max_reject_fraction=0.0))
    assert summary["complete"]
    assert summary["total"]["read"] == 0


def test_a_single_record_that_is_rejected_is_all_of_them(output: Output) -> None:
    summary = output.commit([make_receipt("a", read=1, rejects={"wrong_size": 1})], Gate(max_reject_fraction=0.99))
    assert summary["refused"] == ["100.00% of the records were rejected, 99% allowed (--max-reject-fraction)"]


@pytest.mark.parametrize(
    ("expected", "complete"), [(None, True), (3, False), (5, False), (6, True), (7, False), (0, False)]
)
def test_more_or_fewer_records_than_expected(output: Output, expected: int | None, complete: bool) -> None:
    summary = output.commit([make_receipt("a"), make_receipt("b")], expected=expected)
    assert summary["complete"] is complete
    assert (output.success is not None) is complete
    if not complete:
        assert summary["refused"] == [f"6 records, and {expected} are expected (--expect-records)"]


def test_all_reasons_are_given_at_once(output: Output) -> None:
    fresh = [make_receipt("a", read=2, rejects={"wrong_size": 1}), failed("b")]
    summary = output.commit(fresh, expected=3)
    assert [text.partition(" ")[0] for text in summary["refused"]] == ["1", "50.00%", "2"]
    with pytest.raises(UnfinishedError, match=r"allowed \(--max-failed-units\); 50.00% of the records"):
        check_complete(summary)


def test_success_does_not_stand_over_rows_of_an_earlier_model(output: Output) -> None:
    old = make_receipt("a", fingerprint="earlier")
    output.write("latents/a.parquet", "latents/b.parquet")
    output.commit([old, make_receipt("b")])
    fresh = [failed("a"), make_receipt("c")]
    refused = output.again("run-2").commit(fresh)
    assert not refused["complete"]
    assert sorted(read_manifest(output.layout)) == ["a", "b", "c"], "until then they stay"
    assert refused["total"]["units"] == 3
    complete = output.again("run-3").commit(fresh, LENIENT)
    assert complete["complete"]
    assert sorted(read_manifest(output.layout)) == ["b", "c"]
    assert complete["total"]["units"] == 2
    assert "latents/a.parquet" not in output.files
    assert "latents/b.parquet" in output.files


def test_the_gate_judges_what_would_stay(output: Output) -> None:
    """Rows that go with the commit are not among the records that are expected."""
    output.commit([make_receipt("a", fingerprint="earlier"), make_receipt("b")])
    assert output.again("run-2").commit([failed("a")], LENIENT, expected=3)["complete"]


def test_a_unit_that_failed_and_has_not_changed_keeps_its_rows(output: Output) -> None:
    output.commit([make_receipt("a"), make_receipt("b")])
    summary = output.again("run-2").commit([failed("a")], LENIENT)
    assert sorted(read_manifest(output.layout)) == ["a", "b"]
    assert summary["total"]["units"] == 2


def test_what_the_plan_gave_up_goes(output: Output) -> None:
    output.write("latents/a.parquet", "latents/b.parquet")
    output.commit([make_receipt("a"), make_receipt("b")])
    output.again("run-2")
    write_obsolete(output.layout.obsolete("run-2"), ["a"])
    output.commit([make_receipt("c")], obsolete=output.layout.obsolete("run-2"))
    assert sorted(read_manifest(output.layout)) == ["b", "c"]
    assert [name for name in output.files if name.startswith("latents")] == ["latents/b.parquet"]
    assert not (output.path / "_plan/run-2/obsolete.json").exists()


@pytest.mark.parametrize("tidy", [True, False])
def test_files_that_no_receipt_names_go_after_a_run_that_died(output: Output, tidy: bool) -> None:
    output.write("latents/a.parquet", "latents/lost.parquet", "latents/.index", "latents/_index", "other/file")
    output.commit([make_receipt("a")], tidy=tidy)
    kept = ["latents/.index", "latents/_index", "latents/a.parquet", "other/file"]
    lost = [] if tidy else ["latents/lost.parquet"]
    assert [name for name in output.files if "/" in name] == sorted([*kept, *lost])


def test_a_retry_says_that_it_is_one(output: Output) -> None:
    output.config = replace(output.config, retry=RejectRetry(target=output.config.target, max_record_bytes=1))
    assert output.commit([make_receipt("a")])["run"]["retry"] is True


def write_rejects(output: Output, unit: str, *reasons: Reason) -> None:
    rows = [
        Reject(shard=unit, index=i, key=f"k{i}", stage=Stage.DECODE, reason=reason, detail="d", data=None)
        for i, reason in enumerate(reasons)
    ]
    output.write(f"rejects/{unit}.parquet")
    pq.write_table(pa.Table.from_batches([reject_rows(rows, 0)]), output.path / f"rejects/{unit}.parquet")


def test_the_most_frequent_rejects_are_shown(output: Output) -> None:
    counts = {"corrupt_image": 4, "wrong_size": 3, "empty_image": 2, "wrong_type": 1}
    reasons = [Reason(reason) for reason, count in counts.items() for _ in range(count)]
    write_rejects(output, "a", *reasons)
    summary = output.commit([make_receipt("a", read=20, rejects=dict(reversed(counts.items())))], LENIENT)
    assert {reason: len(rows) for reason, rows in summary["examples"].items()} == {
        "corrupt_image": 3,
        "wrong_size": 3,
        "empty_image": 2,
    }
    assert summary["examples"]["wrong_size"][0] == {"shard": "a", "index": 4, "key": "k4", "detail": "d"}
    assert list(summary["total"]["reasons"]) == list(counts)
