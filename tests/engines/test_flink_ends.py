"""A job on Flink that a user interrupts, that has a unit which ends its worker, or that comes in another way."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.engines.flink import Flink, job_server, running
from harness.engines.jobs import SECONDS, begun, run
from harness.processes import ROOT, until
from tests.engines.conftest import SHARDS, TRUTH
from tests.engines.test_flink import done, watch_to_its_end
from tests.faults.outputs import add_up, files
from tests.faults.poison import UNIT
from tests.faults.torture import Work, check_whole, marks, unchanged

pytestmark = pytest.mark.timeout(600)
# Python imports it in every process that finds it: in the pool's workers, and where a suspect runs apart.
POISON = """\
import sys
if not sys.argv[0].endswith("pool.py"):
    from tests.faults.poison import spread
    spread()
"""


@pytest.fixture
def poisoned(tmp_path: Path) -> Iterator[Flink]:
    """A cluster whose workers are ended by one of the units."""
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison/sitecustomize.py").write_text(POISON)
    more = {"PYTHONPATH": os.pathsep.join((str(tmp_path / "poison"), str(ROOT)))}
    with running(tmp_path / "cluster", more=more) as cluster:
        yield cluster


def test_a_unit_that_ends_its_worker_fails_by_name(poisoned: Flink, work: Work, tmp_path: Path) -> None:
    """The worker dies once: the job is started again, and the unit runs apart."""
    output = tmp_path / "out"
    with begun([*work.command(output), *poisoned.options], tmp_path / "job") as job:
        assert job.wait() == 3, job.part.said
    assert f"failed: {UNIT}: it has ended its process twice, by SIGKILL" in job.part.said
    assert 1 <= len(poisoned.failures()) <= 2  # its other slot's attempt may be told apart
    made = files(output)
    shard = f"{UNIT}.parquet"
    wanted = {name: data for name, data in work.clean.items() if name.startswith("latents/") and shard not in name}
    assert {name: data for name, data in made.items() if name.startswith("latents/")} == wanted


def test_an_interrupted_job_ends_on_the_cluster_too(flink: Flink, work: Work, tmp_path: Path) -> None:
    """At once for who waits; soon for the cluster; and the next run does the rest."""
    output = tmp_path / "out"
    with begun([*work.command(output), *flink.options], tmp_path / "job") as job:
        until(lambda: done(output) >= SHARDS // 4, "a quarter of the units", job.part, seconds=SECONDS)
        ready, sent = marks(output), time.monotonic()
        os.kill(job.part.pid, signal.SIGINT)
        assert job.wait() == 130, job.part.said
        assert time.monotonic() - sent < 2 + (3 if os.getloadavg()[0] > 2 else 0)
    assert "interrupted; what is done is kept, run the same command again to go on" in job.part.said
    until(lambda: latest_state(flink) == "CANCELED", "the end of the job on the cluster", seconds=30)
    assert not (output / "_SUCCESS").exists()
    assert (
        run([*work.command(output), *flink.options], tmp_path / "next").counters["records_read"] < TRUTH["records_read"]
    )
    unchanged(output, ready)
    check_whole(work, output)


def test_through_a_job_server_that_stays(flink: Flink, work: Work, tmp_path: Path) -> None:
    """The same job, with the cluster's page and counters; two jobs come through one server."""
    with job_server(flink, tmp_path) as port:
        for name in ("one", "two"):
            job = run([*work.command(tmp_path / name), *flink.through(port)], tmp_path / f"{name}.job")
            assert job.counters == TRUTH
            assert f"http://localhost:{flink.rest}/#/job/running/" in job.part.said
            check_whole(work, tmp_path / name)
            assert add_up(tmp_path / name) == (TRUTH["records_read"], TRUTH["results"], TRUTH["rejects"])


@pytest.fixture(scope="module")
def with_beam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flink]:
    """A cluster with Beam's jars in its lib folder."""
    with running(tmp_path_factory.mktemp("with_beam"), beam=True) as cluster:
        yield cluster


def test_without_a_job_server(with_beam: Flink, work: Work, tmp_path: Path) -> None:
    """The same bytes, page and counters; what its worker dies of on the way is not seen."""
    output = tmp_path / "out"
    with begun([*work.command(output), *with_beam.without_server], tmp_path) as job:
        until(lambda: done(output) >= SHARDS // 4, "a quarter of the units", job.part, seconds=SECONDS)
        ready = marks(output)
        for pid in with_beam.nodes[0].workers:
            os.kill(pid, signal.SIGKILL)
        assert job.wait() == 0, job.part.said
    assert with_beam.failures()
    assert f"http://localhost:{with_beam.rest}/#/job/running/" in job.part.said
    unchanged(output, ready)
    check_whole(work, output)
    assert job.counters == TRUTH
    assert with_beam.ask("jars")["files"] == []


def test_a_launcher_that_leaves_a_job_without_a_job_server(with_beam: Flink, work: Work, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with begun([*work.command(output), *with_beam.without_server, "--detach"], tmp_path) as job:
        assert job.wait() == 0, job.part.said
    watch_to_its_end(output)
    check_whole(work, output)


def test_an_interrupted_job_without_a_job_server_ends_too(with_beam: Flink, work: Work, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with begun([*work.command(output), *with_beam.without_server], tmp_path) as job:
        until(lambda: done(output) >= SHARDS // 4, "a quarter of the units", job.part, seconds=SECONDS)
        os.kill(job.part.pid, signal.SIGINT)
        assert job.wait() == 130, job.part.said
    until(lambda: latest_state(with_beam) == "CANCELED", "the end of the job on the cluster", seconds=30)
    assert not (output / "_SUCCESS").exists()


def latest_state(cluster: Flink) -> str:
    latest = max(cluster.ask("jobs/overview")["jobs"], key=lambda found: int(found["start-time"]))
    return str(latest["state"])
