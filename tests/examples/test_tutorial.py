"""The tutorial is a notebook, which is run as a reader runs it."""

import os
import re
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.examples.pages import ROOT

TUTORIAL = ROOT / "docs/tutorial.ipynb"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def printed(cell: Any) -> str:
    """All that a cell shows as text."""
    outputs = [
        output.get("text") or output["data"].get("text/html") or output["data"]["text/plain"] for output in cell.outputs
    ]
    return "\n".join(outputs)


def test_it_runs_and_shows_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.read(TUTORIAL, as_version=4)
    started = time.monotonic()
    NotebookClient(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    print(f"the notebook took {time.monotonic() - started:.1f} s")
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    shown = "\n".join(map(printed, cells))
    assert "1,795" in printed(cells[1])  # 1,797 but two that are damaged
    assert {"digit-0100.png", "digit-0200.png"} == {*re.findall(r"digit-\d+\.png", printed(cells[2]))}
    assert {"digit-1500.png", "digit-1501.png", "digit-1502.png"} <= {*re.findall(r"digit-\d+\.png", printed(cells[6]))}
    assert (tmp_path / "report.html").stat().st_size > 1_000_000
    assert "Error" not in shown and os.sep + "home" not in shown


def test_it_is_committed_as_it_was_run() -> None:
    """Its outputs are there, since it is read on the site, and it is small."""
    book = nbformat.read(TUTORIAL, as_version=4)
    counts = [cell.execution_count for cell in book.cells if cell.cell_type == "code"]
    assert counts == [*range(1, len(counts) + 1)]
    assert TUTORIAL.stat().st_size < 200_000
