"""Several machines on one, as far as an engine written in Java sees: the same name leads each to a pool of its own."""

import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.processes import (
    ROOT,
    Part,
    answers,
    children,
    start,
    until,
)

ENGINES = ROOT / ".engines"
_OPENED = (  # to engines that look into what Java 17 closes
    *(
        "java.lang",
        "java.lang.invoke",
        "java.lang.reflect",
        "java.io",
        "java.net",
        "java.nio",
        "java.text",
        "java.time",
    ),
    *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks"),
    *("sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"),
)
JVM = (
    *("-Xmx512m", "-XX:MaxDirectMemorySize=512m", "-XX:+UseSerialGC"),
    "-XX:TieredStopAtLevel=1",  # there in half the time, and what it does for a job is little
    *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPENED),
)


def java(
    engine: str, main: str, *arguments: object, options: Sequence[str] = (), jars: Path | None = None
) -> list[object]:
    """The command line of one of an engine's programs, with its own jars or with those of a folder."""
    assert (ENGINES / engine).exists(), f"{engine} is not there: run scripts/engines"
    return ["java", *JVM, *options, "-cp", f"{jars or ENGINES / engine}/*", main, *arguments]


@contextmanager
def pool(
    folder: Path, number: int, port: int, before: Sequence[object] = (), more: Mapping[str, str] | None = None
) -> Iterator[tuple[Part, str]]:
    """The pool of Python workers of one machine, which its JVMs reach as ``pool``; gives it and their option for that.

    Args:
      folder: for its log.
      number: of the machine, from 0.
      port: the same on all machines.
      before: what the command line begins with.
      more: of the environment of the pool and its workers.
    """
    address, hosts = f"127.0.0.{number + 2}", folder / f"{number}.hosts"
    hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n{address} pool\n")
    python = [*before, sys.executable, "-m", "harness.engines.pool", f"{address}:{port}"]
    part = start(python, folder / f"{number}.pool.log", more=more)
    try:
        until(lambda: answers(port, address), "a pool of workers", part)
        yield part, f"-Djdk.net.hosts.file={hosts}"
    finally:
        part.kill()


def workers(part: Part) -> list[int]:
    """Processes of a pool."""
    return children(part.pid)
