"""Constructions in Keras of its blog and examples, of tutorials and books. Sizes are theirs, or smaller."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.model.constructions.construction import Truth, construction, images, unit
from tests.model.constructions.keras_parts import autoencoder_truth, keras_parts, save_old


def _dense(folder: Path, widths: tuple[int, ...], latent: str, **first: Any) -> Truth:
    _, layers, model = keras_parts()
    image = x = layers.Input((784,))
    for n, width in enumerate(widths):
        x = layers.Dense(width, activation="relu", name=f"dense_{n}" if n else "dense", **(first if n == 0 else {}))(x)
    made = model(image, layers.Dense(784, activation="sigmoid", name="decoded")(x))
    save_old(folder / "autoencoder.h5", made)
    given = images(28, 28, 1)
    return autoencoder_truth(made, latent, unit(given).reshape(-1, 784), given)


@construction("Keras blog: simplest autoencoder, of 784 numbers")
def simplest(folder: Path) -> Truth:
    return _dense(folder, (32,), "dense")


@construction("Keras blog: sparse autoencoder, with an activity regularizer")
def sparse(folder: Path) -> Truth:
    return _dense(folder, (32,), "dense", activity_regularizer="l1")


@construction("Keras blog: deep autoencoder")
def deep(folder: Path) -> Truth:
    return _dense(folder, (128, 64, 32, 64, 128), "dense_2")


def _convolutional(filters: tuple[int, ...]) -> Any:
    _, layers, model = keras_parts()
    image = x = layers.Input((28, 28, 1))
    for n, width in enumerate(filters):
        x = layers.Conv2D(width, 3, activation="relu", padding="same")(x)
        x = layers.MaxPooling2D(2, padding="same", name=f"max_pooling2d_{n}" if n else "max_pooling2d")(x)
    for width in filters[:0:-1]:
        x = layers.UpSampling2D(2)(layers.Conv2D(width, 3, activation="relu", padding="same")(x))
    x = layers.Conv2D(filters[0], 3, activation="relu", padding="same" if len(filters) == 2 else "valid")(x)
    x = layers.UpSampling2D(2)(x)
    return model(image, layers.Conv2D(1, 3, activation="sigmoid", padding="same")(x))


@construction("Keras blog: convolutional autoencoder")
def convolutional(folder: Path) -> Truth:
    made, given = _convolutional((16, 8, 8)), images(28, 28, 1)
    save_old(folder / "autoencoder.h5", made)
    return autoencoder_truth(made, "max_pooling2d_2", unit(given), given)


@construction("Keras blog: image denoising")
def denoising(folder: Path) -> Truth:
    made, given = _convolutional((32, 32)), images(28, 28, 1)
    save_old(folder / "denoiser.h5", made)
    return Truth(given=given, output=made.predict(unit(given), verbose=0))


@construction("Keras blog: sequence-to-sequence autoencoder, over the rows of an image")
def sequence(folder: Path) -> Truth:
    _, layers, model = keras_parts()
    rows = layers.Input((28, 28))
    code = layers.LSTM(16, name="lstm")(rows)
    made = model(rows, layers.LSTM(28, return_sequences=True, name="decoder")(layers.RepeatVector(28)(code)))
    save_old(folder / "lstm.h5", made)
    given = images(28, 28, 1)
    found = autoencoder_truth(made, "lstm", unit(given)[..., 0], given)
    return Truth(given=given, latent=found.latent, output=found.output[..., None])


@construction("keras.io: convolutional autoencoder for image denoising")
def keras_io_denoising(folder: Path) -> Truth:
    _, layers, model = keras_parts()
    image = x = layers.Input((28, 28, 1))
    for _ in range(2):
        x = layers.MaxPooling2D(2, padding="same")(layers.Conv2D(32, 3, activation="relu", padding="same")(x))
    for _ in range(2):
        x = layers.Conv2DTranspose(32, 3, strides=2, activation="relu", padding="same")(x)
    made = model(image, layers.Conv2D(1, 3, activation="sigmoid", padding="same")(x))
    made.save(folder / "autoencoder.keras")
    given = images(28, 28, 1)
    return Truth(given=given, output=made.predict(unit(given), verbose=0))


SAMPLING = """
import keras
from keras import layers, ops


class Sampling(layers.Layer):
    def call(self, inputs):
        z_mean, z_log_var = inputs
        return z_mean + ops.exp(0.5 * z_log_var) * keras.random.normal(ops.shape(z_mean))
