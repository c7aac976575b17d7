"""Spark's SQL in a process of its own, without a cluster."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.engines.machines import ENGINES, java

_PROGRAM = Path(__file__).with_name("SparkSql.java")
_ALL = {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "1", "spark.sql.session.timeZone": "UTC"}

Rows = list[dict[str, Any]]


def query(statements: Sequence[str], settings: Mapping[str, str], folder: Path) -> list[Rows]:
    """Run statements in one session.

    Args:
      statements: of SQL.
      settings: of the session; a catalog on ``s3://`` works, too.
      folder: where relative paths begin; Spark's log is in it.

    Returns:
      The rows of each statement; a row has no entry for a null.
    """
    options = [f"-D{name}={value}" for name, value in {**_ALL, **settings}.items()]
    command = java("spark-sql", str(_PROGRAM), *statements, options=options)
    command[command.index("-cp") + 1] = f"{ENGINES}/spark-sql/*:{_aws()}"
    log = folder / "spark.log"
    with log.open("w") as errors:
        done = subprocess.run(
            [str(word) for word in command], cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert done.returncode == 0, log.read_text()[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def _aws() -> Path:
    (found,) = (ENGINES / "iceberg-rest").glob("iceberg-aws-bundle-*.jar")
    return found
