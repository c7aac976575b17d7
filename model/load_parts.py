"""Load what is exported: one model, or its parts, with the code of their own layers."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lake.core.errors import BundleError
from lake.core.printable import printable
from lake.core.temporary import temporary_space
from model.code import CODE_FILE, Code
from model.export_parts import read_file
from model.input_spec import Shape
from model.keras.audit import audited_copy
from model.keras.functional import as_functional
from model.keras.load import load_model
from model.keras.own_classes import running
from model.keras.saved import read_saved
from model.parts import Parts
from model.spec import Json, OwnCode

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedParts:
    """What was loaded.

    Attributes:
      models: Keras models, one as 'model', or an encoder and a decoder as 'encoder' and 'decoder'.
      data: bytes of a ``.keras`` file of the one model; None where there are parts, or it was a class of its own.
      provenance: what files of other formats they were made of, for the bundle.
    """

    models: Mapping[str, Any]
    data: bytes | None
    provenance: Mapping[str, Json]


def load_parts(path: Path | Parts, code: Code | None, shape: Shape | None) -> LoadedParts:
    """Load one model, or an encoder and a decoder.

    Args:
      path: the file, or the files.
      code: of their own layers, which is shown and run; None without.
      shape: of the input of the model, if a person has stated it.

    Raises:
      BundleError: a file is unsafe or damaged, or the code fails.
      UsageError: a file cannot be read.
    """
    files = path.files if isinstance(path, Parts) else {"model": path}
    if code is not None:
        _LOG.warning("running %s", printable(code.describe(), 2000))
    with running(code):
        saved = {role: read_saved(read_file(str(file)), str(file)) for role, file in files.items()}
        first = next(iter(files))  # whose input is that of the whole
        models = {role: as_functional(one.model, shape if role == first else None, role) for role, one in saved.items()}
    same = "model" in saved and models["model"] is saved["model"].model
    sources = {role: one.source for role, one in saved.items() if one.source is not None}
    return LoadedParts(
        models=models,
        data=saved["model"].data if same else None,
        provenance={"converted": sources} if sources else {},
    )


def code_needed(code: Code | None, data: bytes) -> tuple[OwnCode | None, Mapping[str, bytes]]:
    """What a bundle says of a model's own code, and its file; nothing where the model has come to do without.

    Args:
      code: that the model was loaded with.
      data: bytes of the ``.keras`` file that is bundled.
    """
    if code is None or _is_plain(data):
        return None, {}
    name = printable(Path(code.name).name) or CODE_FILE
    return OwnCode(name=name, classes=code.classes), {CODE_FILE: code.data}


def load_again(code: Code | None, data: bytes, where: str) -> Any:
    """Load a model as its bundle will be: layers that its code makes have the names that they will have then.

    Args:
      code: of its own layers.
      data: bytes of its ``.keras`` file.
      where: name of the file, for messages.
    """
    with running(code):
        return load_model(data, where)


def _is_plain(data: bytes) -> bool:
    """Whether a model has Keras' own layers alone."""
    with temporary_space(), tempfile.TemporaryDirectory() as directory:
        try:
            audited_copy(data, Path(directory, "model.keras"), "")
        except BundleError:
            return False
    return True
