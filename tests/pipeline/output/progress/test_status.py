"""How far a run is, in every state that an output can be in, against what was put there."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lake.core.errors import OutputError, UsageError, VerifyError
from lake.storage import configured, put
from pipeline.cli.command import main
from pipeline.cli.status_text import describe_status
from pipeline.output.fencing import lease, lease_record
from pipeline.output.fencing.lease import acquire, await_workers, release
from pipeline.output.fencing.stop import write_stop
from pipeline.output.layout import Layout
from pipeline.output.progress import finished_units
from pipeline.output.progress.finished_units import FinishedUnits
from pipeline.output.progress.status import State, Status, status
from pipeline.output.state.plan_files import unit_line
from pipeline.output.state.run_file import RunFile, earlier_receipts, write_run_file
from pipeline.output.units.receipts import Receipt, write_failure, write_receipt
from tests.pipeline.conftest import run_job
from tests.pipeline.values import make_config, make_receipt, make_shard, make_unit

RUN = "20261129T010000Z-abc123"
UNITS = [f"{'ab'[number % 2]}/{number}" for number in range(8)]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "out"))


def begin(layout: Layout, units: Sequence[str] = UNITS, run: str = RUN, size: int = 100) -> None:
    """What a launcher leaves: two parts of a plan and what the run set out to do; the lease of this process."""
    acquire(layout.output, run, ends_with_process=True)
    lines = [unit_line(make_unit(unit, shards=(make_shard(unit, size=size),))) for unit in units]
    for number, part in enumerate((lines[:5], lines[5:])):
        put(f"{layout.plan(run)}/part-{number:05d}.jsonl", b"".join(part))
    earlier = earlier_receipts(layout, set(units))
    content = RunFile(verb="encode", started=time.time() - 60, units=len(units) + 3, todo=len(units), earlier=earlier)
    write_run_file(layout, run, content)


def finish(layout: Layout, *units: str, **changes: Any) -> None:
    for unit in units:
        write_receipt(layout, make_receipt(unit, first=time.time() - 10, **changes))


def fail(layout: Layout, unit: str) -> None:
    write_failure(layout, RUN, Receipt(unit=unit, fingerprint="x", error=f"{unit}: damaged"))


def ask(layout: Layout) -> Status:
    found = status(layout.output)
    assert found.left == found.todo - found.done - found.failed
    return found


def test_an_output_that_is_not_there_yet_or_is_none(layout: Layout, tmp_path: Path) -> None:
    assert (ask(layout).state, ask(layout).exit_status) == (State.EMPTY, 3)
    (tmp_path / "file").write_text("x")
    for other in (tmp_path, tmp_path / "file"):
        with pytest.raises(OutputError):
            status(other)


def test_a_run_from_its_launch_to_its_commit(layout: Layout) -> None:
    acquire(layout.output, RUN, ends_with_process=True)
    found = ask(layout)
    assert (found.state, found.run, found.exit_status) == (State.STARTING, RUN, 4)
    assert 0 <= (found.heard or 0) < 5
    begin(layout)
    finish(layout, UNITS[0], UNITS[3], read=10, rejects={"corrupt_image": 2})
    fail(layout, UNITS[1])
    found = ask(layout)
    assert (found.state, found.exit_status) == (State.RUNNING, 4)
    assert (found.units, found.todo, found.done, found.failed, found.left) == (11, 8, 2, 1, 5)
    assert [(failure.unit, failure.error) for failure in found.failures] == [(UNITS[1], f"{UNITS[1]}: damaged")]
    assert (found.read, found.rejects, found.exact) == (20, 4, True)
    assert found.rate == pytest.approx(2.0, rel=0.2)  # 20 records in 10 s
    assert found.seconds_left == pytest.approx(10 * 5 / 3, rel=0.2)  # three eighths of the bytes in 10 s
    finish(layout, *UNITS[2:3], *UNITS[4:])
    assert ask(layout).state == State.COMMITTING


def test_a_unit_that_failed_before_and_is_done_now_is_done(layout: Layout) -> None:
    """An engine that starts a job again does failed units again."""
    begin(layout)
    fail(layout, UNITS[0])
    finish(layout, UNITS[0])
    assert (ask(layout).done, ask(layout).failed, ask(layout).failures) == (1, 0, ())


def test_receipts_of_an_earlier_run_do_not_count(layout: Layout) -> None:
    finish(layout, *UNITS[:3], "kept/1", read=5)
    begin(layout)
    assert (ask(layout).done, ask(layout).read) == (0, 0)
    finish(layout, UNITS[0], read=6)
    assert (ask(layout).done, ask(layout).read) == (1, 6)


def test_who_holds_it_and_whether_it_looks_dead(layout: Layout) -> None:
    begin(layout)
    held = json.loads(Path(layout.lease).read_text())
    far = {**held, "place": "another boot", "host": "elsewhere", "pid": 4711}
    for age, state in ((5.0, State.RUNNING), (lease_record.EXPIRY + 5, State.DEAD)):
        Path(layout.lease).write_text(json.dumps({**far, "beat": time.time() - age}))
        found = ask(layout)
        assert (found.state, found.host, found.process) == (state, "elsewhere", 4711)
        assert found.heard == pytest.approx(age, abs=2)
        assert (found.todo, found.exit_status) == (8, 4 if state == State.RUNNING else 3)
        assert (found.rate, found.seconds_left) == (None, None)
    Path(layout.lease).unlink()
    assert (ask(layout).state, ask(layout).todo, ask(layout).host) == (State.STOPPED, 8, "")


def test_why_a_run_stopped(layout: Layout) -> None:
    begin(layout)
    finish(layout, UNITS[0])
    assert ask(layout).refused == ()
    config = make_config(layout.output, run=RUN)
    write_stop(config, OSError(28, "No space left on device"))
    found = ask(layout)
    assert (found.state, found.refused) == (State.RUNNING, ("[Errno 28] No space left on device",))
    release(layout.output, RUN)
    found = ask(layout)
    assert (found.state, found.refused, found.done) == (State.STOPPED, ("[Errno 28] No space left on device",), 1)
    assert "  not complete: [Errno 28] No space left on device" in describe_status(found).splitlines()


def test_workers_that_have_yet_to_start(layout: Layout) -> None:
    acquire(layout.output, RUN, ends_with_process=False)
    await_workers(layout.output, RUN)
    found = ask(layout)
    assert (found.state, found.exit_status) == (State.STARTING, 4)
    assert found.heard == pytest.approx(-lease_record.STARTUP, abs=5)


def test_half_a_lease_is_read_again(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk a lease is written in place."""
    begin(layout)
    whole = Path(layout.lease).read_text()
    Path(layout.lease).write_text(whole[:20])
    monkeypatch.setattr(lease.time, "sleep", lambda _: Path(layout.lease).write_text(whole))
    assert ask(layout).run == RUN


