"""Constructions that are refused by name, and what their rows say to do instead."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

from lake.core.tensorflow import keras, tensorflow
from tests.model.constructions.construction import Truth, construction, images, unit
from tests.model.constructions.torch_models import dense


def _small() -> Any:
    layers = keras().layers
    image = layers.Input((28, 28, 1))
    code = layers.Dense(8, name="code")(layers.Flatten()(image))
    output = layers.Reshape((28, 28, 1))(layers.Dense(784, activation="sigmoid")(code))
    return keras().Model(image, output)


def _saved(folder: Path, model: Any) -> Truth:
    model.save(folder / "model.keras")
    given = images(28, 28, 1)
    code = keras().Model(model.input, model.get_layer("code").output)
    output = model.predict(unit(given), verbose=0)
    return Truth(given=given, latent=code.predict(unit(given), verbose=0), output=output)


@construction("Keras blog: variational autoencoder, with a `Lambda`")
def blog_vae(folder: Path) -> Truth:
    layers = keras().layers
    image = layers.Input((784,))
    h = layers.Dense(64, activation="relu")(image)
    mean, logarithm = layers.Dense(2, name="z_mean")(h), layers.Dense(2, name="z_log_sigma")(h)
    z = layers.Lambda(lambda both: both[0] + keras().ops.exp(both[1]) * 0.1)([mean, logarithm])
    encoder = keras().Model(image, [mean, logarithm, z])
    encoder.save(folder / "encoder.keras")

    def way_on(folder: Path) -> Truth:
        keras().Model(encoder.input, encoder.get_layer("z_mean").output).save(folder / "mean.keras")
        given = images(28, 28, 1)
        values = unit(given).reshape(-1, 784)
        return Truth(given=given, latent=encoder.predict(values, verbose=0)[0])

    return Truth(refused="is a Lambda of keras.layers: it holds Python code", way_on=way_on)


@construction("PyTorch's weights (`.pth`, `state_dict`)")
def pth(folder: Path) -> Truth:
    with zipfile.ZipFile(folder / "model.pth", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"weight": [0.0]}))
        archive.writestr("model/version", "3")
    return Truth(refused="this is a PyTorch file .* torch.onnx.export", way_on=dense)


@construction("Weights alone (`save_weights`)")
def weights(folder: Path) -> Truth:
    model = _small()
    model.save_weights(folder / "model.weights.h5")

    def way_on(folder: Path) -> Truth:
        again = _small()
        again.load_weights(folder / "model.weights.h5")
        return _saved(folder, again)

    return Truth(refused="weights alone .*load_weights", way_on=way_on)


@construction("TensorFlow Lite (`.tflite`)")
def tflite(folder: Path) -> Truth:
    model = _small()
    (folder / "model.tflite").write_bytes(tensorflow().lite.TFLiteConverter.from_keras_model(model).convert())
    return Truth(refused="this is a TensorFlow Lite file", way_on=lambda folder: _saved(folder, model))
