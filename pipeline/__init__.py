"""latentlake: run a trained autoencoder over a lake of image shards, as a batch job on Apache Beam.

``EncodeShards`` and ``DenoiseShards`` are whole jobs as transforms, ``EncodeImages`` is the model over records of your
own pipeline.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = dict.fromkeys(("DenoiseShards", "EncodeImages", "EncodeShards"), "pipeline.transforms")

__all__ = ["DenoiseShards", "EncodeImages", "EncodeShards", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the transforms on first use: Beam takes over a second, and ``--help`` must not."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
