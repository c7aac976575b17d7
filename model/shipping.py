"""From a trained network to its bundle."""

import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.bundle import Bundle
from model.export import Preprocessing, export
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
        model.save(path)
        _normalize(path)
        return export(path, latent, output, preprocessing, variance=variance, kind=kind, training=training)


def _normalize(path: Path) -> None:
    """Rewrite a ``.keras`` file without time stamps and memory addresses."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    metadata = json.loads(members["metadata.json"])
    metadata.pop("date_saved", None)
    addresses: dict[int, int] = {}

    def number(value: dict[str, Json]) -> dict[str, Json]:
        if "shared_object_id" in value:
            value["shared_object_id"] = addresses.setdefault(value["shared_object_id"], len(addresses))
        return value

    config = json.loads(members["config.json"], object_hook=number)
    members |= {"metadata.json": json.dumps(metadata).encode(), "config.json": json.dumps(config).encode()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            # Text packs well; weights do not, and are read back and forth.
            kind = zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name), content, kind)
