"""Layers of this project's own. Importing this starts Keras, so it is imported where a model is built or loaded."""

from typing import Any

from model.backend import keras

_keras = keras()
_Layer: Any = _keras.layers.Layer


@_keras.saving.register_keras_serializable(package="latentlake")
class Sampling(_Layer):
    """A draw from a diagonal normal distribution: the reparametrisation of Kingma and Welling (2014).

    Called with ``[mean, log_variance]``, both [n, D]: in training it gives mean + exp(log_variance / 2) x noise, with
    standard normal noise that is new in every call; in inference it gives the mean.
    """

    def build(self, _: Any) -> None:
        self._draws = _keras.random.SeedGenerator()
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        mean, log_variance = inputs
        if not training:
            return mean
        noise = _keras.random.normal(_keras.ops.shape(mean), dtype=mean.dtype, seed=self._draws)
        return mean + _keras.ops.exp(0.5 * log_variance) * noise

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again; nothing else is stored of it, or accepted in a file."""
        config = super().get_config()
        return {name: config[name] for name in ("name", "trainable", "dtype")}

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the mean."""
        return input_shape[0]
