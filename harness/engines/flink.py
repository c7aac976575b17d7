"""A Flink cluster on this machine: a JobManager, and TaskManagers with a pool of Python workers beside each.

    with running(folder) as cluster:
        subprocess.run([sys.executable, "-m", "pipeline", "encode", ..., *cluster.options])

All that was started ends with the block. The output of each process is in the folder.
"""

import json
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.engines.machines import ENGINES, java, pool, workers
from harness.processes import ROOT, Part, answers, free_ports, start, until

_JOB_SERVER = ENGINES / "flink/job-server.jar"
_BEAM = ENGINES / "flink-job"  # what deploy/flink/pom.xml makes
_JOB_SERVER_MAIN = "org.apache.beam.runners.flink.FlinkJobServerDriver"
_MASTER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_DOCUMENTED = ROOT / "deploy/flink/config.yaml"
# Flink's own programs, as they are in the lib folder of a cluster.
_LIB = ("flink-*", "commons-*", "snakeyaml*", "slf4j-*", "kryo-*", "minlog-*", "objenesis-*", "chill-*", "javassist-*")
_LIB_TOO = ("async-profiler-*", "jsr305-*", "lz4-*", "snappy-*")
_OWN = """\
jobmanager.rpc.address: localhost
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: localhost
rest.address: localhost
rest.bind-address: localhost
rest.port: {rest}
taskmanager.host: localhost
taskmanager.bind-host: localhost
taskmanager.cpu.cores: 1.0
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 64m
taskmanager.memory.task.off-heap.size: 64m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
io.tmp.dirs: {folder}
"""


@dataclass(slots=True, kw_only=True)
class Node:
    """What a machine of a cluster has: a TaskManager of two slots, and a pool of Python workers beside it."""

    command: Sequence[object]
    manager: Part
    pool: Part

    def restart(self) -> None:
        """Another TaskManager in the place of one that was killed."""
        self.manager.kill()
        self.manager = start(self.command, self.manager.log)

    def signal(self, number: int) -> None:
        """To all processes of this machine."""
        for part in (self.manager, self.pool):
            part.signal(number)

    @property
    def workers(self) -> list[int]:
        """Processes that run units."""
        return workers(self.pool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flink:
    """A running cluster."""

    rest: int
    pool: str
    nodes: list[Node]

    @property
    def options(self) -> list[str]:
        """Options of a job that runs here."""
        return [
            *("--runner=FlinkRunner", "--flink_version=1.19", f"--flink_master=localhost:{self.rest}"),
            f"--flink_job_server_jar={_JOB_SERVER}",
            *("--environment_type=EXTERNAL", f"--environment_config={self.pool}", "--environment_cache_millis=0"),
            f"--parallelism={len(self.nodes)}",
        ]

    @property
    def without_server(self) -> list[str]:
        """Options of a job that comes with a small jar, to a cluster that has Beam's other jars."""
        rest = [option for option in self.options if not option.startswith("--flink_job_server_jar")]
        return [*rest, "--flink_submit_uber_jar", f"--flink_job_server_jar={_BEAM / 'job.jar'}"]

    def through(self, server: int) -> list[str]:
        """Options of a job that runs here, through a job server that was there before, at a port."""
        own = ("--runner", "--flink_version", "--flink_job_server_jar")
        rest = [option for option in self.options if not option.startswith(own)]
        return ["--runner=PortableRunner", f"--job_endpoint=localhost:{server}", *rest]

    def ask(self, path: str) -> Any:
        """What Flink's REST interface answers."""
        with urllib.request.urlopen(f"http://localhost:{self.rest}/{path}", timeout=10) as answer:
            return json.load(answer)

    def failures(self) -> list[str]:
        """Why the latest job was started again, each time."""
        latest = max(self.ask("jobs/overview")["jobs"], key=lambda job: int(job["start-time"]))
        history = self.ask(f"jobs/{latest['jid']}/exceptions")["exceptionHistory"]["entries"]
        return [entry["exceptionName"] for entry in history]

    def await_managers(self, count: int) -> None:
        """Wait until so many TaskManagers are there."""
        parts = [part for node in self.nodes for part in (node.manager, node.pool)]
        until(lambda: self.ask("overview")["taskmanagers"] == count, f"{count} TaskManagers", *parts)


@contextmanager
def job_server(cluster: Flink, folder: Path) -> Iterator[int]:
    """Beam's job server for a cluster, for any number of jobs; gives its port."""
    (port,) = free_ports(1)
    # What it is sent for a job it keeps here.
    arguments = (f"--flink-master=localhost:{cluster.rest}", f"--job-port={port}", f"--artifacts-dir={folder}")
    command = java("flink", _JOB_SERVER_MAIN, *arguments, "--artifact-port=0", "--expansion-port=0")
    part = start(command, folder / "job_server.log")
    try:
        until(lambda: answers(port), "a job server", part)
        yield port
    finally:
        part.kill()


@contextmanager
def running(
    folder: Path, nodes: int = 2, *, pinned: bool = False, more: Mapping[str, str] | None = None, beam: bool = False
) -> Iterator[Flink]:
    """A cluster in this block.

    Args:
      folder: for its configuration and logs.
      nodes: machines with a TaskManager and a pool of workers.
      pinned: each of them has one core, and no other.
      more: of the environment of the workers.
      beam: Beam's jars are in the lib folder of the cluster; else they come with each job.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rpc, rest, port = free_ports(3)
    own = _OWN.format(rpc=rpc, rest=rest, folder=folder)
    (folder / "config.yaml").write_text(f"{_DOCUMENTED.read_text()}\n{own}")
    _make_lib(folder, beam=beam)
    with ExitStack() as stack:
        stack.callback(start(_java(folder, _MASTER), folder / "master.log").kill)
        cores = [["taskset", "-c", number] if pinned else [] for number in range(nodes)]
        begun = [stack.enter_context(_node(folder, number, port, core, more)) for number, core in enumerate(cores)]
        cluster = Flink(rest=rest, pool=f"pool:{port}", nodes=begun)
        cluster.await_managers(nodes)
        yield cluster


def _make_lib(folder: Path, *, beam: bool) -> None:
    (folder / "lib").mkdir()
    own = {jar.name: jar for pattern in (*_LIB, *_LIB_TOO) for jar in _JOB_SERVER.parent.glob(f"{pattern}.jar")}
    beams = {jar.name: jar for jar in (_BEAM / "lib").glob("*.jar")} if beam else {}
    for name, jar in {**beams, **own}.items():
        (folder / "lib" / name).symlink_to(jar)


def _java(folder: Path, main: str, *options: str) -> list[object]:
    return java("flink", main, "--configDir", folder, options=options, jars=folder / "lib")


@contextmanager
def _node(
    folder: Path, number: int, port: int, core: Sequence[object], more: Mapping[str, str] | None
) -> Iterator[Node]:
    with pool(folder, number, port, core, more) as (part, option):
        command = [*core, *_java(folder, _MANAGER, option)]
        node = Node(command=command, manager=start(command, folder / f"{number}.manager.log"), pool=part)
        try:
            yield node
        finally:
            node.manager.kill()
