"""Conditional networks with seeded weights, as people save them."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from lake.core.tensorflow import keras
from tests.model.onnx_import.networks import Graph

SHAPE, LATENT, CLASSES = (8, 6, 1), 4, 5


def told_of(form: str):
    """The second input, and it as a row of numbers: ``one_hot`` and ``numbers`` as they are, ``number`` embedded."""
    layers = keras().layers
    if form == "number":
        told = layers.Input((1,), dtype="int32", name="label")
        return told, layers.Flatten()(layers.Embedding(CLASSES, 3)(told))
    told = layers.Input((CLASSES if form == "one_hot" else 3,), name="label")
    return told, told


def halves(form: str = "one_hot"):
    """Encoder with mean and logarithm of the variance, and decoder: a CVAE whose label is concatenated."""
    keras().utils.set_random_seed(3)
    layers = keras().layers
    image, (told, row) = layers.Input(SHAPE, name="image"), told_of(form)
    x = layers.Flatten()(layers.Conv2D(3, 3, strides=2, activation="relu")(image))
    x = layers.Dense(12, activation="relu")(layers.Concatenate()([x, row]))
    outputs = [layers.Dense(LATENT, name="z_mean")(x), layers.Dense(LATENT, name="z_log_var")(x)]
    encoder = keras().Model([image, told], outputs, name="encoder")
    code, (told, row) = layers.Input((LATENT,), name="z"), told_of(form)
    x = layers.Dense(24, activation="relu")(layers.Concatenate()([code, row]))
    x = layers.Dense(SHAPE[0] * SHAPE[1], activation="sigmoid")(x)
    decoder = keras().Model([code, told], layers.Reshape(SHAPE)(x), name="decoder")
    return encoder, decoder


def whole(form: str = "one_hot", structure: str = "list"):
    """Both as one model, whose latent is the layer ``code``."""
    encoder, decoder = halves(form)
    layers = keras().layers
    image, (told, _) = layers.Input(SHAPE, name="image"), told_of(form)
    code = layers.Identity(name="code")(encoder([image, told])[0])
    given = {"list": [image, told], "turned": [told, image], "dict": {"label": told, "image": image}}[structure]
    return keras().Model(given, decoder([code, told]), name="cvae")


def onnx_cvae(path: Path, dtype: int = TensorProto.INT64, classes: int = CLASSES) -> Path:
    """A network of PyTorch: ``embedding(label)`` added to both halves; channels first, output ``y``, latent ``z``."""
    graph = Graph()
    graph.take("x", ("batch", 1, *SHAPE[:2]))
    graph.inputs.append(helper.make_tensor_value_info("label", dtype, ("batch",)))
    size = SHAPE[0] * SHAPE[1]
    whole = graph.node("Cast", "label", to=TensorProto.INT64) if dtype != TensorProto.INT64 else "label"
    row = graph.node("Gather", graph.weight(classes, 6, scale=1.0), whole)
    flat = graph.node("Concat", graph.node("Flatten", "x"), row, axis=1)
    graph.node("Gemm", flat, graph.weight(size + 6, LATENT), name="z")
    back = graph.node("Concat", "z", row, axis=1)
    image = graph.node("Sigmoid", graph.node("Gemm", back, graph.weight(LATENT + 6, size)))
    graph.node("Reshape", image, graph.constant(np.array([-1, 1, *SHAPE[:2]])), name="y")
    graph.give("y", "z").save(path)
    return path


def classes_of(count: int) -> np.ndarray:
    return np.arange(count) % CLASSES


def as_given(form: str, classes: np.ndarray) -> np.ndarray:
    """What the network itself is given for these classes; for ``numbers`` three numbers of each."""
    if form == "numbers":
        return np.stack([classes / 3, -classes, classes + 0.5], 1).astype(np.float32)
    return np.eye(CLASSES, dtype=np.float32)[classes] if form == "one_hot" else classes[:, None].astype(np.int32)


def onnx_halves(folder: Path, *, told: str = "both") -> tuple[Path, Path]:
    """The same in two files: in the second one the class is a float with a side of its own."""
    size = SHAPE[0] * SHAPE[1]
    encoder, decoder = Graph(), Graph()
    encoder.take("x", ("batch", 1, *SHAPE[:2]))
    flat = encoder.node("Flatten", "x")
    if told != "decoder":
        encoder.inputs.append(helper.make_tensor_value_info("label", TensorProto.INT64, ("batch",)))
        row = encoder.node("Gather", encoder.weight(CLASSES, 6, scale=1.0), "label")
        flat = encoder.node("Concat", flat, row, axis=1)
    encoder.node("Gemm", flat, encoder.weight(size + 6 * (told != "decoder"), LATENT), name="z")
    decoder.take("z", ("batch", LATENT))
    decoder.inputs.append(helper.make_tensor_value_info("label", TensorProto.FLOAT, ("batch", 1)))
    back = decoder.node("Concat", "z", "label", axis=1)
    image = decoder.node("Sigmoid", decoder.node("Gemm", back, decoder.weight(LATENT + 1, size)))
    decoder.node("Reshape", image, decoder.constant(np.array([-1, 1, *SHAPE[:2]])), name="y")
    files = folder / "e.onnx", folder / "d.onnx"
    return encoder.give("z").save(files[0]), decoder.give("y").save(files[1])
