"""latentlake: run a trained autoencoder over a lake of image shards, as a batch job on Apache Beam.

``encode``, ``reconstruct``, ``denoise``, ``decode``, ``generate``, ``train`` and ``export`` run a job in a process of
its own, from a script or a notebook. The jobs give an ``Output``, as ``open`` does: its tables, latents and images, and
the questions that people ask of them. ``EncodeShards`` and ``DenoiseShards`` are whole jobs as Beam transforms;
``EncodeImages`` is the model over records of your own pipeline. ``status`` tells how far a run is. The command
``latentlake`` does the same from a shell.

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
    from pipeline.calls.functions import decode, denoise, encode, generate, reconstruct
    from pipeline.calls.functions import export_model as export
    from pipeline.calls.functions import open_output as open
    from pipeline.calls.functions import train_model as train
    from pipeline.explore.output import Output
    from pipeline.output.progress.status import Status, status
    from pipeline.transforms import DenoiseShards, EncodeImages, EncodeShards

__all__ = [
    "BundleError",
    "DenoiseShards",
    "EncodeImages",
    "EncodeShards",
    "HeldError",
    "InputError",
    "LatentlakeError",
    "Output",
    "OutputError",
    "ShardError",
    "Status",
    "UnfinishedError",
    "UnreadableError",
    "UsageError",
    "VerifyError",
    "__version__",
    "decode",
    "denoise",
    "encode",
    "export",
    "generate",
    "open",
    "reconstruct",
    "status",
    "train",
]

_CALLS = "pipeline.calls.functions"
_MODULES = {
    "__version__": "lake",
    **dict.fromkeys(("DenoiseShards", "EncodeImages", "EncodeShards"), "pipeline.transforms"),
    **dict.fromkeys(("Status", "status"), "pipeline.output.progress.status"),
    "Output": "pipeline.explore.output",
    **dict.fromkeys(("decode", "denoise", "encode", "generate", "reconstruct"), _CALLS),
    **dict.fromkeys(("export", "open", "train"), _CALLS),
}
# What is called otherwise below, since the name has another meaning there.
_NAMES = {"export": "export_model", "open": "open_output", "train": "train_model"}


def __getattr__(name: str) -> Any:
    """Import on first use: Beam takes over a second, and ``--help`` must not."""
    if name not in __all__:
        raise AttributeError(f"module 'latentlake' has no attribute {name!r}")
    return getattr(load_module(_MODULES.get(name, "lake.core.errors")), _NAMES.get(name, name))


def __dir__() -> list[str]:
    return __all__
