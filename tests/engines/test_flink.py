"""The whole job on a Flink cluster of two machines: the bytes and counts of a local run, whatever dies on the way."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engines.conftest import SHARDS, TRUTH
from tests.engines.flink import Flink
from tests.engines.jobs import SECONDS, begun, run
from tests.engines.processes import until
from tests.faults.outputs import add_up, litter, rows, success
from tests.faults.torture import Work, check_whole
from tests.stores import gcs_server
from tests.stores.gcs_server import GcsServer

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
    """Half of what is there works on; what was done there is done again."""
    output = tmp_path / "out"
    with begun([*work.command(output), *flink.options], tmp_path) as job:
        until(lambda: done(output) >= SHARDS // 4, "a quarter of the units", job.part, seconds=SECONDS)
        harm(flink)
        assert job.wait() == 0, job.part.said
    assert flink.failures()
    check_whole(work, output)
    assert job.counters == TRUTH
    assert add_up(output) == (TRUTH["records_read"], TRUTH["results"], TRUTH["rejects"])
    assert success(output)["run"]["read"] == TRUTH["records_read"]


def test_who_submitted_the_job_may_die(flink: Flink, work: Work, tmp_path: Path) -> None:
    """The cluster goes on, and the commit is the job's own last step."""
    output = tmp_path / "out"
    with begun([*work.command(output), *flink.options], tmp_path) as job:
        until(lambda: done(output) >= SHARDS // 4, "a quarter of the units", job.part, seconds=SECONDS)
    held = output / "_hold"
    until(lambda: (output / "_SUCCESS").exists() and not held.exists(), "the end of the commit", seconds=SECONDS)
    check_whole(work, output)


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
