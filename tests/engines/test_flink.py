"""The whole job on a Flink cluster of two machines: the bytes and counts of a local run, whatever dies on the way."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.engines.flink import Flink
from harness.engines.jobs import SECONDS, begun, run
from harness.processes import until
from harness.servers import gcs_server
from harness.servers.gcs_server import GcsServer
from harness.servers.proxy import Fault, always
from pipeline.output.progress.status import State, status
from pipeline.worker.process import UNITS_AT_ONCE
from tests.engines.conftest import SHARDS, TRUTH
from tests.faults.outputs import add_up, litter, rows, success
from tests.faults.torture import Work, check_whole, marks, unchanged

pytestmark = pytest.mark.timeout(600)
Harm = Callable[[Flink], None]


@pytest.fixture(scope="module")
def gcs() -> Iterator[GcsServer]:
    with gcs_server.serving() as server:
        yield server


def done(output: Path) -> int:
    return len([*output.glob("_receipts/*/*.json")])


def task_manager(flink: Flink) -> None:
    """Killed, while its Python worker lives on: a zombie that goes on to write."""
    flink.nodes[0].manager.kill()


def worker(flink: Flink) -> None:
    """Killed, its TaskManager lives on."""
    for pid in flink.nodes[0].workers:
        os.kill(pid, signal.SIGKILL)


def frozen(flink: Flink) -> None:
    """All of a machine stands still, is given up for dead, and comes back while others do its work."""
    lost, other = flink.nodes
    before = set(other.workers)
    lost.signal(signal.SIGSTOP)
    flink.await_managers(1)
    until(lambda: bool(set(other.workers) - before), "a worker of the job's second start")
    lost.signal(signal.SIGCONT)


@pytest.mark.parametrize("harm", [task_manager, worker, frozen])
def test_what_dies_or_freezes_on_the_way_is_not_seen(flink: Flink, work: Work, tmp_path: Path, harm: Harm) -> None:
    """Half of what is there works on; what is done is not done again."""
    output, before = tmp_path / "out", [set(node.workers) for node in flink.nodes]
    with begun([*work.command(output), *flink.options], tmp_path) as job:
        until(lambda: done(output) >= SHARDS // 4, "a quarter of the units", job.part, seconds=SECONDS)
        ready = marks(output)
        harm(flink)
        assert job.wait() == 0, job.part.said
    assert flink.failures()

    def ended() -> bool:
        left = [set(node.workers) - known for node, known in zip(flink.nodes, before, strict=True)]
        # An attempt that fails while it is deployed may leave a worker to its TaskManager, as long as that lives.
        return all(len(workers) <= len(flink.failures()) for workers in left)

    until(ended, "the end of the workers")
    assert len(ready) >= SHARDS // 4
    unchanged(output, ready)
    check_whole(work, output)
    assert job.counters == TRUTH
    assert add_up(output) == (TRUTH["records_read"], TRUTH["results"], TRUTH["rejects"])
    assert success(output)["run"]["read"] == TRUTH["records_read"]


def test_who_submitted_the_job_may_die(flink: Flink, work: Work, tmp_path: Path) -> None:
    """The cluster goes on, and the commit is the job's own last step; ``status`` is right to the unit until then."""
    output = tmp_path / "out"
    with begun([*work.command(output), *flink.options], tmp_path) as job:
        until(lambda: done(output) >= SHARDS // 4, "a quarter of the units", job.part, seconds=SECONDS)
    watch_to_its_end(output)
    check_whole(work, output)


def test_a_launcher_that_leaves(flink: Flink, work: Work, tmp_path: Path) -> None:
    """It ends well once the cluster has the job, and takes Beam's job server with it."""
    output = tmp_path / "out"
    with begun([*work.command(output), *flink.options, "--detach"], tmp_path) as job:
        assert job.wait() == 0, job.part.said
        latest = max(flink.ask("jobs/overview")["jobs"], key=lambda found: int(found["start-time"]))
        assert latest["name"].startswith("latentlake-encode-")
        assert f"#/job/running/{latest['jid']}/overview" in job.part.said
    assert not (output / "_SUCCESS").exists()
    watch_to_its_end(output)
    check_whole(work, output)


def watch_to_its_end(output: Path) -> None:
    """Ask again and again how far the job is, and compare with the receipts that were there before and after."""
    held = output / "_hold"

    def ended() -> bool:
        before, found, after = done(output), status(output), done(output)
        if found.state == State.RUNNING and after >= before:
            assert before <= found.done <= after
            assert (found.todo, found.failed, found.exit_status) == (SHARDS, 0, 4)
        return found.state == State.COMPLETE and not held.exists()

    until(ended, "the end of the commit", seconds=SECONDS)
    assert (status(output).done, status(output).read) == (SHARDS, TRUTH["records_read"])


def test_from_bucket_to_bucket(flink: Flink, work: Work, gcs: GcsServer, tmp_path: Path) -> None:
    """Rows and counts of a local run over a disk; workers learn of the store from the job alone."""
    bucket = gcs.bucket()
    bucket.upload(work.source, "in")
    bucket.upload(work.bundle, "bundle")
    there = replace(work, source=Path(bucket.name, "in"), bundle=Path(bucket.name, "bundle"))
    command = there.command(Path(bucket.name, "out"), "gs://")
    assert run([*command, f"--gcs-endpoint={gcs.url}", *flink.options], tmp_path).counters == TRUTH
    output = bucket.download("out", tmp_path / "out")
    for table in ("latents", "rejects"):
        assert rows(output, table) == rows(work.source.parent / "clean", table)
    assert add_up(output) == (TRUTH["records_read"], TRUTH["results"], TRUTH["rejects"])
    assert litter(output) == []
    assert flink.failures() == []


@pytest.mark.parametrize(("status", "why"), [(403, "allow storage.objects.create"), (507, "make room")])
def test_an_output_that_takes_no_more_ends_the_job_at_once_and_by_name(
    flink: Flink, work: Work, gcs: GcsServer, tmp_path: Path, status: int, why: str
) -> None:
    """The engine sees a job that has ended, and starts nothing again."""
    bucket = gcs.bucket()
    command = [*work.command(Path(bucket.name, "out")), f"--gcs-endpoint={gcs.proxy.url}", *flink.options]
    command[command.index("--output") + 1] = f"{bucket.uri}/out"
    refusal = always(Fault(what=status, method="POST", name="^out/latents/", skip=SHARDS // 4))
    with gcs.proxy.doing(refusal), begun(command, tmp_path) as job:
        assert job.wait() == 1, job.part.said
    (line,) = [line for line in job.part.said.splitlines() if line.startswith("error: ")]
    assert f"answered {status}" in line
    assert why in line
    assert f"'{bucket.uri}/out/latents/" in line
    assert flink.failures() == []
    assert refusal.seen - refusal.skip <= 2 * UNITS_AT_ONCE
    again = run(command, tmp_path / "again")
    assert again.counters["units_done"] == SHARDS - SHARDS // 4
    assert len(bucket.names("out/latents/")) == SHARDS
