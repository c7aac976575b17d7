"""What a command imports: each module takes a part of the time before the first record, or before an answer."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import Model

_PROGRAM = """
import sys
from pipeline.cli.command import main
assert main(sys.argv[1:]) == 0
print(*(name for name in sys.modules if name.startswith(("lake.formats.", "model.cli.", "pipeline.worker.verbs."))))
"""


def imported(*arguments: object) -> set[str]:
    command = [sys.executable, "-c", _PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {*done.stdout.splitlines()[-1].split()}


def test_a_job_imports_the_reader_of_its_format_alone(tmp_path: Path, shards: Path, model: Model) -> None:
    """And not what trains and exports models, though that is a command too."""
    names = imported("encode", "--input", shards, "--model", model.bundle, "--output", tmp_path / "out")
    readers = {name for name in names if name.endswith(".reader")}
    assert readers == {"lake.formats.reader", "lake.formats.parquet.reader"}
    assert "model.cli.export" not in names


def test_what_is_no_job_imports_no_verb(tmp_path: Path, shards: Path, model: Model) -> None:
    output = tmp_path / "out"
    imported("encode", "--input", shards, "--model", model.bundle, "--output", output)
    for arguments in (["status", output], ["outliers", output]):
        assert not {name for name in imported(*arguments) if name.startswith("pipeline.worker.verbs.")}, arguments
