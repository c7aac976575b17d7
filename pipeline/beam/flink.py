"""A Flink cluster, as its REST interface tells: its slots, and the state of a job."""

import json
import socket
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from lake.core.errors import LatentlakeError, UsageError
from pipeline.beam.runners import option_value, runner
from pipeline.beam.worker_errors import parse_worker_error

_SECONDS = 10.0  # that an answer may take
_AT_ONCE = 1.0  # the same, where an interrupted user waits
_PAUSE = 0.5  # seconds between two looks for a job that was submitted
_PATIENCE = 600.0  # seconds until a job that was submitted must be there
_UNREACHABLE = (ConnectionError, TimeoutError, socket.gaierror)
_GROWING = ("kubernetes", "yarn")  # targets that start TaskManagers for a job
_ENDED = ("FINISHED", "FAILED", "CANCELED")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlinkJob:
    """A job of a cluster.

    Attributes:
      id: Flink's id of the job.
      name: its name.
      state: such as ``RUNNING`` or ``RESTARTING``.
      running: number of tasks that run.
      tasks: number of all tasks.
      page: URL of the job's page.
    """

    id: str
    name: str
    state: str
    running: int
    tasks: int
    page: str

    @property
    def ended(self) -> bool:
        """Whether the job will change no more."""
        return self.state in _ENDED


class FlinkCluster:
    """The REST interface of a JobManager.

    Args:
      master: ``--flink_master``: host and port, or a URL.

    Attributes:
      url: the page of the cluster.
    """

    def __init__(self, master: str) -> None:
        self.url = (master if "://" in master else f"http://{master}").rstrip("/")
        # As the job server does, which asks the same address: without a proxy.
        self._opener = build_opener(ProxyHandler({}))

    def check_parallelism(self, parallelism: int) -> None:
        """Check that the cluster has slots for a job. Flink itself would wait for them without a word.

        Raises:
          UsageError: it has not, or it cannot be reached.
        """
        try:
            overview, grows = self._ask("overview"), self._grows()
            slots, managers = int(overview["slots-total"]), int(overview["taskmanagers"])
        except URLError as error:
            if not isinstance(error.reason, _UNREACHABLE):
                return  # of certificates and passwords only the job server may know
            raise UsageError(
                f"--flink_master: {self.url} does not answer ({error.reason}); start the cluster"
            ) from error
        except (OSError, ValueError, KeyError, TypeError):
            return
        if parallelism > slots and not grows:
            raise UsageError(
                f"--parallelism={parallelism}: the cluster at {self.url} has {slots} slots on {managers} TaskManagers; "
                f"ask for {slots} at most, or add TaskManagers"
            )

    def job_ids(self) -> set[str]:
        """Return the ids of all jobs that the cluster knows; none if it cannot be reached."""
        return {job["jid"] for job in self._jobs()}

    def job(self, name: str, others: Container[str]) -> FlinkJob | None:
        """Find a job.

        Args:
          name: its name.
          others: ids of other jobs, which may have the same name.

        Returns:
          The job; None if there is none, or if the cluster cannot be reached.
        """
        return next((self._of(job) for job in self._jobs() if job["name"] == name and job["jid"] not in others), None)

    def await_job(self, name: str, others: Container[str], result: Any) -> FlinkJob:
        """Wait until the cluster has a job, so that it goes on without the process that submitted it.

        Args:
          name: as of ``job``.
          others: as of ``job``.
          result: what Beam's ``Pipeline.run`` returned. It raises the error of a job that is not accepted.

        Raises:
          LatentlakeError: the cluster does not get the job.
        """
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if job := self.job(name, others):
                return job
            if result.state in ("FAILED", "CANCELLED", "DONE"):
                result.wait_until_finish()
            time.sleep(_PAUSE)
        raise LatentlakeError(f"{self.url} has no job called {name} after {_PATIENCE:.0f} s; see the job server's log")

    def cancel(self, job: FlinkJob) -> None:
        """End a job that nobody waits for any more.

        Raises:
          OSError: the cluster does not answer, or refuses.
        """
        request = Request(f"{self.url}/jobs/{job.id}?mode=cancel", method="PATCH")
        with self._opener.open(request, timeout=_AT_ONCE):
            pass

    def failures(self, job: FlinkJob, after: int) -> list[tuple[int, str]]:
        """Return why a job was broken off, with or without being started again since.

        Args:
          job: the job.
          after: milliseconds since the epoch; earlier failures and those of that instant are left out.

        Returns:
          When, in milliseconds since the epoch, and one line of text; the latest last.
        """
        try:
            history = self._ask(f"jobs/{job.id}/exceptions")["exceptionHistory"]["entries"]
            found = [(int(entry["timestamp"]), str(entry["stacktrace"])) for entry in history]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return [(when, _reason(trace)) for when, trace in sorted(found) if when > after]

    def _of(self, job: dict[str, Any]) -> FlinkJob:
        # The interface's own page finds ended jobs by this address, too.
        page = f"{self.url}/#/job/running/{job['jid']}/overview"
        tasks = job["tasks"]
        return FlinkJob(
            id=job["jid"],
            name=job["name"],
            state=job["state"],
            running=tasks["running"],
            tasks=tasks["total"],
            page=page,
        )

    def _jobs(self) -> Sequence[dict[str, Any]]:
        try:
            jobs: Sequence[dict[str, Any]] = self._ask("jobs/overview")["jobs"]
        except (OSError, ValueError, KeyError, TypeError):
            return ()
        return jobs

    def _grows(self) -> bool:
        config = {entry["key"]: str(entry["value"]) for entry in self._ask("jobmanager/config")}
        return config.get("execution.target", "").startswith(_GROWING)

    def _ask(self, path: str) -> Any:
        with self._opener.open(f"{self.url}/{path}", timeout=_SECONDS) as answer:
            return json.load(answer)


def _reason(trace: str) -> str:
    # Of an error that the job goes on after, this says nothing.
    return str(parse_worker_error(trace)).removeprefix("the pipeline failed: ").removesuffix(" (--verbose shows all)")


def flink_cluster(arguments: Sequence[str]) -> FlinkCluster | None:
    """Return the cluster that options of Beam name; None if they name none.

    Args:
      arguments: options of Beam.

    >>> flink_cluster(["--runner=FlinkRunner", "--flink_master=jobmanager:8081"]).url
    'http://jobmanager:8081'
    >>> flink_cluster(["--runner=PortableRunner", "--job_endpoint=submit:8099", "--flink_master=jobmanager:8081"]).url
    'http://jobmanager:8081'
    >>> flink_cluster(["--runner=FlinkRunner", "--flink_master=[local]"])
    """
    # A job server that runs already knows its cluster by itself; naming it lets the launcher ask it, too.
    goes_there = runner(arguments) in ("FlinkRunner", "PortableRunner")
    master = option_value(arguments, "--flink_master") if goes_there else None
    named = (
        master and not master.startswith("[") and ("://" not in master or master.startswith(("http://", "https://")))
    )
    return FlinkCluster(master) if master and named else None


def check_slots(cluster: FlinkCluster, arguments: Sequence[str]) -> None:
    """Check that a cluster has slots for the parallelism that options of Beam ask for.

    Raises:
      UsageError: it has not, or it cannot be reached.
    """
    wanted = option_value(arguments, "--parallelism") or "1"
    cluster.check_parallelism(int(wanted) if wanted.isdecimal() else 1)
