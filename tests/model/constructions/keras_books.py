"""Constructions in Keras of PyImageSearch, of books, and in other formats. Sizes are theirs, or smaller."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.model.constructions.construction import Truth, construction, images, unit
from tests.model.constructions.keras_parts import autoencoder_truth, keras_parts, save_old
from tests.model.keras.legacy.old_files import archive


def _pyimagesearch(sides: tuple[int, int, int] = (28, 28, 1)) -> Any:
    _, layers, model = keras_parts()
    image = x = layers.Input(sides)
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, strides=2, padding="same")(x)
        x = layers.BatchNormalization(axis=-1)(layers.LeakyReLU(negative_slope=0.2)(x))
    volume = x.shape[1:]
    encoder = model(image, layers.Dense(16, name="encoded")(layers.Flatten()(x)), name="encoder")
    code = layers.Input((16,))
    x = layers.Reshape(volume)(layers.Dense(int(np.prod(volume)))(code))
    for filters in (16, 8):
        x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same")(x)
        x = layers.BatchNormalization(axis=-1)(layers.LeakyReLU(negative_slope=0.2)(x))
    x = layers.Conv2DTranspose(sides[2], 3, padding="same")(x)
    decoder = model(code, layers.Activation("sigmoid", name="decoded")(x), name="decoder")
    whole = layers.Input(sides)
    return model(whole, decoder(encoder(whole)), name="autoencoder")


@construction("PyImageSearch: `ConvAutoencoder`, encoder and decoder within")
def pyimagesearch(folder: Path) -> Truth:
    made, given = _pyimagesearch(), images(28, 28, 1)
    save_old(folder / "autoencoder.h5", made)
    latent = made.get_layer("encoder").predict(unit(given), verbose=0)
    return Truth(given=given, latent=latent, output=made.predict(unit(given), verbose=0))


@construction("PyImageSearch: denoising autoencoder")
def pyimagesearch_denoising(folder: Path) -> Truth:
    made, given = _pyimagesearch(), images(28, 28, 1)
    save_old(folder / "autoencoder.h5", made)
    return Truth(given=given, output=made.predict(unit(given), verbose=0))


@construction("PyImageSearch: image retrieval, by the layer `encoded`")
def pyimagesearch_retrieval(folder: Path) -> Truth:
    made, given = _pyimagesearch((32, 32, 3)), images(32, 32, 3)
    made.save(folder / "autoencoder.h5")
    latent = made.get_layer("encoder").predict(unit(given), verbose=0)
    return Truth(given=given, latent=latent, output=made.predict(unit(given), verbose=0))


@construction("Géron's book: stacked autoencoder, two `Sequential` in one")
def stacked(folder: Path) -> Truth:
    tf_keras, layers, _ = keras_parts()
    encoder = [
        layers.Input((28, 28)),
        layers.Flatten(),
        *(layers.Dense(width, activation="selu") for width in (100, 30)),
    ]
    decoder = [layers.Input((30,)), layers.Dense(100, activation="selu"), layers.Dense(784, activation="sigmoid")]
    parts = [
        tf_keras.Sequential(encoder, name="stacked_encoder"),
        tf_keras.Sequential([*decoder, layers.Reshape((28, 28))], name="stacked_decoder"),
    ]
    made, given = tf_keras.Sequential([layers.Input((28, 28)), *parts], name="stacked_ae"), images(28, 28, 1)
    save_old(folder / "stacked.h5", made)
    values = unit(given)[..., 0]
    output = made.predict(values, verbose=0)[..., None]
    return Truth(given=given, latent=parts[0].predict(values, verbose=0), output=output)


@construction("Géron's book: convolutional autoencoder")
def geron_convolutional(folder: Path) -> Truth:
    tf_keras, layers, _ = keras_parts()
    body: list[Any] = [layers.Input((28, 28)), layers.Reshape((28, 28, 1))]
    for width in (8, 16, 32):
        body += [layers.Conv2D(width, 3, padding="same", activation="selu"), layers.MaxPool2D(2)]
    encoder = tf_keras.Sequential(body, name="conv_encoder")
    decoder = tf_keras.Sequential(
        [
            layers.Input((3, 3, 32)),
            layers.Conv2DTranspose(16, 3, strides=2, activation="selu"),
            layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="selu"),
            layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid"),
            layers.Reshape((28, 28)),
        ]
    )
    made, given = tf_keras.Sequential([layers.Input((28, 28)), encoder, decoder]), images(28, 28, 1)
    save_old(folder / "conv.h5", made)
    values = unit(given)[..., 0]
    latent = encoder.predict(values, verbose=0)
    return Truth(given=given, latent=latent, output=made.predict(values, verbose=0)[..., None])


@construction("Géron's book: recurrent autoencoder")
def geron_recurrent(folder: Path) -> Truth:
    tf_keras, layers, _ = keras_parts()
    encoder = tf_keras.Sequential(
        [layers.Input((28, 28)), layers.LSTM(20, return_sequences=True), layers.LSTM(8)], name="recurrent_encoder"
    )
    decoder = [layers.RepeatVector(28), layers.LSTM(20, return_sequences=True)]
    decoder += [layers.TimeDistributed(layers.Dense(28, activation="sigmoid"))]
    made = tf_keras.Sequential([layers.Input((28, 28)), encoder, *decoder])
    save_old(folder / "recurrent.h5", made)
    given = images(28, 28, 1)
    values = unit(given)[..., 0]
    latent = encoder.predict(values, verbose=0)
    return Truth(given=given, latent=latent, output=made.predict(values, verbose=0)[..., None])


@construction("Géron's book: denoising autoencoder, with `GaussianNoise` or `Dropout` first")
def geron_denoising(folder: Path) -> Truth:
    _, layers, model = keras_parts()
    image = layers.Input((28, 28, 1))
    x = layers.Dropout(0.5)(layers.GaussianNoise(0.2)(layers.Flatten()(image)))
    code = layers.Dense(30, activation="relu", name="codings")(layers.Dense(100, activation="relu")(x))
    x = layers.Dense(784, activation="sigmoid")(layers.Dense(100, activation="relu")(code))
    made, given = model(image, layers.Reshape((28, 28, 1))(x)), images(28, 28, 1)
    made.save(folder / "denoising.keras")
    return autoencoder_truth(made, "codings", unit(given), given)


@construction("Machine Learning Mastery: encoder of vectors, with `BatchNormalization` and `LeakyReLU`")
def mastery(folder: Path) -> Truth:
    _, layers, model = keras_parts()
    vector = x = layers.Input((100,))
    for width in (200, 100):
        x = layers.LeakyReLU(negative_slope=0.3)(layers.BatchNormalization(axis=-1)(layers.Dense(width)(x)))
    made = model(vector, layers.Dense(50, name="bottleneck")(x))
    made.save(folder / "encoder.h5")
    given = np.random.default_rng(0).random((3, 100), np.float32)
    return Truth(given=given, latent=made.predict(given, verbose=0))


def _seq2seq(gates: str) -> tuple[Any, Any]:
    _, layers, model = keras_parts()
    rows = layers.Input((28, 28))
    code, h, c = layers.LSTM(12, return_state=True, recurrent_activation=gates, name="encoder")(rows)
    code = layers.Dense(6, name="code")(code)
    x = layers.RepeatVector(28)(code)
    x = layers.LSTM(12, return_sequences=True, recurrent_activation=gates)(x, initial_state=[h, c])
    return model(rows, layers.TimeDistributed(layers.Dense(28))(x)), layers


@construction("Sequence to sequence with `initial_state` (Keras 2)")
def seq2seq(folder: Path) -> Truth:
    (made, _), given = _seq2seq("sigmoid"), images(28, 28, 1)
    save_old(folder / "seq2seq.h5", made)
    found = autoencoder_truth(made, "code", unit(given)[..., 0], given)
    return Truth(given=given, latent=found.latent, output=found.output[..., None])


@construction("LSTM of Keras before 2.3, with gates of `hard_sigmoid`")
def old_gates(folder: Path) -> Truth:
    """The file names ``hard_sigmoid``, and what Keras 2 computes is computed here by a function of that arithmetic."""
    tf_keras, _, model = keras_parts()
    made, given = _seq2seq("hard_sigmoid")[0], images(28, 28, 1)
    save_old(folder / "old_lstm.h5", made)
    ops = tf_keras.ops
    exact = tf_keras.models.clone_model(
        made, clone_function=lambda layer: _with_gates(layer, lambda x: ops.clip(0.2 * x + 0.5, 0.0, 1.0))
    )
    exact.set_weights(made.get_weights())
    values = unit(given)[..., 0]
    latent = model(exact.input, exact.get_layer("code").output).predict(values, verbose=0)
    return Truth(given=given, latent=latent, output=exact.predict(values, verbose=0)[..., None])


def _with_gates(layer: Any, gates: Any) -> Any:
    config = layer.get_config()
    if type(layer).__name__ != "LSTM":
        return type(layer).from_config(config)
    return type(layer)(**{**config, "recurrent_activation": gates})


@construction("Keras 2.13: `.keras` file of a convolutional autoencoder")
def keras_213(folder: Path) -> Truth:
    made, given = _pyimagesearch(), images(28, 28, 1)
    (folder / "autoencoder.keras").write_bytes(archive(made))
    latent = made.get_layer("encoder").predict(unit(given), verbose=0)
    return Truth(given=given, latent=latent, output=made.predict(unit(given), verbose=0))


@construction("TensorFlow SavedModel of an autoencoder with two outputs")
def saved_model(folder: Path) -> Truth:
    _, layers, model = keras_parts()
    image = layers.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    code = layers.Dense(8)(layers.Flatten()(x))
    output = layers.Reshape((16, 16, 3))(layers.Dense(768, activation="sigmoid")(code))
    made, given = model(image, {"image": output, "code": code}), images(16, 16, 3)
    made.export(str(folder / "saved_model"), verbose=False)
    found = made.predict(unit(given), verbose=0)
    return Truth(given=given, latent=found["code"], output=found["image"])


@construction("A conditional encoder, whose second input takes a label one-hot")
def conditional(folder: Path) -> Truth:
    _, layers, model = keras_parts()
    image, label = layers.Input((28, 28, 1), name="image"), layers.Input((10,), name="label")
    x = layers.Concatenate()([layers.Flatten()(image), label])
    made = model([image, label], layers.Dense(8, name="code")(x))
    made.save(folder / "conditional.keras")
    given, classes = images(28, 28, 1), np.array([3, 0, 9])
    latent = made.predict([unit(given), np.eye(10, dtype=np.float32)[classes]], verbose=0)
    return Truth(given=given, condition=classes, latent=latent)
