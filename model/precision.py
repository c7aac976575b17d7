"""Half precision where it costs little and saves most: in the products of convolutions and dense layers."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from model.backend import keras
from model.graph import layers_of
from pipeline.errors import BundleError

_FAST_FLAGS = {"avx512_bf16", "amx_bf16"}


def in_bfloat16(model: Any, kept: Collection[str] = ()) -> Any:
    """The same model, whose convolutions and dense layers compute in bfloat16 (8 bits of mantissa).

    Their weights stay float32, and so does what is between them: sums of residual blocks, normalisations, activations
    that are layers of their own. What the model puts out comes from a layer in float32.

    Args:
      model: a functional or sequential Keras model, also one of such models.
      kept: names or paths of further layers that stay as they are, because what they put out is used.

    Raises:
      BundleError: the model is written in Python code of its own, or has no such layer.
    """
    if not getattr(model, "outputs", None):
        raise BundleError("--precision changes functional and sequential models only; leave it out")
    named = (end for path, layer in layers_of(model) if path in kept for end in _ends(layer))
    rest, changed = {id(layer) for layer in (*_ends(model), *named)}, list[str]()

    def change(layer: Any) -> Any:
        config = layer.get_config()
        if hasattr(layer, "kernel") and id(layer) not in rest:
            config["dtype"] = "mixed_bfloat16"
            changed.append(layer.name)
        return type(layer).from_config(config)

    clone = keras().models.clone_model(model, clone_function=change, recursive=True)
    if not changed:
        raise BundleError("--precision: no convolution or dense layer of the model can be changed; leave it out")
    clone.set_weights(model.get_weights())
    return clone


def _ends(layer: Any) -> Iterator[Any]:
    """The layers that put out what a layer puts out, which may be a model."""
    if not getattr(layer, "outputs", None):
        yield layer
        return
    for tensor in layer.outputs:
        yield from _ends(tensor._keras_history.operation)


def multiplies_bfloat16() -> bool:
    """Whether this processor does so faster than float32; where nothing says so it is taken not to."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return False
    return bool(_FAST_FLAGS & set(next((line for line in lines if line.startswith("flags")), "").split()))
