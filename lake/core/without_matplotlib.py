"""Import Keras without matplotlib, which it imports where it is installed, only to draw galleries of images.

That takes a second, and writes a cache of fonts into the home directory.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from typing import Any

_NAME = "matplotlib"
# What the two modules of Keras that draw have of it, which they look at when they are called.
_USES = (
    ("keras.src.visualization.plot_image_gallery", "plt", "matplotlib.pyplot"),
    ("keras.src.visualization.plot_bounding_box_gallery", "patches", "matplotlib.patches"),
)


@contextmanager
def without_matplotlib() -> Iterator[None]:
    """What this thread imports in the block does not find matplotlib, unless it was imported before.

    Other threads find it. What Keras draws with it works all the same: it is imported when something is drawn.
    """
    if _NAME in sys.modules or find_spec(_NAME) is None:
        yield
        return
    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        yield
    finally:
        sys.meta_path.remove(absent)
    for module, attribute, wanted in _USES:
        if module in sys.modules and getattr(sys.modules[module], attribute, None) is None:
            setattr(sys.modules[module], attribute, _Later(wanted))


class _Absent:
    """A finder for which matplotlib is not installed."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        if name.partition(".")[0] == _NAME and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


class _Later:
    """A module that is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)
