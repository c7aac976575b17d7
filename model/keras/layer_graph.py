"""The layers of a loaded model: finding them by path, and recording or replacing their outputs."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lake.core.errors import BundleError
from lake.core.printable import printable
from lake.core.tensorflow import tensorflow
from model.condition import Condition, golden_conditions
from model.input_spec import Shape
from model.keras.second_input import conditioned
from model.keras.sizes import check_graph

_LISTED = 1500  # characters of the layers that an error lists


def iter_layers(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and layer of everything in a model, nested models before their own layers.

    Paths look like ``encoder`` and ``encoder/dense``.

    Args:
      model: a Keras model.
      prefix: path of the model itself, with a slash at the end.
    """
    for layer in model.layers:
        path = prefix + layer.name
        yield path, layer
        if hasattr(layer, "layers"):
            yield from iter_layers(layer, f"{path}/")


@contextmanager
def record_outputs(layers: Iterable[Any]) -> Iterator[dict[int, list[Any]]]:
    """Record the outputs of some layers while the block runs.

    Args:
      layers: layers of the model, also of models nested in it.

    Yields:
      ``id`` of a layer -> its outputs, one for each call.
    """
    recorded = {id(layer): layer for layer in layers}
    outputs: dict[int, list[Any]] = {key: [] for key in recorded}

    def keep(found: list[Any]) -> Callable[[Any], Any]:
        def kept(output: Any) -> Any:
            found.append(output)
            return output

        return kept

    # The layers are hooked instead of building a model with several outputs: a Keras graph through an inner layer of a
    # nested model cannot be built from public parts, but every layer is called by name when the whole model runs.
    with _hooked([(layer, keep(outputs[key])) for key, layer in recorded.items()]):
        yield outputs


@contextmanager
def replace_output(layer: Any, values: Any) -> Iterator[None]:
    """Replace the output of a layer while the block runs.

    Args:
      layer: a layer of the model.
      values: ``[n, D]``; reshaped and cast to the layer's own output. Or ``[n, h, w, c]``, which stay as they are.
    """
    tf = tensorflow()

    def instead(output: Any) -> Any:
        own = tf.cast(values, output.dtype)
        return own if len(own.shape) == 4 == len(output.shape) else tf.reshape(own, (-1, *output.shape[1:]))

    with _hooked([(layer, instead)]):
        yield


def depends_on_latent_alone(model: Any, path: str, values: Any, condition: Condition | None = None) -> bool:
    """Whether the output is determined by the latent, and the condition if there is one, so that the model can decode.

    Args:
      model: a Keras model.
      path: path of the layer whose output is the latent.
      values: inputs that differ from each other, in the model's value range.
      condition: what the model is told besides; None for nothing.
    """
    told = None if condition is None else condition.told(golden_conditions(condition, len(values), 0))
    layer = dict(iter_layers(model))[path]
    with record_outputs([layer]) as outputs:
        model(conditioned(model, values, condition, told), training=False)
    (latents,) = outputs[id(layer)]
    with replace_output(layer, latents):
        # The latents stay, the inputs change places. A decoder that sees only the latent gives the same.
        shown = (conditioned(model, inputs, condition, told) for inputs in (values, values[::-1]))
        own, others = (model(inputs, training=False).numpy() for inputs in shown)
    return bool((own == others).all())


@contextmanager
def _hooked(hooks: Sequence[tuple[Any, Callable[[Any], Any]]]) -> Iterator[None]:
    try:
        for layer, change in hooks:
            _hook(layer, change)
        yield
    finally:
        for layer, _ in hooks:
            # Keras tracks attributes that are set the ordinary way, and refuses some on a built layer.
            object.__delattr__(layer, _call_method(layer))


def _hook(layer: Any, change: Callable[[Any], Any]) -> None:
    original = getattr(layer, _call_method(layer))
    object.__setattr__(layer, _call_method(layer), lambda *args, **kwargs: change(original(*args, **kwargs)))


def _call_method(layer: Any) -> str:
    """Return the name of the method that Keras calls."""
    # Keras calls another method of a layer whose weights are quantized.
    return "quantized_call" if getattr(layer, "quantization_mode", None) else "call"


def layer_shapes(model: Any, shape: Shape, condition: Condition | None = None) -> dict[str, list[Shape | None]]:
    """Return the output shapes of every layer, one for each call; None for an output that is not a single tensor.

    Args:
      model: a Keras model.
      shape: shape of the input, without the batch.
      condition: what it is told besides; None for a model of one input.

    Raises:
      BundleError: the model would need too much memory for one record.
    """
    tf = tensorflow()
    layers = dict(iter_layers(model))
    with record_outputs(layers.values()) as outputs:
        # One record of the condition, whose values do not matter: only shapes are asked for.
        told = None if condition is None else tf.zeros((1, condition.length))
        traced = tf.function(
            lambda x: model(conditioned(model, x, condition, told), training=False), autograph=False
        ).get_concrete_function(tf.TensorSpec((1, *shape), tf.float32))
    check_graph(traced.graph, 1)
    return {path: [_shape(output) for output in outputs[id(layer)]] for path, layer in layers.items()}


def _shape(output: Any) -> Shape | None:
    shape = getattr(output, "shape", None)
    return None if shape is None or None in shape[1:] else tuple(shape[1:])


def find_latent(shapes: Mapping[str, list[Shape | None]], name: str) -> tuple[str, Shape]:
    """Find a layer by path or by the end of it.

    Args:
      shapes: what ``layer_shapes`` returned.
      name: path or name of the layer, or the end of its path.

    Returns:
      Path and output shape of the layer.

    Raises:
      BundleError: there is no such layer, or there are several, or it is called several times, or its output is not one
        tensor of fixed shape; the text lists the layers.

    >>> find_latent({"encoder/dense": [(32,)], "decoder/up": [(28, 28, 1)]}, "dense")
    ('encoder/dense', (32,))
    """
    paths = [name] if name in shapes else [path for path in shapes if path.endswith(f"/{name}")]
    if not paths:
        nearest = difflib.get_close_matches(name, shapes, 1) or difflib.get_close_matches(name.lower(), shapes, 1, 0.0)
        raise BundleError(f"no layer {name!r}; the nearest is {printable(repr(nearest[0]))} of: {_listing(shapes)}")
    if len(paths) > 1:
        raise BundleError(f"several layers are called {name!r}; name one by its path: {printable(', '.join(paths))}")
    found = shapes[paths[0]]
    if len(found) != 1:
        raise BundleError(f"layer {paths[0]!r} is called {len(found)} times, a latent layer once: {_listing(shapes)}")
    shape = found[0]
    if not shape:
        raise BundleError(f"layer {paths[0]!r} does not put out one tensor of fixed shape: {_listing(shapes)}")
    return paths[0], shape


def _listing(shapes: Mapping[str, list[Shape | None]]) -> str:
    single = ((path, found[0]) for path, found in shapes.items() if len(found) == 1 and found[0])
    return printable(", ".join(f"{path} {shape}" for path, shape in single), _LISTED)
