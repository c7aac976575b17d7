"""Bundles that tests change."""

import hashlib
import json
from pathlib import Path

from model.bundle import SPEC_FILE


def description(path: Path) -> dict:
    return json.loads((path / SPEC_FILE).read_text())


def describe(path: Path, document: dict) -> None:
    (path / SPEC_FILE).write_text(json.dumps(document))


def put_file(path: Path, name: str, data: bytes) -> None:
    """Put another file in, with its digest, as somebody would who means it."""
    (path / name).write_bytes(data)
    document = description(path)
    document["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    describe(path, document)
