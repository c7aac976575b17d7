"""The job on Beam: from what a user asks for to ``_SUCCESS``.

``EncodeShards`` and ``DenoiseShards`` are whole jobs as transforms, ``EncodeImages`` is the model over records of your
own pipeline.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lake import __version__
    from pipeline.transforms import DenoiseShards, EncodeImages, EncodeShards

__all__ = ["DenoiseShards", "EncodeImages", "EncodeShards", "__version__"]


def __getattr__(name: str) -> Any:
    """Import on first use: Beam takes over a second, and ``--help`` must not.

    Nothing is imported before ``__main__`` has put a user's own ``lake.py`` out of the way.
    """
    if name not in __all__:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(import_module("lake" if name == "__version__" else "pipeline.transforms"), name)
