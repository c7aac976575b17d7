"""Every example in a docstring gives what it says. Modules that start TensorFlow have none, so this is quick."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("lake", "model", "pipeline", "latentlake")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def with_examples() -> list[str]:
    """Names of the modules whose source has an example."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if ">>> " in path.read_text()]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return sorted(name.removesuffix(".__init__") for name in names)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", with_examples())
def test_examples_of_a_module(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module(name)
    monkeypatch.chdir(tmp_path)  # a file that an example writes
    result = doctest.testmod(module, optionflags=FLAGS)  # what differs is printed
    assert result.attempted > 0
    assert result.failed == 0
