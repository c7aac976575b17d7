"""A trained model: from Keras files to compiled functions, and training.

``build_autoencoder``, ``build_vae`` and ``build_denoiser`` make the networks that ``latentlake train`` trains.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.training.networks import build_autoencoder, build_denoiser, build_vae

__all__ = ["build_autoencoder", "build_denoiser", "build_vae"]


def __getattr__(name: str) -> Any:
    """Import on first use: the command line must not wait for it."""
    if name in __all__:
        return getattr(import_module("model.training.networks"), name)
    raise AttributeError(f"module 'model' has no attribute {name!r}")
