"""The outputs of a Keras model, by the names that a user gives them."""

from collections.abc import Mapping
from typing import Any

from lake.core.errors import UsageError
from lake.core.printable import printable
from model.keras.signature import format_shape

LISTED = 500  # characters of the tensors that an error lists


def output_named(model: Any, name: str | None) -> Any:
    """The tensor of a model's output.

    Args:
      model: a functional or sequential Keras model.
      name: of the output, its position as Keras counts (0 is the first), or the name of a layer; None for the only one.

    Raises:
      UsageError: there are several, and none is named, or there is none of this name.
    """
    outputs = named_outputs(model)
    if name is None and len(outputs) == 1:
        return model.outputs[0]
    if name is not None and name in outputs:
        return outputs[name]
    if name is not None and name.isdecimal() and int(name) < len(model.outputs):
        return model.outputs[int(name)]
    layer = next((layer for layer in model.layers if layer.name == name), None)
    if layer is not None and len(layer._inbound_nodes) == 1 and len(layer._inbound_nodes[0].output_tensors) == 1:
        return layer.output
    what = f"it has no output or layer {name!r}" if name is not None else f"it has {len(model.outputs)} outputs"
    raise UsageError(f"{what}; name its latent by --latent, one of: {_listing(model)}")


def named_outputs(model: Any) -> Mapping[str, Any]:
    """The output tensors of a model by their names: keys where it gives a dict, else the layers that give them."""
    structure = getattr(model, "output", None)  # a sequential model that was loaded has none
    if isinstance(structure, dict):
        return dict(structure)
    return {tensor._keras_history.operation.name: tensor for tensor in model.outputs}


def _listing(model: Any) -> str:
    shapes = (f"{name} ({format_shape(tuple(tensor.shape[1:]))})" for name, tensor in named_outputs(model).items())
    return printable(", ".join(shapes), LISTED)