"""


def _vae_parts(folder: Path, code: str = SAMPLING) -> tuple[Any, Any]:
    """Of keras.io: an encoder that gives mean, logarithm and sample, and a decoder."""
    _, layers, model = keras_parts()
    names: dict[str, Any] = {"__name__": "sampling"}
    (folder / "sampling.py").write_text(code)
    exec(compile(code, "sampling.py", "exec"), names)
    image = x = layers.Input((28, 28, 1))
    for width in (8, 16):
        x = layers.Conv2D(width, 3, activation="relu", strides=2, padding="same")(x)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    mean, logarithm = layers.Dense(2, name="z_mean")(x), layers.Dense(2, name="z_log_var")(x)
    encoder = model(image, [mean, logarithm, names["Sampling"]()([mean, logarithm])], name="encoder")
    code_in = layers.Input((2,))
    x = layers.Reshape((7, 7, 16))(layers.Dense(7 * 7 * 16, activation="relu")(code_in))
    for width in (16, 8):
        x = layers.Conv2DTranspose(width, 3, activation="relu", strides=2, padding="same")(x)
    decoder = model(code_in, layers.Conv2DTranspose(1, 3, activation="sigmoid", padding="same")(x), name="decoder")
    encoder.save(folder / "encoder.keras")
    decoder.save(folder / "decoder.keras")
    return encoder, decoder


@construction("keras.io: variational autoencoder, its encoder with `Sampling`")
def vae_encoder(folder: Path) -> Truth:
    (encoder, _), given = _vae_parts(folder), images(28, 28, 1)
    return Truth(given=given, latent=encoder.predict(unit(given), verbose=0)[0])


@construction("keras.io: variational autoencoder, encoder and decoder")
def vae_parts(folder: Path) -> Truth:
    (encoder, decoder), given = _vae_parts(folder), images(28, 28, 1)
    mean, logarithm, _ = encoder.predict(unit(given), verbose=0)
    output = decoder.predict(mean, verbose=0)
    return Truth(given=given, latent=mean, variance=np.exp(logarithm), output=output)


def _latents(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((3, *shape)).astype(np.float32)


@construction("keras.io: variational autoencoder, its decoder alone")
def vae_decoder(folder: Path) -> Truth:
    (_, decoder), codes = _vae_parts(folder), _latents(2)
    return Truth(given=codes, output=decoder.predict(codes, verbose=0))


@construction("keras.io: DCGAN, its generator")
def keras_io_generator(folder: Path) -> Truth:
    tf_keras, layers, _ = keras_parts()
    body = [layers.Input((16,)), layers.Dense(4 * 4 * 16), layers.Reshape((4, 4, 16))]
    for width in (16, 32):
        body += [layers.Conv2DTranspose(width, 4, strides=2, padding="same"), layers.LeakyReLU(negative_slope=0.2)]
    made = tf_keras.Sequential([*body, layers.Conv2D(3, 5, padding="same", activation="sigmoid")], name="generator")
    made.save(folder / "generator.keras")
    return Truth(given=_latents(16), output=made.predict(_latents(16), verbose=0))


def _halves(folder: Path, encoder: Any, decoder: Any, values: np.ndarray, given: np.ndarray) -> Truth:
    encoder.save(folder / "encoder.keras")
    decoder.save(folder / "decoder.keras")
    latent = encoder.predict(values, verbose=0)
    output = decoder.predict(latent, verbose=0)
    return Truth(given=given, latent=latent, output=output.reshape(given.shape))


@construction("TensorFlow tutorial: basic autoencoder (a class), its two halves")
def tutorial_basic(folder: Path) -> Truth:
    tf_keras, layers, _ = keras_parts()
    encoder = tf_keras.Sequential([layers.Input((28, 28)), layers.Flatten(), layers.Dense(64, activation="relu")])
    decoder = tf_keras.Sequential(
        [layers.Input((64,)), layers.Dense(784, activation="sigmoid"), layers.Reshape((28, 28))]
    )
    given = images(28, 28, 1)
    return _halves(folder, encoder, decoder, unit(given)[..., 0], given)


@construction("TensorFlow tutorial: denoising autoencoder (a class), its two halves")
def tutorial_denoising(folder: Path) -> Truth:
    tf_keras, layers, _ = keras_parts()
    same = {"padding": "same", "strides": 2, "activation": "relu"}
    encoder = tf_keras.Sequential(
        [layers.Input((28, 28, 1)), layers.Conv2D(16, 3, **same), layers.Conv2D(8, 3, **same)], name="encoder"
    )
    decoder = tf_keras.Sequential(
        [
            layers.Input((7, 7, 8)),
            layers.Conv2DTranspose(8, 3, **same),
            layers.Conv2DTranspose(16, 3, **same),
            layers.Conv2D(1, 3, activation="sigmoid", padding="same"),
        ],
        name="decoder",
    )
    given = images(28, 28, 1)
    return _halves(folder, encoder, decoder, unit(given), given)


@construction("TensorFlow tutorial: anomaly detection in vectors of 140 (a class), its two halves")
def tutorial_anomalies(folder: Path) -> Truth:
    tf_keras, layers, _ = keras_parts()

    def stack(first: int, *widths: int, last: str = "relu") -> Any:
        body = [layers.Dense(width, activation="relu") for width in widths[:-1]]
        return tf_keras.Sequential([layers.Input((first,)), *body, layers.Dense(widths[-1], activation=last)])

    given = np.random.default_rng(0).random((3, 140), np.float32)
    return _halves(folder, stack(140, 32, 16, 8), stack(8, 16, 32, 140, last="sigmoid"), given, given)


@construction("TensorFlow tutorial: convolutional VAE, its encoder (mean and logarithm in one)")
def tutorial_cvae(folder: Path) -> Truth:
    tf_keras, layers, _ = keras_parts()
    convolutions = [layers.Conv2D(width, 3, strides=2, activation="relu") for width in (8, 16)]
    encoder = tf_keras.Sequential([layers.Input((28, 28, 1)), *convolutions, layers.Flatten(), layers.Dense(4)])
    encoder.save(folder / "encoder.keras")
    given = images(28, 28, 1)
    return Truth(given=given, latent=encoder.predict(unit(given), verbose=0))


@construction("TensorFlow tutorial: convolutional VAE, its decoder with a sigmoid behind it")
def tutorial_cvae_decoder(folder: Path) -> Truth:
    tf_keras, layers, _ = keras_parts()
    body = [layers.Input((2,)), layers.Dense(7 * 7 * 8, activation="relu"), layers.Reshape((7, 7, 8))]
    body += [layers.Conv2DTranspose(w, 3, strides=2, padding="same", activation="relu") for w in (16, 8)]
    decoder = tf_keras.Sequential([*body, layers.Conv2DTranspose(1, 3, padding="same")])
    whole = tf_keras.Sequential([layers.Input((2,)), decoder, layers.Activation("sigmoid")])
    whole.save(folder / "decoder.keras")
    return Truth(given=_latents(2), output=whole.predict(_latents(2), verbose=0))


@construction("TensorFlow tutorial: DCGAN, its generator")
def tutorial_generator(folder: Path) -> Truth:
    tf_keras, layers, _ = keras_parts()
    body = [layers.Input((100,)), layers.Dense(7 * 7 * 16, use_bias=False), layers.BatchNormalization()]
    body += [layers.LeakyReLU(), layers.Reshape((7, 7, 16))]
    for width, stride in ((8, 1), (4, 2)):
        body += [layers.Conv2DTranspose(width, 5, strides=stride, padding="same", use_bias=False)]
        body += [layers.BatchNormalization(), layers.LeakyReLU()]
    last = layers.Conv2DTranspose(1, 5, strides=2, padding="same", use_bias=False, activation="tanh")
    made = tf_keras.Sequential([*body, last])
    made.save(folder / "generator.h5")
    return Truth(given=_latents(100), output=made.predict(_latents(100), verbose=0))


@construction("TensorFlow tutorial: pix2pix, its generator (a U-Net)")
def pix2pix(folder: Path) -> Truth:
    tf_keras, layers, model = keras_parts()
    image = x = layers.Input((64, 64, 3))
    skips = []
    for n, width in enumerate((4, 8, 8, 8)):
        down = [layers.Conv2D(width, 4, strides=2, padding="same", use_bias=False)]
        down += [layers.BatchNormalization()] if n else []
        x = tf_keras.Sequential([*down, layers.LeakyReLU()])(x)
        skips.append(x)
    for n, skip in enumerate(skips[-2::-1]):
        up = [layers.Conv2DTranspose(8, 4, strides=2, padding="same", use_bias=False), layers.BatchNormalization()]
        up += [layers.Dropout(0.5)] if n == 0 else []
        x = layers.Concatenate()([tf_keras.Sequential([*up, layers.ReLU()])(x), skip])
    made = model(image, layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="tanh")(x))
    made.save(folder / "generator.keras")
    given = images(64, 64, 3)
    return Truth(given=given, output=made.predict(given / np.float32(127.5) - 1, verbose=0))
