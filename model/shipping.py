"""From a trained network to its bundle."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.bundle import Bundle
from model.export import Preprocessing, export
from model.saving import saved
from model.spec import Json


def ship(
    model: Any,
    output: str,
    *,
    kind: str,
    latent: str | None,
    variance: str | None = None,
    preprocessing: Preprocessing,
    training: Mapping[str, Json],
) -> Bundle:
    """Write a bundle; equal weights and provenance make an equal bundle.

    Args:
      model: the Keras model.
      output: URI of the bundle's directory.
      kind: of the model.
      latent: name of the layer that puts out the latent; None for a denoiser.
      variance: name of the layer that puts out the logarithm of the latent's variance, where there is one.
      preprocessing: how it was trained.
      training: its provenance.

    Raises:
      OutputError: there is a bundle at ``output`` already.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "trained.keras")
        path.write_bytes(saved(model))
        return export(path, latent, output, preprocessing, variance=variance, kind=kind, training=training)