def test_a_commit_that_comes_between(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan goes while it is being read."""
    begin(layout)
    calls = []

    def gone(part: str) -> dict[str, int]:
        calls.append(part)
        release(layout.output, RUN)
        for path in Path(layout.plan(RUN)).iterdir():
            path.unlink()
        raise FileNotFoundError(part)

    monkeypatch.setattr("pipeline.output.progress.status.read_sizes", gone)
    assert ask(layout).state == State.EMPTY
    assert len(calls) == 1


@pytest.mark.slow
def test_what_ended(shards: Path, model: Any, tmp_path: Path) -> None:
    output = tmp_path / "out"
    summary = run_job("encode", shards, model.bundle, output)
    found = status(output)
    assert (found.state, found.exit_status, found.run) == (State.COMPLETE, 0, summary["run"]["id"])
    assert (found.units, found.todo, found.done, found.failed, found.left) == (3, 3, 3, 0, 0)
    assert (found.read, found.rejects) == (summary["total"]["read"], summary["total"]["rejects"])
    (output / "_SUCCESS").unlink()
    assert (status(output).state, status(output).exit_status) == (State.UNFINISHED, 3)
    assert status(output).refused == ("_SUCCESS was removed",)


@pytest.mark.slow
def test_what_ended_with_a_failed_unit(shards: Path, model: Any, tmp_path: Path) -> None:
    """Its shard is named while the run lasts, and after it; nothing of that is left in the output."""
    source = tmp_path / "in"
    source.mkdir()
    for path in shards.rglob("*.parquet"):
        (source / path.name).write_bytes(path.read_bytes())
    (source / "bad.parquet").write_bytes(b"PAR1 damaged PAR1")
    summary = run_job("encode", source, model.bundle, tmp_path / "out")
    found = status(tmp_path / "out")
    assert (found.state, found.exit_status, found.done, found.failed) == (State.UNFINISHED, 3, 3, 1)
    assert [failure.unit for failure in found.failures] == ["bad"]
    assert list(found.refused) == summary["refused"] != []
    assert [path.name for path in (tmp_path / "out/_plan").rglob("*") if path.is_file()] == ["summary.json"]


def test_of_many_units_the_records_are_reckoned(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished_units, "_SAMPLE", 4)
    sizes = dict.fromkeys(UNITS, 100)
    begin(layout)
    finish(layout, *UNITS[:6], read=7)
    read = list[str]()
    each = finished_units.read_each
    monkeypatch.setattr(finished_units, "read_each", lambda uris: read.extend(uris) or each(uris))
    seen = FinishedUnits(layout, RUN, sizes, {}, most=4)
    for _ in range(3):
        seen.update()
        assert (seen.counts.read, seen.counts.units, seen.counts.unit_bytes, seen.exact) == (42, 6, 600, False)
    assert len(read) == 4
    finish(layout, *UNITS[6:], read=7)
    seen.update()
    assert (seen.counts.read, seen.counts.units, len(read)) == (56, 8, 4)


def test_forged_state_is_refused_by_name(layout: Layout) -> None:
    begin(layout)
    Path(layout.run_file(RUN)).write_text('{"todo": "many"}')
    with pytest.raises(VerifyError, match=r"run\.json: damaged"):
        status(layout.output)


def test_options_of_the_stores(layout: Layout) -> None:
    before = configured()
    with pytest.raises(UsageError, match="gcs_endpoint"):
        status(layout.output, gcs_endpoit="http://localhost:1")
    assert status(layout.output, gcs_endpoint="http://localhost:1").state == State.EMPTY
    assert configured() == before


def test_the_command(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", layout.output]) == 3
    assert capsys.readouterr().out == f"{layout.output}: no run has written to it\n"
    begin(layout)
    finish(layout, *UNITS[:2], read=10)
    fail(layout, UNITS[7])
    assert main(["status", layout.output, "--json"]) == 4
    value = json.loads(capsys.readouterr().out)
    assert (value["state"], value["done"], value["failed"], value["left"]) == ("running", 2, 1, 5)
    assert value["failures"] == [{"unit": UNITS[7], "error": f"{UNITS[7]}: damaged"}]
    assert main(["status", layout.output]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{layout.output}: running"
    assert lines[1].startswith(f"  run {RUN}, since 20") and "held by process" in lines[1]
    assert lines[2] == "  units: 2 of 8 done, 1 failed, 5 to do, 3 kept"
    assert lines[3].startswith("  records: 20 read, 0 rejected, ")
    assert lines[4] == f"  failed: {UNITS[7]}: damaged"
    assert main(["status", layout.output, "--runner=FlinkRunner"]) == 2


def test_a_status_is_a_value() -> None:
    plain = Status(output="out", state=State.RUNNING, todo=3, done=1)
    assert replace(plain, done=2).left == 1
