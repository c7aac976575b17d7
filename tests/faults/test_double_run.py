"""What is done twice is there once: units by two workers at once, and jobs that start together."""

import time
from pathlib import Path

import pytest

from pipeline.output.fencing import lease, lease_record
from tests.faults.double_run import CALL, interleaved, run_all, stage
from tests.faults.forkserver import Nursery
from tests.faults.torture import Kill, Work, check_whole, race, receipts


@pytest.mark.slow
def test_units_by_two_processes_at_once(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    staged = stage(work, tmp_path / "out")
    orders = (1, 1, -1)
    others = [
        nursery.start([str(staged.path), str(order)], tmp_path / f"{number}.log", call=CALL)
        for number, order in enumerate(orders)
    ]
    assert [(other.wait(), other.said) for other in others] == [(0, "")] * len(orders)
    staged.commit([*receipts(tmp_path / "out").values()])
    check_whole(work, tmp_path / "out")


def test_units_twice_interleaved_and_once_more_when_all_are_done(work: Work, tmp_path: Path) -> None:
    staged = stage(work, tmp_path / "out")
    interleaved(staged.path)
    staged.commit(run_all(staged.path, -1))
    check_whole(work, tmp_path / "out")


@pytest.mark.slow
def test_a_worker_that_comes_late_to_another_run_writes_nothing(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    staged = stage(work, tmp_path / "out")
    lease.release(str(tmp_path / "out"), staged.job.config.run)
    assert nursery.run(work.command(tmp_path / "out"), tmp_path / "log").status == 0
    late = nursery.run([str(staged.path), "1"], tmp_path / "late", call=CALL)
    assert late.status == 70
    assert "HeldError" in late.said
    check_whole(work, tmp_path / "out")


def test_jobs_that_start_together(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    statuses = [race(nursery, work, tmp_path / f"out{number}") for number in range(3)]
    assert {status[0] for status in statuses} == {0}
    assert {status[1] for status in statuses} <= {0, 4}
    assert [0, 4] in statuses


@pytest.mark.slow
def test_the_hold_of_a_run_that_was_killed_is_taken_over_at_once(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    Kill.on("_receipts/*/*.json")(nursery, work, tmp_path / "out").wait()
    assert (tmp_path / "out/_hold").exists()
    started = time.monotonic()
    assert race(nursery, work, tmp_path / "out")[0] == 0
    assert time.monotonic() - started < lease_record.EXPIRY / 2
