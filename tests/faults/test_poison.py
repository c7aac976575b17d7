"""A unit that ends its process is found, fails by name, and stops no other."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lake.core.counters import RETRIES
from lake.core.errors import HeldError
from lake.core.records import Unit
from lake.storage import StoreOptions
from pipeline.job.prepare import Job
from pipeline.job.stage import begin
from pipeline.options.job_options import JobOptions
from pipeline.output.fencing.lease import acquire, release
from pipeline.output.layout import Layout
from pipeline.output.state.plan_files import read_units, unpack_unit
from pipeline.output.units.marks import adopt_marks, find_marks, mark_name, marked, read_starts
from pipeline.worker import apart, suspects
from pipeline.worker.run_unit import run_unit
from tests.faults.forkserver import Nursery
from tests.faults.poison import CALL, UNIT
from tests.faults.torture import Work, check_halfway, finish, log_of, marks, unchanged


@pytest.fixture
def job(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """Staged for an engine, in a process that has run no unit of it."""
    monkeypatch.setattr(suspects, "_STARTS", suspects._Starts())
    source, bundle = str(work.source), str(work.bundle)
    options = JobOptions(verb=work.verb, input=(source,), model=bundle, output=str(tmp_path / "out"))
    yield begin(options, ends_with_process=False)


def units(job: Job) -> dict[str, Unit]:
    found = [unpack_unit(data) for part in job.parts for data in read_units(part, StoreOptions())]
    return {unit.id: unit for unit in found}


def leave_mark(job: Job, unit: str, starts: int = 1) -> Path:
    """What a process leaves that ends in the middle of a unit."""
    layout, path = Layout(job.config.output), None
    with marked(layout, job.config.run, unit, starts):
        path = Path(layout.mark(job.config.run, mark_name(unit)))
        data = path.read_bytes()
    path.write_bytes(data)
    return path


def test_what_ran_when_its_process_ended_runs_apart(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be innocent, and then its outputs are those of any other."""
    unit = units(job)[UNIT]
    RETRIES.take()  # of other tests: a receipt counts them, and another process begins with none
    wanted = run_unit(unit, replace(job.config, restarts=False, marks=False))
    clean = {output.name: Path(job.config.output, output.name).read_bytes() for output in wanted.outputs}
    mark, ran = leave_mark(job, UNIT), list[str]()
    run_apart = suspects.run_apart
    monkeypatch.setattr(suspects, "run_apart", lambda *job: ran.append(job[0].id) or run_apart(*job))
    found = run_unit(unit, replace(job.config, restarts=False))
    assert ran == [UNIT]
    assert not mark.exists()
    assert replace(found, seconds=0.0, first=None, spent=wanted.spent) == replace(wanted, seconds=0.0, first=None)
    assert {name: Path(job.config.output, name).read_bytes() for name in clean} == clean
    run_unit(unit, replace(job.config, restarts=False))
    assert ran == [UNIT], "it is no suspect any more"


def test_what_ends_that_process_too_has_failed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_PROGRAM", "tests.faults.poison")
    mark = leave_mark(job, UNIT)
    receipt = run_unit(units(job)[UNIT], job.config)
    says = "it has ended its process twice, by SIGKILL; it may need more memory than there is, or crash a library"
    assert (receipt.error, receipt.outputs) == (f"{UNIT}: {says}", ())
    assert not mark.exists()


def test_what_ends_those_that_watch_it_is_given_up(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container ends as a whole where its memory is short."""
    monkeypatch.setattr(suspects, "run_apart", None)
    leave_mark(job, UNIT, starts=3)
    receipt = run_unit(units(job)[UNIT], job.config)
    assert receipt.error is not None
    assert receipt.error.startswith(f"{UNIT}: the process that ran it has ended 3 times; ")


@pytest.mark.slow
def test_what_it_raises_apart_is_raised_here(job: Job) -> None:
    leave_mark(job, UNIT)
    unit = units(job)[UNIT]
    release(job.config.output, job.config.run)
    with pytest.raises(HeldError, match="nobody holds it"):
        run_unit(unit, job.config)


def test_marks_are_of_units_that_run(job: Job) -> None:
    layout, run = Layout(job.config.output), job.config.run
    long = "x" * 300
    with pytest.raises(ZeroDivisionError), marked(layout, run, "a/b", 1), marked(layout, run, long, 2):
        found = find_marks(layout, run)
        assert found.keys() == {mark_name(unit) for unit in ("a/b", long)}
        assert read_starts(found[mark_name(long)]) == 2
        _ = 1 / 0
    assert find_marks(layout, run) == {}
    assert read_starts(layout.mark(run, "gone")) == 1
    Path(leave_mark(job, "a")).write_bytes(b"{")
    assert [read_starts(uri) for uri in find_marks(layout, run).values()] == [1]


def test_the_next_run_knows_what_dead_ones_were_at(job: Job) -> None:
    layout, run = Layout(job.config.output), job.config.run
    for unit, starts in (("a", 1), ("b", 2)):
        leave_mark(job, unit, starts)
    for following in ("second", "third"):
        release(layout.output, run)
        acquire(layout.output, following, ends_with_process=True)
        adopt_marks(layout, following)
        run = following
    found = {name: read_starts(uri) for name, uri in find_marks(layout, "third").items()}
    assert found == {mark_name("a"): 1, mark_name("b"): 2}


def test_a_run_of_this_process_writes_no_marks(work: Work, tmp_path: Path) -> None:
    """But after one that died."""
    options = JobOptions(
        verb=work.verb, input=(str(work.source),), model=str(work.bundle), output=str(tmp_path / "out")
    )
    job = begin(options, ends_with_process=True)
    assert not job.config.marks
    release(job.config.output, job.config.run)
    assert begin(options, ends_with_process=True).config.marks


@pytest.mark.slow
def test_a_job_goes_on_without_a_unit_that_ends_its_process(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    """The first run leaves no mark, the second does, the third finds it, and what had a receipt is not done again."""
    output, command = tmp_path / "out", work.command(tmp_path / "out")
    for _ in range(2):
        child = nursery.start(command, log_of(output), call=CALL)
        assert child.wait() == -signal.SIGKILL, child.said
        check_halfway(work, output)
    done = marks(output)
    child = nursery.start(command, log_of(output), call=CALL)
    assert child.wait() == 3, child.said
    assert f"failed: {UNIT}: it has ended its process twice, by SIGKILL" in child.said
    unchanged(output, done)
    assert sorted(path.name for path in output.rglob("latents/*/*.parquet")) == [
        f"{number:05d}.parquet" for number in range(6) if number != 2
    ]
    finish(nursery, work, output)
