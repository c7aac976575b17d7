"""A Spark cluster on this machine: a master, two workers that start executors, and Beam's job server."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.engines.machines import ENGINES, JVM, java, pool
from harness.processes import Part, answers, free_ports, start, until

_MASTER = "org.apache.spark.deploy.master.Master"
_WORKER = "org.apache.spark.deploy.worker.Worker"
_SERVER = "org.apache.beam.runners.spark.SparkJobServerDriver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spark:
    """A running cluster."""

    endpoint: int
    pool: str
    pools: list[Part]

    @property
    def options(self) -> list[str]:
        """Options of a job that runs here."""
        return [
            *("--runner=PortableRunner", f"--job_endpoint=localhost:{self.endpoint}", "--environment_cache_millis=0"),
            *("--environment_type=EXTERNAL", f"--environment_config={self.pool}"),
        ]


@contextmanager
def running(folder: Path, nodes: int = 2) -> Iterator[Spark]:
    """A cluster in this block; its logs are in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    home = _home(folder)
    master, endpoint, artifacts, port = free_ports(4)
    url = f"spark://localhost:{master}"
    with ExitStack() as stack:

        def begin(main: str, *arguments: object, **more: str) -> Part:
            log = folder / f"{main.rpartition('.')[2]}.log"
            part = start(java("spark", main, *arguments), log, more={**home, **more})
            stack.callback(part.kill)
            return part

        began = begin(_MASTER, "--host", "localhost", "--port", master, "--webui-port", 0)
        until(lambda: answers(master), "Spark's master", began)
        pools = []
        for number in range(nodes):
            part, option = stack.enter_context(pool(folder, number, port))
            pools.append(part)
            given = ("--cores", 1, "--memory", "1g", "--host", "localhost", "--webui-port", 0, "--work-dir", folder)
            begin(_WORKER, *given, url, JAVA_TOOL_OPTIONS=f"{home['JAVA_TOOL_OPTIONS']} {option}")
        ports = (f"--job-port={endpoint}", f"--artifact-port={artifacts}", "--expansion-port=0")
        server = begin(_SERVER, f"--spark-master-url={url}", "--job-host=localhost", *ports)
        until(lambda: answers(endpoint), "Beam's job server", server)
        yield Spark(endpoint=endpoint, pool=f"pool:{port}", pools=pools)


def _home(folder: Path) -> dict[str, str]:
    """The environment of a Spark that was not unpacked from its archive; executors inherit it."""
    home = folder / "home"
    home.mkdir()
    (home / "jars").symlink_to(ENGINES / "spark")
    (home / "RELEASE").touch()
    names = {"SPARK_HOME": str(home), "SPARK_SCALA_VERSION": "2.12", "SPARK_LOCAL_HOSTNAME": "localhost"}
    return {**names, "JAVA_TOOL_OPTIONS": " ".join(option for option in JVM if option.startswith("--add-opens"))}
