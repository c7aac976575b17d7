"""A model's functions as TensorFlow graphs."""

from collections.abc import Callable
from typing import Any

from model.backend import keras, tensorflow
from model.graph import layers_of, recorded, replaced
from model.pixels import FULL
from model.spec import Spec
from pipeline.errors import BundleError


class Compute:
    """Traces a model's functions; one at a time, since layers are tapped meanwhile.

    Raises:
      BundleError: a layer or input that the spec names is not in the model.
    """

    def __init__(self, model: Any, spec: Spec) -> None:
        self._model, self._spec = model, spec
        self._latent = _layer(model, spec.latent.layer) if spec.latent else None
        self._log_variance = _layer(model, spec.variance) if spec.variance else None
        self._inputs = {tensor.name: tensor for tensor in model.inputs}
        if spec.input.noise and spec.input.noise.input is not None and spec.input.noise.input not in self._inputs:
            known = ", ".join(self._inputs)
            raise BundleError(f"the model has no input {spec.input.noise.input!r}, only {known}; export it again")

    def trace(self, name: str, dtype: str, rows: int | None, size: tuple[int, ...] = ()) -> Callable[..., Any]:
        """The function called ``name``, for pixels (or latents) of a dtype; takes arrays, gives a list of tensors.

        Args:
          name: of a method of ``Runtime``.
          dtype: of the first array.
          rows: of every array; None for any number, which only a model of any size takes.
          size: (H, W) of the images; () for any where the model takes any.

        Raises:
          ValueError: the model does not take this dtype, or does not have the shapes of its spec.
          TypeError: a layer of the model can only be traced for one size.
        """
        tf, spec = tensorflow(), self._spec
        if dtype not in (("float32",) if spec.numeric or name == "decode" else FULL):
            raise ValueError(f"{name} of dtype {dtype}; the model takes {spec.input.dtype}")
        sides = (*(size or (None, None)), spec.input.shape[2]) if spec.input.any_size else spec.input.shape
        images, levels = tf.TensorSpec((rows, *sides), dtype), tf.TensorSpec((rows,), tf.float32)
        body, given = {
            "encode": (self._encode, [images]),
            "encode_variance": (self._encode_variance, [images]),
            "reconstruct": (self._reconstruct, [images]),
            "decode": (self._decode, [tf.TensorSpec((rows, spec.dimension), tf.float32)]),
            "restore": (self._restore, [images, levels]),
        }[name]
        # The divisor is an argument: divided by a constant, the optimizer would multiply by its rounded reciprocal,
        # and the bits of uint8 and uint16 would part.
        signature = [tf.TensorSpec((), tf.float32), *given]
        compiled = tf.function(body, autograph=False).get_concrete_function(*signature)
        divisor = tf.constant(FULL[dtype], tf.float32)
        return lambda *arrays: compiled(divisor, *map(tf.constant, arrays))

    def _encode(self, divisor: Any, pixels: Any) -> Any:
        return [self._run(self._valued(self._unit(pixels, divisor)))[0]]

    def _encode_variance(self, divisor: Any, pixels: Any) -> Any:
        tf = tensorflow()
        with recorded([self._latent, self._log_variance]) as outputs:
            self._model(self._valued(self._unit(pixels, divisor)), training=False)
        n = pixels.shape[0]
        return [self._flat(outputs, self._latent, n), tf.exp(self._flat(outputs, self._log_variance, n))]

    def _reconstruct(self, divisor: Any, pixels: Any) -> Any:
        tf = tensorflow()
        low, high = self._spec.input.value_range
        unit = self._unit(pixels, divisor)
        latents, output = self._run(self._valued(unit))
        target = (unit - low) / (high - low) if self._spec.numeric else unit
        difference = tf.reshape((output - low) / (high - low) - target, (pixels.shape[0], -1))
        return [latents, output, tf.reduce_mean(tf.square(difference), axis=1)]

    def _decode(self, divisor: Any, latents: Any) -> Any:
        del divisor  # latents are no pixels
        # The whole model on no image, with its latent replaced: what comes before is not in the graph that runs.
        tf = tensorflow()
        nothing = tf.zeros((latents.shape[0], *self._spec.input.shape))
        with replaced(self._latent, latents):
            return [tf.cast(self._model(nothing, training=False), tf.float32)]

    def _restore(self, divisor: Any, pixels: Any, levels: Any) -> Any:
        given = self._told(self._valued(self._unit(pixels, divisor)), levels)
        output = self._frozen(given) if self._spec.input.any_size else self._model(given, training=False)
        return [tensorflow().cast(output, "float32")]

    def _frozen(self, given: Any) -> Any:
        """The model's output with weights that are constants of the graph.

        Batches of any size go through it. With variables the kernels take another way for a batch of one, whose bits
        are others; with constants, which are also laid out for the processor only once, they do not.
        """
        tf, model = tensorflow(), self._model
        variables = model.trainable_variables, model.non_trainable_variables
        with tf.init_scope():  # outside of the graph, where they have values
            weights = [[variable.numpy() for variable in some] for some in variables]
        constants = ([tf.constant(weight) for weight in some] for some in weights)
        output, _ = model.stateless_call(*constants, given, training=False)
        return output

    def _unit(self, pixels: Any, divisor: Any) -> Any:
        return tensorflow().cast(pixels, "float32") / divisor  # images: 0..1

    def _valued(self, unit: Any) -> Any:
        low, high = self._spec.input.value_range
        return unit if self._spec.numeric or (low, high) == (0.0, 1.0) else unit * (high - low) + low

    def _run(self, values: Any) -> tuple[Any, Any]:
        with recorded([self._latent]) as outputs:
            output = self._model(values, training=False)
        return self._flat(outputs, self._latent, values.shape[0]), tensorflow().cast(output, "float32")

    def _flat(self, outputs: dict[int, list[Any]], layer: Any, rows: int) -> Any:
        tf = tensorflow()
        (output,) = outputs[id(layer)]
        return tf.cast(tf.reshape(output, (rows, self._spec.dimension)), tf.float32)

    def _told(self, values: Any, levels: Any) -> Any:
        """The model's input or inputs: images [n, H, W, C] and what it is told of their noise, by fractions [n]."""
        tf, noise = tensorflow(), self._spec.input.noise
        if noise is None:
            return values
        numbers = tf.reshape(levels * noise.scale, (-1, 1, 1, 1))
        if noise.form == "scalar":
            told = tf.reshape(numbers, (-1, *self._inputs[noise.input].shape[1:]))
        else:
            told = tf.broadcast_to(numbers, tf.concat([tf.shape(values)[:3], [1]], 0))
        if noise.form == "channel":
            return tf.concat([values, told], 3)
        flat = [told if name == noise.input else values for name in self._inputs]
        return keras().tree.pack_sequence_as(self._model.input, flat)


def _layer(model: Any, path: str) -> Any:
    layers = dict(layers_of(model))
    if path not in layers:
        raise BundleError(f"the model has no layer {path!r}, only {', '.join(layers)}; export it again")
    return layers[path]
