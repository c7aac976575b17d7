"""Mixed precision: bfloat16 for convolutions and dense layers, which is where the time goes, and float32 elsewhere."""

import time
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

from lake.core.errors import BundleError
from lake.core.tensorflow import keras, tensorflow
from model.keras.layer_graph import iter_layers


def to_bfloat16(model: Any, kept: Collection[str] = ()) -> Any:
    """Return the same model with convolutions and dense layers that compute in bfloat16 (8 bits of mantissa).

    Their weights stay float32. So do all other layers: sums of residual blocks, normalizations, separate activations.
    The model's outputs come from float32 layers.

    Args:
      model: a functional or sequential Keras model, possibly with nested ones.
      kept: names or paths of further layers that stay float32 because their output is used.

    Raises:
      BundleError: the model is not functional or sequential, or has no layer to change.
    """
    if not getattr(model, "outputs", None):
        raise BundleError("--precision changes functional and sequential models only; leave it out")
    named = (end for path, layer in iter_layers(model) if path in kept for end in _output_layers(layer))
    unchanged, changed = {id(layer) for layer in (*_output_layers(model), *named)}, list[str]()

    def change(layer: Any) -> Any:
        config = layer.get_config()
        if hasattr(layer, "kernel") and id(layer) not in unchanged:
            config["dtype"] = "mixed_bfloat16"
            changed.append(layer.name)
        return type(layer).from_config(config)

    # A layer's dtype policy is fixed when it is built, so the layers are built once more.
    clone = keras().models.clone_model(model, clone_function=change, recursive=True)
    if not changed:
        raise BundleError("--precision: no convolution or dense layer of the model can be changed; leave it out")
    clone.set_weights(model.get_weights())
    return clone


def _output_layers(layer: Any) -> Iterator[Any]:
    """Yield the layers that give the output of a layer, which may itself be a model."""
    if type(layer).__name__ == "First":
        yield from _output_layers(layer._inbound_nodes[0].input_tensors[0]._keras_history.operation)
        return
    if not getattr(layer, "outputs", None):
        yield layer
        return
    for tensor in layer.outputs:
        yield from _output_layers(tensor._keras_history.operation)


@cache
def multiplies_bfloat16() -> bool:
    """Whether this machine convolves bfloat16 faster than float32, by a measurement of some milliseconds.

    What the processor says of itself does not tell: of two kinds that list ``avx512_bf16``, one is twice as fast in
    bfloat16 as in float32 and the other half as fast.
    """
    return _seconds("bfloat16") < 0.9 * _seconds("float32")


def _seconds(dtype: str) -> float:
    """Of one convolution, forth and back, as a denoiser's training has many; the fastest of five."""
    tf = tensorflow(training=True)
    image, kernel = tf.ones((8, 32, 32, 64), dtype), tf.ones((3, 3, 64, 64), dtype)

    def convolve() -> float:
        started = time.perf_counter()
        made = tf.nn.conv2d(image, kernel, 1, "SAME")
        back = tf.raw_ops.Conv2DBackpropFilter(
            input=image, filter_sizes=kernel.shape, out_backprop=made, strides=[1, 1, 1, 1], padding="SAME"
        )
        back.numpy()
        return time.perf_counter() - started

    return min(convolve() for _ in range(5))
