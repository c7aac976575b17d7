"""The functions of a model (encode, decode, ...) as TensorFlow graphs."""

from collections.abc import Callable
from math import prod
from typing import Any

from lake.core.errors import BundleError
from lake.core.printable import printable
from lake.core.tensorflow import tensorflow
from model.graphs import CONDITION
from model.keras.layer_graph import iter_layers, record_outputs, replace_output
from model.keras.second_input import conditioned, pack_inputs
from model.keras.sizes import check_graph
from model.pixels import FULL
from model.spec import Spec


class Compute:
    """Traces the functions of a model. Not thread-safe: layers are hooked while a function is traced.

    Args:
      model: the Keras model.
      spec: its description.

    Raises:
      BundleError: a layer or input that the description names is not in the model.
    """

    def __init__(self, model: Any, spec: Spec) -> None:
        self._model, self._spec = model, spec
        self._latent = _layer(model, spec.latent.layer) if spec.latent and spec.kind != "decoder" else None
        self._log_variance = _layer(model, spec.variance) if spec.variance else None
        self._further = [_layer(model, one.layer) for one in spec.further]
        self._inputs = {tensor.name: tensor for tensor in model.inputs}
        told = spec.input.noise or spec.input.condition
        if told is not None and told.input is not None and told.input not in self._inputs:
            known = printable(", ".join(self._inputs))
            raise BundleError(f"the model has no input {told.input!r}, only {known}; export it again")

    def trace(self, name: str, dtype: str, rows: int | None, size: tuple[int, ...] = ()) -> Callable[..., Any]:
        """Trace one function.

        Args:
          name: ``encode``, ``encode_variance``, ``encode_all``, ``reconstruct``, ``decode`` or ``restore``, as in
            ``Runtime``.
          dtype: dtype of the first array: uint8, uint16 or float32.
          rows: number of rows of every array; None for any number, which only a model of any size takes.
          size: (H, W) of the images, for ``decode`` (h, w) of the latents; () for any size.

        Returns:
          A function from arrays to a list of float32 tensors. Pixels are scaled to the model's value range in the
          graph.

        Raises:
          ValueError: the model does not take this dtype, or does not have the shapes of its description.
          TypeError: a layer of the model can only be traced for a known image size.
          BundleError: the model would need too much memory for one record.
        """
        function, signature = self.define(name, dtype, rows, size)
        compiled = function.get_concrete_function(*signature)
        check_graph(compiled.graph, rows or 1)
        tf = tensorflow()
        divisor = tf.constant(FULL[dtype], tf.float32)
        return lambda *arrays: compiled(divisor, *map(tf.constant, arrays))

    def define(self, name: str, dtype: str, rows: int | None, size: tuple[int, ...] = ()) -> tuple[Any, list[Any]]:
        """Define one function, as ``trace`` traces it.

        Args:
          name: as in ``trace``, like all that follow.
          dtype: dtype of the first array.
          rows: number of rows of every array; None for any number.
          size: as in ``trace``.

        Returns:
          A ``tf.function`` and the signature to trace it with: what pixels are divided by, then the arrays, and of a
          conditional model the conditions.
        """
        tf, spec = tensorflow(), self._spec
        spec.check_dtype(name, dtype)
        sides = (*(size or (None, None)), spec.input.shape[2]) if spec.input.any_size else spec.input.shape
        images = tf.TensorSpec((rows, *sides), dtype, "pixels")
        levels = tf.TensorSpec((rows,), tf.float32, "levels")
        latents = tf.TensorSpec((rows, *self._latent_sides(size)), tf.float32, "latents")
        body, given = {
            "encode": (self._encode, [images]),
            "encode_variance": (self._encode_variance, [images]),
            "encode_all": (self._encode_all, [images]),
            "reconstruct": (self._reconstruct, [images]),
            "decode": (self._decode, [latents]),
            "restore": (self._restore, [images, levels]),
        }[name]
        if spec.input.condition is not None:
            given.append(tf.TensorSpec((rows, spec.input.condition.length), tf.float32, CONDITION))
        # The divisor is an argument. A constant one would be optimized to a multiplication by its rounded reciprocal,
        # and the same image as uint8 and as uint16 would no longer give the same bits.
        return tf.function(body, autograph=False), [tf.TensorSpec((), tf.float32, "divisor"), *given]

    def _encode(self, divisor: Any, pixels: Any, condition: Any = None) -> Any:
        return [self._run(self._to_range(self._unit(pixels, divisor)), condition)[0]]

    def _encode_variance(self, divisor: Any, pixels: Any, condition: Any = None) -> Any:
        tf = tensorflow()
        with record_outputs([self._latent, self._log_variance]) as outputs:
            self._called(self._shown(self._to_range(self._unit(pixels, divisor)), condition))
        n = _rows(pixels)
        return [self._latents(outputs, self._latent, n), tf.exp(self._latents(outputs, self._log_variance, n))]

    def _encode_all(self, divisor: Any, pixels: Any, condition: Any = None) -> Any:
        tf, n = tensorflow(), _rows(pixels)
        with record_outputs([self._latent, *self._further]) as outputs:
            self._called(self._shown(self._to_range(self._unit(pixels, divisor)), condition))
        further = zip(self._further, self._spec.further, strict=True)
        flat = [tf.cast(tf.reshape(_single(outputs, layer), (n, one.dimension)), tf.float32) for layer, one in further]
        return [self._latents(outputs, self._latent, n), *flat]

    def _reconstruct(self, divisor: Any, pixels: Any, condition: Any = None) -> Any:
        low, high = self._spec.input.value_range
        unit = self._unit(pixels, divisor)
        latents, output = self._run(self._to_range(unit), condition)
        # Errors are relative to the value range, so that models of different ranges can be compared.
        target = (unit - low) / (high - low) if self._spec.numeric else unit
        difference = self._to_unit(output) - target
        return [latents, output, self._mean_square(difference, pixels.shape[0])]

    def _mean_square(self, difference: Any, rows: int | None) -> Any:
        """Mean over each row, float32 ``[n]``."""
        tf, (side, *others) = tensorflow(), self._spec.input.shape
        if self._spec.input.any_size:
            return tf.reduce_mean(tf.reduce_mean(tf.square(difference), axis=[2, 3]), axis=1)
        if rows is not None:
            return tf.reduce_mean(tf.square(tf.reshape(difference, (rows, -1))), axis=1)
        # For executors that add up naively: in two steps, so that millions of terms lose no digits.
        lines = tf.reshape(difference, (-1, side, prod(others)))
        return tf.reduce_mean(tf.reduce_mean(tf.square(lines), axis=2), axis=1)

    def _decode(self, divisor: Any, latents: Any, condition: Any = None) -> Any:
        tf = tensorflow()
        del divisor  # latents are not scaled
        if self._spec.latent and self._latent is None:  # a decoder alone
            taken = tf.reshape(latents, (_rows(latents), *self._spec.latent.shape))
            return [tf.cast(self._model(self._shown(taken, condition), training=False), tf.float32)]
        # The whole model is traced on blank images with its latent replaced. TensorFlow prunes the layers before it,
        # because nothing depends on them any more.
        with replace_output(self._latent, latents):
            return [tf.cast(self._called(self._shown(self._blank(latents), condition)), tf.float32)]

    def _blank(self, latents: Any) -> Any:
        """Images whose latents have this shape."""
        tf, spec = tensorflow(), self._spec
        given = tf.shape(latents)
        rows, *known = (side or given[axis] for axis, side in enumerate(latents.shape[:3]))
        if not spec.input.any_size:
            return tf.zeros((rows, *spec.input.shape))
        return tf.zeros((rows, *(side * spec.stride for side in known), spec.input.shape[2]))

    def _restore(self, divisor: Any, pixels: Any, levels: Any) -> Any:
        given = self._told(self._to_range(self._unit(pixels, divisor)), levels)
        return [tensorflow().cast(self._called(given), "float32")]

    def _called(self, given: Any) -> Any:
        return self._frozen(given) if self._spec.input.any_size else self._model(given, training=False)

    def _frozen(self, given: Any) -> Any:
        """Return the model's output, with the weights as constants of the graph."""
        tf, model = tensorflow(), self._model
        # Batches of any size go through this function. With variables, the kernels compute a batch of one differently,
        # to other bits. With constants they do not, and the weights are laid out for the processor only once.
        variables = model.trainable_variables, model.non_trainable_variables
        with tf.init_scope():  # outside of the graph, where variables have values
            weights = [[variable.numpy() for variable in some] for some in variables]
        constants = ([tf.constant(weight) for weight in some] for some in weights)
        output, _ = model.stateless_call(*constants, given, training=False)
        return output

    def _unit(self, pixels: Any, divisor: Any) -> Any:
        return _in_line(lambda values: values / divisor, tensorflow().cast(pixels, "float32"))  # images in 0..1

    def _to_range(self, unit: Any) -> Any:
        low, high = self._spec.input.value_range
        if self._spec.numeric or (low, high) == (0.0, 1.0):
            return unit
        return _in_line(lambda values: values * (high - low) + low, unit)

    def _to_unit(self, output: Any) -> Any:
        black, white = self._spec.output_range
        if (black, white) == (0.0, 1.0):
            return output
        return _in_line(lambda values: (values - black) / (white - black), output)

    def _run(self, values: Any, condition: Any) -> tuple[Any, Any]:
        with record_outputs([self._latent]) as outputs:
            output = self._called(self._shown(values, condition))
        return self._latents(outputs, self._latent, _rows(values)), tensorflow().cast(output, "float32")

    def _latent_sides(self, size: tuple[int, ...]) -> tuple[int | None, ...]:
        """Shape of the latents of one record, where images have any size (h, w, c)."""
        latent = self._spec.latent
        if not (self._spec.input.any_size and latent):
            return (self._spec.dimension,)
        return (*(size or (None, None)), latent.shape[2])

    def _latents(self, outputs: dict[int, list[Any]], layer: Any, rows: int) -> Any:
        tf = tensorflow()
        output = _single(outputs, layer)
        if self._spec.input.any_size:
            return tf.cast(output, tf.float32)
        return tf.cast(tf.reshape(output, (rows, self._spec.dimension)), tf.float32)

    def _shown(self, values: Any, condition: Any) -> Any:
        """Return the model's input or inputs: images, vectors or latents, and what it is told of each."""
        return conditioned(self._model, values, self._spec.input.condition, condition)

    def _told(self, values: Any, levels: Any) -> Any:
        """Return the model's input or inputs: images ``[n, H, W, C]`` and their noise levels, in its form."""
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
        return pack_inputs(self._model, values, noise.input, told)


def _in_line(change: Callable[[Any], Any], values: Any) -> Any:
    """What ``change``, which knows no sides, makes of the numbers of a tensor."""
    # ONNX Runtime takes a tensor and a number in steps of the last side, which took 80 times as long for grey images.
    tf = tensorflow()
    shape = [-1 if side is None else side for side in values.shape]
    return tf.reshape(change(tf.reshape(values, [-1])), tf.shape(values) if shape.count(-1) > 1 else shape)


def _rows(values: Any) -> int:
    """The number of rows of a tensor, as ``tf.reshape`` takes it."""
    return -1 if values.shape[0] is None else int(values.shape[0])


def _single(outputs: dict[int, list[Any]], layer: Any) -> Any:
    """What a layer gave that was called once."""
    (output,) = outputs[id(layer)]
    return output


def _layer(model: Any, path: str) -> Any:
    layers = dict(iter_layers(model))
    if path not in layers:
        raise BundleError(f"the model has no layer {path!r}, only {printable(', '.join(layers))}; export it again")
    return layers[path]
