"""What modules of constructions in Keras share."""

from pathlib import Path
from typing import Any

import numpy as np

from lake.core.tensorflow import keras
from tests.model.constructions.construction import Truth
from tests.model.keras.legacy.old_files import hdf5


def keras_parts():
    return keras(), keras().layers, keras().Model


def save_old(path: Path, model: Any) -> None:
    """As Keras 2 saves it, with weights that are all different."""
    rng = np.random.default_rng(5)
    model.set_weights([w + rng.uniform(0, 0.05, w.shape).astype(w.dtype) for w in model.get_weights()])
    path.write_bytes(hdf5(model))


def _of_layer(model: Any, name: str, values: np.ndarray) -> np.ndarray:
    return keras().Model(model.inputs, model.get_layer(name).output).predict(values, verbose=0)


def autoencoder_truth(model: Any, latent: str, values: np.ndarray, given: np.ndarray) -> Truth:
    return Truth(given=given, latent=_of_layer(model, latent, values), output=model.predict(values, verbose=0))
