"""The pages of the API reference: every public name stands on one, and every name on one exists."""

import re
from importlib import import_module
from pathlib import Path

import latentlake

_PAGES = Path(__file__).parents[2] / "docs/reference"
_ENTRY = re.compile(r"^::: ([\w.]+)\n((?:    .*\n)*)", re.MULTILINE)
_MEMBERS = re.compile(r"members: \[(.*)\]")


def _documented() -> dict[str, set[str] | None]:
    """The names of each module that the pages show; None for all."""
    found = dict[str, set[str] | None]()
    for page in _PAGES.glob("*.md"):
        for name, options in _ENTRY.findall(page.read_text() + "\n"):
            members = _MEMBERS.search(options)
            found[name] = None if members is None else set(members[1].split(", "))
    return found


def test_every_public_name_is_documented() -> None:
    documented = _documented()
    for name in set(latentlake.__all__) - {"__version__"}:
        value = getattr(latentlake, name)
        assert value.__module__ in documented, name
        members = documented[value.__module__]
        assert members is None or value.__name__ in members, name


def test_every_documented_name_exists() -> None:
    for name, members in _documented().items():
        try:
            module = import_module(name)
        except ModuleNotFoundError:
            module, members = import_module(name.rpartition(".")[0]), {name.rpartition(".")[2]}
        for member in members or ():
            assert hasattr(module, member), (name, member)
