"""Bundles that tests change."""

import hashlib
import json
import shutil
from pathlib import Path

from model.bundle import SPEC_FILE
from model.zoo import zoo_uri


def description(path: Path) -> dict:
    return json.loads((path / SPEC_FILE).read_text())


def describe(path: Path, document: dict) -> None:
    (path / SPEC_FILE).write_text(json.dumps(document))


def without_graphs(uri: str, place: Path) -> Path:
    """A copy of a bundle, or of one of the zoo, as it was before there were graphs."""
    path = Path(shutil.copytree(zoo_uri(uri), place))
    document = description(path)
    document["files"] = {name: entry for name, entry in document["files"].items() if not name.endswith(".onnx")}
    describe(path, document)
    return path


def put_file(path: Path, name: str, data: bytes) -> None:
    """Put another file in, with its digest, as somebody would who means it."""
    (path / name).write_bytes(data)
    document = description(path)
    document["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    describe(path, document)
