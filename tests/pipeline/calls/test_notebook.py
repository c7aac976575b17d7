"""The bar in a notebook: one output of a cell, which is replaced."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from lake.core.counters import Tally
from pipeline.calls import child
from pipeline.cli import progress_bar
from tests.conftest import Model
from tests.pipeline.values import make_unit


def outputs_of(code: str, place: Path) -> list[Any]:
    """The outputs of a cell, by a real kernel."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(place)}}).execute()
    return list(notebook.cells[0].outputs)


def test_a_line_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    code = "from pipeline.calls.notebook import NotebookBar, in_notebook\nbar = NotebookBar()\n"
    code += "for line in ('10%', '20%', '30%' * in_notebook()):\n    bar.show(line)"
    (output,) = outputs_of(f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n{code}", tmp_path)
    assert output["data"] == {"text/plain": "30%"}


def test_its_frames_are_a_bar_of_blocks_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    tally, sent = Tally(), list[dict[str, Any]]()
    monkeypatch.setattr(progress_bar, "TALLY", tally)
    monkeypatch.setenv("LC_ALL", "C")
    job = SimpleNamespace(plan=SimpleNamespace(todo_bytes=10, todo=[make_unit("a", stop=100)]))
    with child._frames(sent.append)(job):
        tally.add(read=50)
    assert sent[-1]["bar"].startswith("████████████░░░░░░░░░░░░  50%  50 records")
    assert all(len(message["bar"]) <= 80 for message in sent)


@pytest.mark.slow
def test_a_job_leaves_one_line_that_says_what_came_out(tmp_path: Path, shards: Path, model: Model) -> None:
    code = f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\nimport latentlake as ll\n"
    code += f"found = ll.encode({str(shards)!r}, model={str(model.bundle)!r}, output='out')"
    (output,) = outputs_of(code, tmp_path)
    assert output["data"] == {"text/plain": "1,797 records, none rejected: complete"}
