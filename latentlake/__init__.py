"""latentlake: run a trained autoencoder over a lake of image shards, as a batch job on Apache Beam.

``EncodeShards`` and ``DenoiseShards`` are whole jobs as Beam transforms; ``EncodeImages`` is the model over records of
your own pipeline. ``status`` tells how far a run is. The command ``latentlake`` does the same from a shell.

>>> import latentlake
>>> latentlake.__version__
'0.1.0'
>>> issubclass(latentlake.InputError, latentlake.LatentlakeError)
True
"""

from typing import TYPE_CHECKING, Any

from latentlake._packages import load_module

if TYPE_CHECKING:
    from lake import __version__
    from lake.core.errors import (
        BundleError,
        HeldError,
        InputError,
        LatentlakeError,
        OutputError,
        ShardError,
        UnfinishedError,
        UnreadableError,
        UsageError,
        VerifyError,
    )
    from pipeline.output.status import Status, status
    from pipeline.transforms import DenoiseShards, EncodeImages, EncodeShards

__all__ = [
    "BundleError",
    "DenoiseShards",
    "EncodeImages",
    "EncodeShards",
    "HeldError",
    "InputError",
    "LatentlakeError",
    "OutputError",
    "ShardError",
    "Status",
    "UnfinishedError",
    "UnreadableError",
    "UsageError",
    "VerifyError",
    "__version__",
    "status",
]

_MODULES = {
    "__version__": "lake",
    **dict.fromkeys(("DenoiseShards", "EncodeImages", "EncodeShards"), "pipeline.transforms"),
    **dict.fromkeys(("Status", "status"), "pipeline.output.status"),
}


def __getattr__(name: str) -> Any:
    """Import on first use: Beam takes over a second, and ``--help`` must not."""
    if name not in __all__:
        raise AttributeError(f"module 'latentlake' has no attribute {name!r}")
    return getattr(load_module(_MODULES.get(name, "lake.core.errors")), name)


def __dir__() -> list[str]:
    return __all__
