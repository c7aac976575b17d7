"""Export a network that this project has trained."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lake.core.temporary import temporary_space
from model.bundle import Bundle
from model.export import export
from model.keras.save import serialize_model
from model.likeness import Likeness
from model.preprocessing import Preprocessing
from model.spec import Json


def export_trained(
    model: Any,
    output: str,
    *,
    kind: str,
    latent: str | None,
    variance: str | None = None,
    preprocessing: Preprocessing,
    training: Mapping[str, Json],
) -> Bundle:
    """Write a bundle of a model in memory. Equal weights and provenance give equal bytes.

    Args:
      model: the Keras model.
      output: URI of the bundle's directory.
      kind: kind of the model, one of ``model.spec.KINDS``.
      latent: name of the layer whose output is the latent; None for a denoiser.
      variance: name of the layer that gives the logarithm of the latent's variance; None for a model without one.
      preprocessing: how the training data was preprocessed.
      training: provenance to keep in the bundle.

    Raises:
      OutputError: ``output`` holds a bundle already.
    """
    with temporary_space(), tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "trained.keras")
        path.write_bytes(serialize_model(model))
        return export(
            path, latent, output, preprocessing, variance=variance, kind=kind, training=training, judge=_accept
        )


def _accept(_: Likeness) -> None:
    """The range is known from the training, whatever a short one has come to."""
