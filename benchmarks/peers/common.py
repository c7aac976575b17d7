"""What the peers compute with: names of features, schemas, their arguments, the model, images as files.

There are two tasks: to encode images into Parquet of ``SCHEMA``, and to denoise them into PNGs, as Examples in TFRecord
(``example``) or in Parquet of ``DENOISED``.
"""

import glob
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

LATENT = "encoded"  # name of the layer whose output is wanted
KEY, IMAGE, LABEL = "image/filename", "image/encoded", "label"  # features of the Examples
SCHEMA = pa.schema([("key", pa.string()), ("label", pa.int64()), ("latent", pa.list_(pa.float32()))])
PHOTOGRAPHS = pa.schema([("key", pa.string()), ("latent", pa.list_(pa.float32()))])
DENOISED = pa.schema([(KEY, pa.string()), (LABEL, pa.int64()), (IMAGE, pa.binary())])


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command line of a peer."""

    input: str
    model: Path
    output: Path
    mode: str
    task: str
    verify: int
    expected: str | None

    def shards(self) -> list[str]:
        """Paths of the shards, in the order of their names."""
        return sorted(glob.glob(self.input))  # noqa: PTH207  (the pattern may be absolute)


def encoder(model: Path) -> Any:
    """The part of the Keras model from its input to the latent layer; all of one that puts out latents."""
    import keras

    whole = keras.models.load_model(model, compile=False)
    named = [layer for layer in whole.layers if layer.name == LATENT]
    return keras.Model(whole.input, named[0].output) if named else whole


class OnnxEncoder:
    """The same part of the model, run by ONNX Runtime as it comes: called as a Keras model is.

    Args:
      file: what ``onnx_file`` gives.
    """

    def __init__(self, file: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        (self._input,) = self._session.get_inputs()
        self.input_shape = tuple(self._input.shape)

    def predict_on_batch(self, images: Any) -> np.ndarray:
        """Latents float32 ``[n, d]`` of images float32 ``[n, H, W, C]`` in 0..1."""
        latents: np.ndarray = self._session.run(None, {self._input.name: np.asarray(images)})[0]
        return latents


def onnx_file(model: Path) -> Path:
    """The encoder as Keras's own export writes it, made once and kept beside the model."""
    file = model.with_suffix(".onnx")
    if not file.exists():
        part, partial = encoder(model), file.with_suffix(".partial.onnx")
        part(np.zeros((1, *part.input_shape[1:]), np.float32))  # Keras exports no model that was never called
        part.export(partial, format="onnx", verbose=False)
        partial.rename(file)
    return file


def network(given: Arguments) -> Any:
    """The Keras model of the task, from images float32 [n, H, W, C] in 0..1 to latents or to images."""
    import keras

    return encoder(given.model) if given.task == "encode" else keras.models.load_model(given.model, compile=False)


def decode(encoded: bytes) -> np.ndarray:
    """The grey pixels of an image file, uint8 ``[H, W, 1]``."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(encoded)).convert("L"))[..., None]


def steps(image: np.ndarray) -> np.ndarray:
    """Images in 0..1 as uint8."""
    pixels: np.ndarray = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return pixels


def png(image: np.ndarray) -> bytes:
    """A grey image, float32 ``[H, W, 1]`` in 0..1, as a file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(steps(image)[..., 0]).save(out, "PNG")
    return out.getvalue()


def example(key: bytes, label: int, image: bytes) -> bytes:
    """A denoised image as an Example of the features that the input has."""
    import tensorflow as tf

    example = tf.train.Example()
    example.features.feature[KEY].bytes_list.value.append(key)
    example.features.feature[LABEL].int64_list.value.append(label)
    example.features.feature[IMAGE].bytes_list.value.append(image)
    serialized: bytes = example.SerializeToString()
    return serialized
