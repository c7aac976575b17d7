"""What a launcher sees of a job whose units run elsewhere."""

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.beam import watch
from pipeline.beam.flink import FlinkJob
from pipeline.beam.watch import RemoteJob
from pipeline.cli.progress_bar import Progress
from pipeline.output.layout import Layout
from pipeline.output.units.receipts import Receipt, write_failure, write_receipt
from tests.pipeline.output.progress.test_status import RUN, UNITS, begin
from tests.pipeline.values import make_receipt, make_shard, make_unit

PAGE = "http://jobmanager:8081/#/job/running/1/overview"


class Cluster:
    """What a cluster says, one answer after the other."""

    def __init__(self, *states: str) -> None:
        self.states, self.broken = [*states], list[tuple[int, str]]()

    def job_ids(self) -> set[str]:
        return {"0"}

    def job(self, name: str, others: set[str]) -> FlinkJob | None:
        assert (name, others) == ("nightly", {"0"})
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return FlinkJob(id="1", name=name, state=state, running=3, tasks=20, page=PAGE) if state else None

    def failures(self, job: FlinkJob, after: int) -> list[tuple[int, str]]:
        return [(when, why) for when, why in self.broken if when > after]


@pytest.fixture
def job(tmp_path: Path) -> Any:
    """Staged, of eight units."""
    layout = Layout(str(tmp_path / "out"))
    begin(layout)
    todo = [make_unit(unit, shards=(make_shard(unit, size=100),)) for unit in UNITS]
    plan = SimpleNamespace(todo=todo, todo_bytes=800)
    return SimpleNamespace(config=SimpleNamespace(output=layout.output, run=RUN), plan=plan)


def test_counts_come_from_receipts_and_the_bar_shows_them(job: Any) -> None:
    layout, remote = Layout(job.config.output), RemoteJob(job)
    shown = Progress(job, remote)
    assert shown.line(shown._started + 3) == "waiting for the first unit, 3 s"
    for unit in UNITS[:2]:
        write_receipt(layout, make_receipt(unit, read=50, rejects={"corrupt_image": 5}, first=time.time() - 10))
    write_failure(layout, RUN, Receipt(unit=UNITS[2], fingerprint="x", error="damaged"))
    remote.look()
    line = shown.line(time.monotonic(), 60)
    assert re.fullmatch(r" 37%  100 records  (10|10\.0|[5-9]\.\d)/s  10 rejects  3/8 units  0:[12]\d left", line)
    for unit in UNITS:
        write_receipt(layout, make_receipt(unit, read=50, first=time.time() - 10))
    remote.look()
    assert "100%" in shown.line(time.monotonic())
    for path in Path(layout.receipts).rglob("*.json"):  # as the commit does
        path.unlink()
    remote.look()
    assert (remote.counts.read, remote.counts.units) == (400, 8)


def test_what_the_engine_says(job: Any) -> None:
    cluster = Cluster("", "CREATED", "RUNNING", "RUNNING")
    remote = RemoteJob(job, cluster, "nightly")  # type: ignore[arg-type]
    remote.look()
    assert (list(remote.news()), remote.waiting) == ([], "submitting the job")
    remote.look()
    assert list(remote.news()) == [f"Flink job 1 (nightly): {PAGE}"]
    assert remote.waiting == "Flink: CREATED, 3 of 20 tasks run"
    remote.look()
    assert list(remote.news()) == ["Flink job 1: RUNNING"]
    cluster.broken = [(5, "a worker process ended"), (6, "no space left")]
    remote.look()
    remote.look()
    said = [f"Flink job 1 was broken off: {why}" for why in ("a worker process ended", "no space left")]
    assert (list(remote.news()), list(remote.news())) == (said, [])


def test_requests_that_workers_made_again(job: Any) -> None:
    layout, remote = Layout(job.config.output), RemoteJob(job)
    write_receipt(layout, make_receipt(UNITS[0], store_retries=7))
    remote.look()
    remote.look()
    assert list(remote.news()) == ["workers have made 7 requests to the stores again, since they failed"]


def test_it_looks_by_itself_and_leaves_at_once(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that hangs holds nobody up."""
    monkeypatch.setattr(watch, "_PAUSE", 0.01)
    layout = Layout(job.config.output)
    with RemoteJob(job) as remote:
        write_receipt(layout, make_receipt(UNITS[0], read=50))
        end = time.monotonic() + 20
        while not remote.counts.read and time.monotonic() < end:
            time.sleep(0.01)
        assert remote.counts.read == 50
        monkeypatch.setattr(remote, "look", lambda: time.sleep(60))
        time.sleep(0.1)
        left = time.monotonic()
    assert time.monotonic() - left < 5


def test_a_damaged_receipt_or_a_store_that_fails_does_not_end_the_watch(job: Any) -> None:
    layout, remote = Layout(job.config.output), RemoteJob(job)
    write_receipt(layout, make_receipt(UNITS[0], read=50))
    path = Path(layout.receipt(UNITS[1]))
    path.parent.mkdir()
    path.write_text(json.dumps({"unit": UNITS[1]}))
    remote.look()
    assert remote.counts.read == 50
