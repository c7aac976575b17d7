"""From the bytes of a ``.keras`` file to a model, with nothing taken on trust."""

import json
import tempfile
import zipfile
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

from model import safety
from model.backend import keras
from model.graph import layers_of
from pipeline.errors import BundleError

_MAX_ELEMENTS = 1 << 28  # that a layer may put out for one record


def load_model(data: bytes, where: str) -> Any:
    """Audit and load the bytes of a ``.keras`` file.

    Args:
      data: the whole file.
      where: what to call it in errors.

    Raises:
      BundleError: the file is unsafe, damaged, or needs another version of Keras.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.keras")  # ours alone, so what was audited is what is loaded
        path.write_bytes(data)
        stored = safety.audit(path, where)
        import_module("model.layers")  # registers this project's own
        try:
            _check_sizes(path, stored, where)
            return keras().saving.load_model(path, compile=False, safe_mode=True)
        except BundleError:
            raise
        except Exception as error:  # Keras raises anything
            raise BundleError(f"{where}: Keras cannot load it: {error}") from error


def _check_sizes(path: Path, stored: int, where: str) -> None:
    """Refuse a model that would ask for more memory than its weights and images explain, before any is allocated."""
    model = _unallocated(path)
    claimed = sum(prod(weight.shape) for weight in model.weights)
    if claimed > stored:
        raise safety.refused(where, f"its layers claim {claimed} weights, and the file holds {stored}")
    for layer_path, layer in layers_of(model):
        largest = max((_elements(tensor) for node in layer._inbound_nodes for tensor in node.output_tensors), default=0)
        if largest > _MAX_ELEMENTS:
            raise safety.refused(where, f"layer {layer_path!r} puts out {largest} numbers for one record")


def _elements(tensor: Any) -> int:
    return prod(side or 1 for side in tensor.shape)


def _unallocated(path: Path) -> Any:
    """The model of the configuration, its weights known by shape only."""
    from keras.src.backend.common import global_state

    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    config["compile_config"] = None
    pending = list(global_state.get_global_attribute("uninitialized_variables") or [])
    try:
        with keras().StatelessScope(initialize_variables=False):
            return keras().saving.deserialize_keras_object(config, safe_mode=True)
    finally:  # or the next scope that ends would allocate them
        global_state.set_global_attribute("uninitialized_variables", pending)
