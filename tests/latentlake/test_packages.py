"""Whose ``lake``, ``model`` and ``pipeline`` a user's own program gets."""

from pathlib import Path

import pytest

from tests.latentlake.conftest import ROOT, Run

NAMES = {"lake": "lake.py", "model": "model.py", "pipeline": "pipeline/__init__.py"}
USE = "import latentlake; print(latentlake.InputError.__module__)"


def test_a_program_gets_the_public_names(run: Run, tmp_path: Path) -> None:
    ended = run("-c", USE, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "lake.core.errors\n")


@pytest.mark.parametrize("name", NAMES)
def test_one_line_names_the_file_that_comes_before(run: Run, theirs: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "one"
    file = folder / NAMES[name]
    file.parent.mkdir(parents=True)
    file.write_bytes((theirs / NAMES[name]).read_bytes())
    ended = run("-c", USE, cwd=folder)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        f"ImportError: {file} comes before latentlake's own package {name!r}; rename it, or use the command "
        "'latentlake', which does not look into the working directory"
    )


def test_a_module_that_the_program_has_imported_already(run: Run, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("weights = 1\n")
    ended = run("-c", f"import sys, model; sys.path.remove(''); {USE}", cwd=tmp_path)
    assert f"ImportError: {tmp_path}/model.py comes before" in ended.stderr.splitlines()[-1]


def test_a_directory_without_python_does_no_harm(run: Run, tmp_path: Path) -> None:
    """A regular package anywhere on the path comes before it."""
    for name in NAMES:
        (tmp_path / name).mkdir()
    ended = run("-c", USE, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "lake.core.errors\n")


def test_claim_leaves_what_is_imported(run: Run, tmp_path: Path) -> None:
    """So that a program which calls ``main`` after an import of its own hears of it."""
    (tmp_path / "model.py").write_text("weights = 1\n")
    code = "import sys, model; from latentlake.__main__ import main; sys.argv[1:] = ['--version']; main()"
    ended = run("-c", code, cwd=tmp_path)
    assert f"ImportError: {tmp_path}/model.py comes before" in ended.stderr.splitlines()[-1]


def test_claimed_packages_are_the_ones_beside_it(run: Run, theirs: Path) -> None:
    code = (
        "from latentlake._packages import claim; claim(); import lake, model, pipeline, lake.storage, model.bundle\n"
        "print(*(module.__file__ for module in (lake, model, pipeline, lake.storage, model.bundle)), sep='\\n')"
    )
    ended = run("-c", code)
    files = ["lake/__init__.py", "model/__init__.py", "pipeline/__init__.py", "lake/storage/__init__.py"]
    assert ended.stdout.splitlines() == [str(ROOT / file) for file in [*files, "model/bundle.py"]]
