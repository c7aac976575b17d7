"""Layers of a loaded model by path, and what they put out while the model runs."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from model.backend import tensorflow
from model.spec import Shape
from pipeline.errors import BundleError


def layers_of(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Path and layer of everything in the model, nested models before their layers: ``encoder``, ``encoder/dense``."""
    for layer in model.layers:
        path = prefix + layer.name
        yield path, layer
        if hasattr(layer, "layers"):
            yield from layers_of(layer, f"{path}/")


@contextmanager
def recorded(layers: Iterable[Any]) -> Iterator[dict[int, list[Any]]]:
    """While the block runs, collect what each layer puts out, by ``id`` of the layer.

    This works wherever a layer is: a Keras graph through a nested model's inner layer cannot be built from public
    parts, but every layer is called by name when the whole model runs.
    """
    tapped = {id(layer): layer for layer in layers}
    outputs: dict[int, list[Any]] = {key: [] for key in tapped}

    def keep(found: list[Any]) -> Callable[[Any], Any]:
        def kept(output: Any) -> Any:
            found.append(output)
            return output

        return kept

    with _tapped([(layer, keep(outputs[key])) for key, layer in tapped.items()]):
        yield outputs


@contextmanager
def replaced(layer: Any, values: Any) -> Iterator[None]:
    """While the block runs, the layer puts out ``values``, [n, D], in the shape and type of its own output."""
    tf = tensorflow()

    def instead(output: Any) -> Any:
        return tf.reshape(tf.cast(values, output.dtype), (-1, *output.shape[1:]))

    with _tapped([(layer, instead)]):
        yield


def depends_on_latent_alone(model: Any, path: str, values: Any) -> bool:
    """Whether the output is the same whatever the input, once the latent is given.

    Args:
      model: a Keras model of one input.
      path: of the layer that puts out the latent.
      values: inputs that differ, in the model's range.
    """
    layer = dict(layers_of(model))[path]
    with recorded([layer]) as outputs:
        model(values, training=False)
    (latents,) = outputs[id(layer)]
    with replaced(layer, latents):
        own, others = (model(inputs, training=False).numpy() for inputs in (values, values[::-1]))
    return bool((own == others).all())


@contextmanager
def _tapped(taps: Sequence[tuple[Any, Callable[[Any], Any]]]) -> Iterator[None]:
    try:
        for layer, change in taps:
            _tap(layer, change)
        yield
    finally:
        for layer, _ in taps:
            object.__delattr__(layer, _called(layer))


def _tap(layer: Any, change: Callable[[Any], Any]) -> None:
    original = getattr(layer, _called(layer))
    object.__setattr__(layer, _called(layer), lambda *args, **kwargs: change(original(*args, **kwargs)))


def _called(layer: Any) -> str:
    return "quantized_call" if getattr(layer, "quantization_mode", None) else "call"


def layer_shapes(model: Any, shape: Shape) -> dict[str, list[Shape | None]]:
    """Shapes of what every layer puts out, one for each time it is called; None for what is no single tensor.

    Args:
      model: a Keras model of one input.
      shape: the input's, without the batch.
    """
    tf = tensorflow()
    layers = dict(layers_of(model))
    with recorded(layers.values()) as outputs:
        tf.function(lambda x: model(x, training=False), autograph=False).get_concrete_function(
            tf.TensorSpec((1, *shape), tf.float32)
        )
    return {path: [_shape(output) for output in outputs[id(layer)]] for path, layer in layers.items()}


def _shape(output: Any) -> Shape | None:
    shape = getattr(output, "shape", None)
    return None if shape is None or None in shape[1:] else tuple(shape[1:])


def find_latent(shapes: Mapping[str, list[Shape | None]], name: str) -> tuple[str, Shape]:
    """The path and output shape of the layer called ``name``, a path or the last part of one.

    Raises:
      BundleError: no layer, several layers, or one that gives several or unusable outputs.
    """
    paths = [name] if name in shapes else [path for path in shapes if path.split("/")[-1] == name]
    if not paths:
        nearest = difflib.get_close_matches(name, shapes, 1) or difflib.get_close_matches(name.lower(), shapes, 1, 0.0)
        raise BundleError(f"no layer {name!r}; the nearest is {nearest[0]!r} of:\n{_listing(shapes)}")
    if len(paths) > 1:
        raise BundleError(f"several layers are called {name!r}; name one by its path: {', '.join(paths)}")
    found = shapes[paths[0]]
    if len(found) != 1:
        raise BundleError(f"layer {paths[0]!r} is called {len(found)} times, a latent layer once:\n{_listing(shapes)}")
    shape = found[0]
    if not shape:
        raise BundleError(f"layer {paths[0]!r} does not put out one tensor of fixed shape:\n{_listing(shapes)}")
    return paths[0], shape


def _listing(shapes: Mapping[str, list[Shape | None]]) -> str:
    return "\n".join(f"  {path}  {found[0]}" for path, found in shapes.items() if len(found) == 1 and found[0])
