"""A Keras model as the bytes of a file that depend on nothing but the model."""

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from model.spec import Json


def saved(model: Any) -> bytes:
    """What ``model.save`` writes to a ``.keras`` file, without time stamps and memory addresses."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.keras")
        model.save(path)
        _normalize(path)
        return path.read_bytes()


def _normalize(path: Path) -> None:
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
