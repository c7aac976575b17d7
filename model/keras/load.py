"""Load a model from the bytes of a ``.keras`` file that is not trusted."""

import json
import re
import tempfile
import zipfile
from copy import deepcopy
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

from lake.core.errors import BundleError
from lake.core.printable import printable
from lake.core.temporary import temporary_space
from lake.core.tensorflow import keras
from model.keras.archive import CONFIG, refused
from model.keras.audit import audited_copy
from model.keras.own_classes import own_classes
from model.keras.sizes import check_outputs
from model.spec import Json

_BOLD = re.compile(r"\x1b\[\d+m")
_INTRODUCTION = re.compile(r"Exception encountered(?:: | when calling [^\n]*\n\n)")


def load_model(data: bytes, where: str) -> Any:
    """Audit a ``.keras`` file and load its model.

    Args:
      data: bytes of the whole file.
      where: name of the file, for messages.

    Returns:
      The Keras model, without optimizer and loss.

    Raises:
      BundleError: the file is unsafe, damaged, or needs another version of Keras.
    """
    with temporary_space(), tempfile.TemporaryDirectory() as directory:
        # A private copy: nobody can replace the file between the audit and the load.
        path = Path(directory, "model.keras")
        stored = audited_copy(data, path, where)
        import_module("model.layers")  # registers this project's layers
        try:
            # Whoever lets a model's code run can be asked for any memory by it.
            if not own_classes():
                _check_sizes(_config_of(path), stored, where)
            # safe_mode is the second line of defence; compile=False leaves the optimizer and the loss out.
            return keras().saving.load_model(path, compile=False, safe_mode=True)
        except BundleError:
            raise
        except Exception as error:  # Keras raises errors of any class
            raise BundleError(f"{where}: Keras cannot load it: {keras_reason(error)}") from error


def keras_reason(error: Exception) -> str:
    """What an error of Keras says, in one printable line. Its text quotes the configuration, of up to 16 MB."""
    text = _INTRODUCTION.split(_BOLD.sub("", str(error)))[-1].partition("\n\nArguments received by ")[0]
    return printable(text.strip() or type(error).__name__)


def build_model(config: Json, stored: int, where: str) -> Any:
    """Build the model of a configuration that passed the audit. Its weights are random.

    Args:
      config: of the model, as Keras 3 has it.
      stored: number of elements of all weights in its file.
      where: name of the file, for messages.

    Raises:
      BundleError: it would need more memory than its weights and images explain.
      Exception: of any class, where Keras cannot build it.
    """
    if not own_classes():  # whoever lets a model's code run can be asked for any memory by it
        _check_sizes(config, stored, where)
    return keras().saving.deserialize_keras_object(config, safe_mode=True)


def _check_sizes(config: Json, stored: int, where: str) -> None:
    """Refuse a model that would need more memory than its weights and images explain, before any is allocated."""
    model = _unallocated(config)
    claimed = sum(prod(weight.shape) for weight in model.weights)
    if claimed > stored:
        raise refused(where, f"its layers claim {claimed} weights, and the file holds {stored}")
    check_outputs(model, where)


def _config_of(path: Path) -> Json:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(CONFIG))


def _unallocated(config: Json) -> Any:
    """Build the model of the configuration with weights that have shapes but no memory."""
    from keras.src.backend.common import global_state

    pending = list(global_state.get_global_attribute("uninitialized_variables") or [])
    try:
        with keras().StatelessScope(initialize_variables=False):
            return keras().saving.deserialize_keras_object(deepcopy(config), safe_mode=True)
    finally:
        # Keras remembers variables to allocate when the next scope ends. These must never be allocated.
        global_state.set_global_attribute("uninitialized_variables", pending)
