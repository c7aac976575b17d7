"""Imports of the packages below the face, which have names that others use too: ``lake``, ``model``, ``pipeline``."""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

_HOME = Path(__file__).resolve().parent.parent
_NAMES = ("lake", "model", "pipeline")  # each imports only those before it


def load_module(module: str) -> ModuleType:
    """Import a module of these packages.

    Raises:
      ImportError: a file of that name comes before the package; the text names it.
    """
    for name in _NAMES:
        _check(name)
    return import_module(module)


def claim() -> None:
    """Import these packages from beside this one, whatever else the search path has under their names.

    For a process that is the command and nothing else: in a user's own program the names belong to the user.
    """
    for name in _NAMES:
        if name not in sys.modules:
            _import_from_home(name)


def _import_from_home(name: str) -> None:
    folder = _HOME / name
    spec = spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)


def _check(name: str) -> None:
    known = sys.modules.get(name)
    origin = getattr(find_spec(name), "origin", None) if known is None else getattr(known, "__file__", None)
    if origin is None or Path(origin).resolve().parent.parent != _HOME:
        raise ImportError(
            f"{origin or name} comes before latentlake's own package {name!r}; rename it, or use the command "
            "'latentlake', which does not look into the working directory"
        )
