"""Functional models of models that are classes of somebody's own, so that their layers and tensors can be found."""

from typing import Any

import numpy as np

from lake.core.errors import BundleError
from lake.core.tensorflow import keras
from model.input_spec import Shape
from model.keras.load import keras_reason
from model.keras.own_classes import own_classes
from model.keras.signature import format_shape

_TRIED = 3  # inputs that both models are compared with
_SAME = 1e-5  # of the largest value


def as_functional(model: Any, shape: Shape | None, role: str) -> Any:
    """Return a model that has inputs and outputs: the model itself, or for a class of its own what its ``call`` does.

    Where its ``call`` applies layers alone, they become the layers of the model that is returned, and the class is not
    needed any more. Otherwise the model is one layer of it.

    Args:
      model: a Keras model.
      shape: of its input, as a person has stated it; None for that which it was built with.
      role: what messages call it.

    Raises:
      BundleError: the shape is not known, or it cannot be called.
    """
    if getattr(model, "inputs", None) or not own_classes():
        return model
    shape = shape or _built_shape(model)
    if shape is None:
        raise BundleError(f"the {role} is a class of its own that does not say its input; give --input-shape H W C")
    try:
        return _of_layers(model, shape) or _as_layer(model, shape)
    except Exception as error:  # of any class: the model is somebody's code
        raise BundleError(
            f"the {role} cannot be called with {format_shape(shape)}: {keras_reason(error)}; give another "
            f"--input-shape, or save its parts and export them by --encoder and --decoder"
        ) from error


def _built_shape(model: Any) -> Shape | None:
    shape = (model.get_build_config() or {}).get("input_shape")
    sides = tuple(shape[1:]) if isinstance(shape, (list, tuple)) else ()
    known = all(isinstance(side, int) for side in sides)
    return tuple(int(side) for side in sides) if sides and known else None


def _of_layers(model: Any, shape: Shape) -> Any:
    """The layers that the model's ``call`` applies; None if it does more, or something that is not the same twice."""
    given = keras().Input(shape)
    try:
        found = keras().Model(given, model.call(given), name=model.name)
    except Exception:  # it computes with values, which are not known yet
        return None
    values = np.random.default_rng(0).uniform(0, 1, (_TRIED, *shape)).astype(np.float32)
    pairs = zip(*(keras().tree.flatten(one(values, training=False)) for one in (model, found)), strict=True)
    return found if all(_equal(np.asarray(one), np.asarray(other)) for one, other in pairs) else None


def _equal(one: Any, other: Any) -> bool:
    return bool(np.allclose(one, other, rtol=0, atol=_SAME * max(float(np.abs(one).max()), 1e-6)))


def _as_layer(model: Any, shape: Shape) -> Any:
    given = keras().Input(shape)
    return keras().Model(given, model(given), name=f"{model.name}_functional")
