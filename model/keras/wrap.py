"""Wrap a model so that it takes and gives images as jobs have them: what training did to them becomes a part of it."""

from typing import Any

import numpy as np

from lake.core.tensorflow import keras
from model.keras.layout import with_images
from model.keras.operation_names import with_own_names
from model.keras.signature import CHANNEL
from model.normalization import Normalization
from model.preprocessing import Preprocessing


def wrap(model: Any, given: Preprocessing) -> Any:
    """Return a model that takes images ``H W C`` in the value range; the model itself where it does so already.

    Args:
      model: a Keras model. Its layers keep their names, below its own.
      given: how the training data was preprocessed.

    Raises:
      UsageError: mean, deviation or order of channels do not fit the model.
    """
    request = given.condition_request
    model = with_images(model, given.input_shape, None if request is None else request.input)
    second = given.noise_input if request is None else request.input
    if not _is_plain(model, second):
        return model  # which is refused, by what it is
    normalization = given.normalization(_channels(model, second))
    return model if normalization is None else _normalized(model, normalization, second)


def wrapped_model(model: Any) -> Any:
    """The model within one that ``wrap`` made for a normalisation; None if there is none."""
    return next((layer for layer in model.layers if hasattr(layer, "layers")), None)


def _is_plain(model: Any, second: str | None) -> bool:
    """Whether a model takes one image, and perhaps something else by its second input, and puts out one tensor."""
    return len(_images(model, second)) == 1 and len(model.outputs or []) == 1


def _images(model: Any, second: str | None) -> list[Any]:
    return [tensor for tensor in model.inputs or [] if tensor.name != second]


def _channels(model: Any, second: str | None) -> int | None:
    """The number of channels of the images that a model takes; None if it takes none."""
    shape = tuple(_images(model, second)[0].shape)
    if len(shape) != 4 or shape[-1] is None:
        return None
    return int(shape[-1]) - _has_channel(model, second)


def _normalized(model: Any, given: Normalization, second: str | None) -> Any:
    """Compute (x - mean) / std in float32, as ``keras.applications`` does it, and the inverse of what is an image."""
    form = _Form(given, told=_has_channel(model, second))
    inputs = [
        keras().Input(tuple(tensor.shape[1:]), dtype=_dtype(tensor, second), name=tensor.name)
        for tensor in model.inputs
    ]
    flat = [image if image.name == second else form.apply(image) for image in inputs]
    flat = [_cast(values, tensor.dtype) for values, tensor in zip(flat, model.inputs, strict=True)]
    pack = keras().tree.pack_sequence_as  # the model may take its inputs as a list, a tuple or a dict
    output = model(pack(model.input, flat))
    (image,) = _images(model, second)
    if tuple(output.shape[1:3]) == tuple(image.shape[1:3]) and output.shape[-1] == len(given.mean):
        output = form.invert(_cast(output, "float32"))
    return with_own_names(keras().Model(pack(model.input, inputs), output, name=f"{model.name}_normalized"))


def _dtype(tensor: Any, second: str | None) -> str:
    """Of an input: float32, in which images are normalised, but for the numbers of classes."""
    return str(tensor.dtype) if tensor.name == second and "int" in str(tensor.dtype) else "float32"


def _has_channel(model: Any, second: str | None) -> bool:
    """Whether the last channel of the only input takes the noise level."""
    return second == CHANNEL and len(model.inputs) == 1


class _Form:
    """A normalisation of tensors ``[n, H, W, C]``; ``told`` is whether their last channel takes the noise level."""

    def __init__(self, given: Normalization, *, told: bool) -> None:
        self._given = given
        self._mean = np.array([*given.mean, *[0] * told], np.float32)
        self._std = np.array([*given.std, *[1] * told], np.float32)
        self._more = range(3, len(given.mean) + told)

    def apply(self, image: Any) -> Any:
        values = (image - self._mean) / self._std
        return keras().ops.take(values, [2, 1, 0, *self._more], axis=-1) if self._given.bgr else values

    def invert(self, output: Any) -> Any:
        channels = len(self._given.mean)
        if self._given.bgr:
            output = keras().ops.take(output, [2, 1, 0, *range(3, channels)], axis=-1)
        return output * self._std[:channels] + self._mean[:channels] if self._given.output else output


def _cast(values: Any, dtype: str) -> Any:
    return values if values.dtype == dtype else keras().ops.cast(values, dtype)
