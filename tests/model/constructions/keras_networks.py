"""Networks in Keras: denoisers of repositories, encoders of keras.applications, and layers of one's own."""

from pathlib import Path
from typing import Any

import numpy as np

from lake.core.tensorflow import keras
from tests.model.constructions.construction import Truth, construction, images, unit
from tests.model.keras.legacy.old_files import hdf5
from tests.model.nets import plain, shuffled, unet
from tests.model.test_recipes import run_python


def _predict(model: Any, values: Any) -> np.ndarray:
    return np.asarray(model.predict(values, verbose=0))


@construction("keras.io: VQ-VAE, with `VectorQuantizer`")
def vqvae(folder: Path) -> Truth:
    names, given = run_python("The VQ-VAE of keras.io", folder), images(28, 28, 1)
    quantized = keras().Model(names["vqvae"].input, names["quantized"])
    return Truth(given=given, latent=_predict(quantized, unit(given)), output=_predict(names["vqvae"], unit(given)))


@construction("keras.io: masked autoencoder, its encoder")
def mae(folder: Path) -> Truth:
    names, given = run_python("Masked autoencoders", folder), images(48, 48, 3)
    return Truth(given=given, latent=_predict(names["downstream"], unit(given)))


@construction("U-Net of Keras (zhixuhao/unet), as a denoiser")
def keras_unet(folder: Path) -> Truth:
    layers = keras().layers
    image = x = layers.Input((32, 32, 1))
    skips = []
    for width in (4, 8):
        for _ in range(2):
            x = layers.Conv2D(width, 3, activation="relu", padding="same")(x)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dropout(0.5)(layers.Conv2D(16, 3, activation="relu", padding="same")(x))
    for width, skip in zip((8, 4), skips[::-1], strict=True):
        x = layers.Conv2D(width, 2, activation="relu", padding="same")(layers.UpSampling2D(2)(x))
        x = layers.Concatenate(axis=3)([skip, x])
        x = layers.Conv2D(width, 3, activation="relu", padding="same")(x)
    made = keras().Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))
    (folder / "unet.hdf5").write_bytes(hdf5(made))
    given = images(32, 32, 1)
    return Truth(given=given, output=_predict(made, unit(given)))


@construction("DnCNN of Keras, any size")
def keras_dncnn(folder: Path) -> Truth:
    layers = keras().layers
    image = layers.Input((None, None, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    for _ in range(3):
        x = layers.BatchNormalization(axis=-1, epsilon=1e-3)(layers.Conv2D(8, 3, padding="same", use_bias=False)(x))
        x = layers.Activation("relu")(x)
    noise = layers.Conv2D(1, 3, padding="same", kernel_initializer=keras().initializers.RandomNormal(0, 0.02))(x)
    made = keras().Model(image, layers.Subtract()([image, noise]))
    (folder / "dncnn.h5").write_bytes(hdf5(made))
    given = images(24, 40, 1)
    return Truth(given=given, output=_predict(made, unit(given)))


@construction("Noise2Noise in Keras: SRResNet, with shared `PReLU`")
def srresnet(folder: Path) -> Truth:
    layers = keras().layers
    image = layers.Input((None, None, 3))
    x = first = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(8, 3, padding="same")(image))
    for _ in range(2):
        y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
        y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(layers.PReLU(shared_axes=[1, 2])(y)))
        x = layers.Add()([x, y])
    made = keras().Model(image, layers.Conv2D(3, 3, padding="same")(layers.Add()([first, x])))
    made.save(folder / "srresnet.keras")
    given = images(24, 40, 3)
    return Truth(given=given, output=_predict(made, unit(given)))


def _levels() -> np.ndarray:
    return np.array([5, 25, 50], np.float32) / np.float32(255)


@construction("FFDNet of Keras, told by a second input")
def keras_ffdnet(folder: Path) -> Truth:
    made, given, levels = shuffled((None, None, 1)), images(24, 40, 1), _levels()
    made.save(folder / "ffdnet.keras")
    maps = np.broadcast_to(levels[:, None, None, None], given.shape)
    return Truth(given=given, output=_predict(made, {"img": unit(given), "sigma": maps}), levels=levels)


@construction("U-Net of Keras with a map of the noise level of 0..255")
def keras_told_unet(folder: Path) -> Truth:
    made, given, levels = unet(), images(24, 40, 1), _levels()
    made.save(folder / "told_unet.keras")
    maps = np.broadcast_to(levels[:, None, None, None] * np.float32(255), given.shape)
    return Truth(given=given, output=_predict(made, [unit(given), maps]), levels=levels)


@construction("Residual denoiser of Keras for colour, any size")
def keras_plain(folder: Path) -> Truth:
    made, given = plain(3), images(20, 30, 3)
    made.save(folder / "plain.keras")
    return Truth(given=given, output=_predict(made, unit(given)))


@construction("VGG16 with a decoder that ends in a sigmoid")
def vgg_autoencoder(folder: Path) -> Truth:
    layers = keras().layers
    vgg = keras().applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    code = layers.Conv2D(8, 1, name="code")(vgg.get_layer("block3_pool").output)
    x = code
    for width in (16, 8, 8):
        x = layers.Conv2DTranspose(width, 3, strides=2, padding="same", activation="relu")(x)
    made = keras().Model(vgg.input, layers.Conv2D(3, 3, padding="same", activation="sigmoid")(x))
    made.save(folder / "vgg_autoencoder.keras")
    given = images(32, 32, 3)
    values = _caffe(given)
    latent = _predict(keras().Model(vgg.input, code), values)
    return Truth(given=given, latent=latent, output=_predict(made, values)[..., ::-1])


def _caffe(pixels: np.ndarray) -> np.ndarray:
    """As ``preprocess_input`` of VGG and ResNet."""
    return pixels[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)


def _tf(pixels: np.ndarray) -> np.ndarray:
    return pixels / np.float32(127.5) - 1


def _backbone(name: str, side: int, prepare: Any) -> None:
    """One network of keras.applications without its top, with random weights and a small input."""

    @construction(f"keras.applications: {name}")
    def make(folder: Path) -> Truth:
        network = getattr(keras().applications, name)
        made = network(include_top=False, pooling="avg", weights=None, input_shape=(side, side, 3))
        latent = keras().layers.Identity(name="embedding")(made.output)
        made = keras().Model(made.input, latent)
        made.save(folder / f"{name.lower()}.keras")
        given = images(side, side, 3, n=2)
        return Truth(given=given, latent=_predict(made, prepare(given)))


for _name, _side, _prepare in (
    ("ResNet50", 32, _caffe),
    ("MobileNetV2", 32, _tf),
):
    _backbone(_name, _side, _prepare)
