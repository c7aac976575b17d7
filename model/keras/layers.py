"""This project's own Keras layers. Importing this module starts Keras, so import it only where a model is needed."""

from typing import Any

from lake.core.tensorflow import keras

_keras = keras()
_Layer: Any = _keras.layers.Layer


@_keras.saving.register_keras_serializable(package="latentlake")
class Sampling(_Layer):
    """Sample from a diagonal normal distribution by the reparameterization of Kingma and Welling (2014).

    Called with ``[mean, log_variance]``, each ``[n, D]``. In training it gives mean + exp(log_variance / 2) x noise,
    with new standard normal noise in every call. In inference it gives the mean.
    """

    # Saved models contain this module name; importing that module imports this one.
    __module__ = "model.layers"

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
        """Return the layer's configuration. The audit of a ``.keras`` file accepts no other fields."""
        config = super().get_config()
        return {name: config[name] for name in ("name", "trainable", "dtype")}

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the mean."""
        return input_shape[0]


@_keras.saving.register_keras_serializable(package="latentlake")
class First(_Layer):
    """The first of its inputs. The others are computed, too, so that they can be had from the layers that give them."""

    __module__ = "model.layers"

    def call(self, inputs: Any) -> Any:
        return inputs[0]

    def get_config(self) -> dict[str, Any]:
        """Return the layer's configuration, as of ``Sampling``."""
        config = super().get_config()
        return {name: config[name] for name in ("name", "trainable", "dtype")}

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the first one."""
        return input_shape[0]


@_keras.saving.register_keras_serializable(package="latentlake")
class LegacyHardSigmoid:
    """The activation ``hard_sigmoid`` of Keras 2: ``clip(0.2 x + 0.5, 0, 1)``.

    Keras 3 has ``clip(x / 6 + 0.5, 0, 1)`` by that name, as PyTorch has. It has no configuration.
    """

    __module__ = "model.layers"

    def __call__(self, x: Any) -> Any:
        return _keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return nothing. The audit of a ``.keras`` file accepts no other configuration."""
        return {}

    @classmethod
    def from_config(cls, _: dict[str, Any]) -> "LegacyHardSigmoid":
        """Return the activation."""
        return cls()
