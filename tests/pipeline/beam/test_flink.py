"""A Flink cluster by its REST interface, played by a server that answers as Flink 1.19 does."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.processes import free_ports
from lake.core.errors import LatentlakeError, UsageError
from pipeline.beam import flink
from pipeline.beam.flink import FlinkCluster, check_slots, flink_cluster
from pipeline.cli.command import main
from tests.conftest import Model
from tests.pipeline.beam.test_worker_errors import ENGINES, TRACE

OVERVIEW = {"taskmanagers": 2, "slots-total": 4, "slots-available": 1, "jobs-running": 1, "flink-version": "1.19.0"}
CONFIG = [{"key": "rest.port", "value": "8081"}, {"key": "taskmanager.numberOfTaskSlots", "value": "2"}]


def entry(jid: str, name: str = "nightly", state: str = "RUNNING") -> dict[str, Any]:
    return {"jid": jid, "name": name, "state": state, "start-time": 1, "tasks": {"running": 3, "total": 20}}


@contextmanager
def answering(answers: dict[str, Any]) -> Iterator[str]:
    """A server in this block; the result is its ``--flink_master``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.strip("/"))
            self.send_response(404 if answer is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"localhost:{server.server_port}"
        server.shutdown()


def command(model: Model, shards: Path, output: Path, master: str, *more: str) -> list[str]:
    where = ["--input", str(shards), "--model", model.bundle, "--output", str(output)]
    return ["encode", *where, "--runner=FlinkRunner", f"--flink_master={master}", *more]


def test_more_parallelism_than_slots_is_refused(
    tmp_path: Path, shards: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering({"overview": OVERVIEW, "jobmanager/config": CONFIG}) as master:
        assert main(command(model, shards, tmp_path / "out", master, "--parallelism=5")) == 2
        assert capsys.readouterr().err == (
            f"error: --parallelism=5: the cluster at http://{master} has 4 slots on 2 TaskManagers; ask for 4 at most, "
            "or add TaskManagers\n"
        )
        assert list(tmp_path.iterdir()) == []
        for few in (["--parallelism", "4"], [], ["--parallelism=-1"], ["--parallelism=9", "--parallelism=4"]):
            check_slots(FlinkCluster(master), few)


def test_a_cluster_without_any_slot_is_refused() -> None:
    empty = {**OVERVIEW, "slots-total": 0, "taskmanagers": 0}
    with (
        answering({"overview": empty, "jobmanager/config": CONFIG}) as master,
        pytest.raises(UsageError, match="has 0 slots on 0 TaskManagers"),
    ):
        check_slots(FlinkCluster(master), [])


@pytest.mark.parametrize("target", ["kubernetes-session", "yarn-session"])
def test_a_cluster_that_starts_task_managers_for_a_job_is_not_asked_for_slots(target: str) -> None:
    config = [*CONFIG, {"key": "execution.target", "value": target}]
    with answering({"overview": {**OVERVIEW, "slots-total": 0}, "jobmanager/config": config}) as master:
        check_slots(FlinkCluster(master), ["--parallelism=100"])


def test_a_cluster_that_is_not_there_is_refused(
    tmp_path: Path, shards: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    (port,) = free_ports(1)
    assert main(command(model, shards, tmp_path / "out", f"localhost:{port}")) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: --flink_master: http://localhost:{port} does not answer (")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answers", [{}, {"overview": [], "jobmanager/config": CONFIG}, {"overview": {}}])
def test_what_answers_otherwise_is_left_to_the_job_server(answers: dict[str, Any]) -> None:
    """It may know of a password, or of another kind of gateway."""
    with answering(answers) as master:
        cluster = FlinkCluster(master)
        cluster.check_parallelism(1)
        assert cluster.job("nightly", ()) is None
        assert cluster.job_ids() == set()


def test_the_job_of_a_name_that_is_new() -> None:
    answers = {"jobs/overview": {"jobs": [entry("1"), entry("2", "other"), entry("3", state="RESTARTING")]}}
    with answering(answers) as master:
        cluster = FlinkCluster(f"http://{master}/")
        assert cluster.job_ids() == {"1", "2", "3"}
        job = cluster.job("nightly", {"1"})
        assert job is not None
        assert (job.id, job.state, job.running, job.tasks) == ("3", "RESTARTING", 3, 20)
        assert job.page == f"http://{master}/#/job/running/3/overview"
        assert cluster.job("nightly", {"1", "3"}) is None


def test_why_it_was_broken_off_in_one_line_each() -> None:
    text = "LatentlakeError: no space left"
    trace = TRACE.format(raised=f"lake.core.errors.{text}", **ENGINES["flink"])
    lost = "org.apache.flink.util.FlinkException: TaskManager with id a is no longer reachable.\n\tat a.B(C.java:1)"
    entries = [{"timestamp": 30, "stacktrace": trace}, {"timestamp": 20, "stacktrace": lost}]
    answers = {"jobs/overview": {"jobs": [entry("1")]}, "jobs/1/exceptions": {"exceptionHistory": {"entries": entries}}}
    with answering(answers) as master:
        cluster = FlinkCluster(master)
        job = cluster.job("nightly", ())
        assert job is not None
        assert cluster.failures(job, 20) == [(30, "no space left")]
        assert cluster.failures(job, 0)[1:] == [(30, "no space left")]
        assert cluster.failures(job, 0)[0] == (20, "TaskManager with id a is no longer reachable.")


def test_a_job_is_awaited_until_the_cluster_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flink, "_PAUSE", 0.01)
    jobs: dict[str, Any] = {"jobs": [entry("1")]}
    with answering({"jobs/overview": jobs}) as master:
        cluster, result = FlinkCluster(master), SimpleNamespace(state="STARTING")
        threading.Timer(0.2, lambda: jobs["jobs"].append(entry("2"))).start()
        assert cluster.await_job("nightly", {"1"}, result).id == "2"
        monkeypatch.setattr(flink, "_PATIENCE", 0.1)
        with pytest.raises(LatentlakeError, match="has no job called other"):
            cluster.await_job("other", {"1"}, result)


def test_a_job_that_is_not_accepted_says_why() -> None:
    def fail() -> None:
        raise RuntimeError("java.lang.NoClassDefFoundError: org/apache/flink/X")

    with answering({"jobs/overview": {"jobs": []}}) as master, pytest.raises(RuntimeError, match="NoClassDef"):
        FlinkCluster(master).await_job("nightly", (), SimpleNamespace(state="FAILED", wait_until_finish=fail))


@pytest.mark.parametrize("master", ["[auto]", "[local]", "", "s3://x/y"])
def test_no_cluster_is_named(master: str) -> None:
    assert flink_cluster(["--runner=FlinkRunner", f"--flink_master={master}"]) is None
    assert flink_cluster(["--runner=SparkRunner", "--flink_master=localhost:8081"]) is None
