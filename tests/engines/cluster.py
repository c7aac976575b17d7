"""A Flink cluster on this machine: a JobManager, TaskManagers and a pool of Beam's Python workers, each a real process.

    with running(folder) as cluster:
        subprocess.run([sys.executable, "-m", "pipeline", "encode", ..., *cluster.options])

All that was started ends with the block.
"""

import json
import socket
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engines.processes import ROOT, Part, answers, children, free_ports, start, until

ENGINES = ROOT / ".engines"
_JOB_SERVER = ENGINES / "flink/flink-job-server-1.jar"
_OPENED = (  # to Flink 1.19, which looks into what Java 17 closes
    *("java.lang", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.text", "java.time", "java.util"),
    *("java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch"),
)
_JAVA = (
    *("java", "-Xmx512m", "-XX:MaxDirectMemorySize=512m", "-XX:+UseSerialGC"),
    "-XX:TieredStopAtLevel=1",  # there in half the time, and what it does for a job is little
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPENED),
    *("-cp", f"{ENGINES}/flink/*"),
)
_MASTER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_CONFIG = """\
jobmanager.rpc.address: localhost
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: localhost
jobmanager.memory.process.size: 1200m
rest.address: localhost
rest.bind-address: localhost
rest.port: {rest}
taskmanager.host: localhost
taskmanager.bind-host: localhost
taskmanager.numberOfTaskSlots: 2
taskmanager.cpu.cores: 1.0
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 64m
taskmanager.memory.task.heap.size: 384m
taskmanager.memory.task.off-heap.size: 64m
taskmanager.memory.managed.size: 256m
taskmanager.memory.network.min: 192m
taskmanager.memory.network.max: 192m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
cluster.evenly-spread-out-slots: true
classloader.resolve-order: parent-first
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 10
restart-strategy.fixed-delay.delay: 1 s
heartbeat.interval: 1000
heartbeat.timeout: 6000
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
        return children(self.pool.pid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A running cluster."""

    rest: int
    pool: str
    nodes: list[Node]

    @property
    def flink(self) -> list[str]:
        """Options of a job that runs here, without those that say how its Python workers are started."""
        return [
            *("--runner=FlinkRunner", "--flink_version=1.19", f"--flink_master=localhost:{self.rest}"),
            *(f"--flink_job_server_jar={_JOB_SERVER}", f"--files_to_stage={_JOB_SERVER}"),
            *(f"--parallelism={len(self.nodes)}", "--environment_cache_millis=0"),
        ]

    @property
    def options(self) -> list[str]:
        """Options of a job whose units run in the pools."""
        return [*self.flink, "--environment_type=EXTERNAL", f"--environment_config={self.pool}"]

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
def running(folder: Path, nodes: int = 2, *, pinned: bool = False) -> Iterator[Cluster]:
    """A cluster in this block.

    Args:
      folder: for its configuration and logs.
      nodes: machines with a TaskManager and a pool of workers.
      pinned: each of them has one core, and no other.
    """
    assert _JOB_SERVER.exists(), f"{_JOB_SERVER} is not there: run scripts/engines"
    folder.mkdir(parents=True, exist_ok=True)
    rpc, rest, port = free_ports(3)
    (folder / "config.yaml").write_text(_CONFIG.format(rpc=rpc, rest=rest, folder=folder))
    with ExitStack() as stack:
        stack.callback(start([*_JAVA, _MASTER, "--configDir", folder], folder / "master.log").kill)
        cores = [["taskset", "-c", number] if pinned else [] for number in range(nodes)]
        begun = [stack.enter_context(_node(folder, f"127.0.0.{i + 2}", port, core)) for i, core in enumerate(cores)]
        cluster = Cluster(rest=rest, pool=f"pool:{port}", nodes=begun)
        cluster.await_managers(nodes)
        yield cluster


@contextmanager
def _node(folder: Path, address: str, port: int, core: Sequence[object]) -> Iterator[Node]:
    """A machine of its own, as far as its TaskManager sees: the same name leads each to another pool."""
    hosts = folder / f"{address}.hosts"
    hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n{address} pool\n")
    java = [*core, *_JAVA, f"-Djdk.net.hosts.file={hosts}", _MANAGER, "--configDir", folder]
    python = [*core, sys.executable, "-m", "tests.engines.pool", f"{address}:{port}"]
    pool = start(python, folder / f"{address}.pool.log")
    node = Node(command=java, manager=start(java, folder / f"{address}.manager.log"), pool=pool)
    try:
        until(lambda: answers(port, address), "a pool of workers", pool)
        yield node
    finally:
        node.manager.kill()
        pool.kill()
