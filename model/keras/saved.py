"""Read a model as people have saved it, whatever Keras wrote it: audited, as Keras 3 has it, with one output tensor."""

from dataclasses import dataclass
from typing import Any

from lake.core.tensorflow import keras
from model.keras.legacy.rebuild import rebuild_legacy
from model.keras.load import load_model
from model.keras.save import serialize_model
from model.spec import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel:
    """A model that was read.

    Attributes:
      model: a Keras 3 model, without optimizer and loss.
      data: bytes of it as a ``.keras`` file of Keras 3.
      source: what the file was, where Keras 3 did not write it in its own format: ``format``, ``keras`` (the version),
        and ``sha256``. None where ``data`` comes from the file.
    """

    model: Any
    data: bytes
    source: Json | None = None


def read_saved(data: bytes, where: str) -> SavedModel:
    """Read a ``.keras`` file of any age, or a whole model in an HDF5 file.

    Args:
      data: bytes of the whole file.
      where: name of the file, for messages.

    Raises:
      BundleError: the file is unsafe or damaged, its weights do not fit, or it needs another version of Keras.
    """
    rebuilt = rebuild_legacy(data, where)
    made, source = (rebuilt.data, rebuilt.source) if rebuilt else (data, None)
    model = load_model(made, where)
    if _puts_out_list_of_one(model):
        model = keras().Model(model.input, model.outputs[0], name=model.name)
        made = serialize_model(model)
    return SavedModel(model=model, data=made, source=source)


def _puts_out_list_of_one(model: Any) -> bool:
    """Whether a model's output is one tensor in a list, tuple or dictionary."""
    return isinstance(getattr(model, "output", None), (list, tuple, dict)) and len(model.outputs) == 1
