"""TFRecord shards that the tests write again."""

from pathlib import Path
from typing import Any

import numpy as np

from lake.images.types import ImageFile


def made(index: int) -> ImageFile:
    return ImageFile(data=b"new %d" % index, suffix="png")


def parsed(path: Path) -> list[Any]:
    """TensorFlow checks both checksums of every record."""
    import tensorflow as tf

    packed = path.read_bytes().startswith(b"\x1f\x8b")
    dataset = tf.data.TFRecordDataset(str(path), "GZIP" if packed else "")
    return [tf.train.Example.FromString(record) for record in dataset.as_numpy_iterator()]


def values(message: Any) -> dict[str, Any]:
    """Every feature with its kind and values; floats as their bits."""
    found = {}
    for name, feature in message.features.feature.items():
        kind = feature.WhichOneof("kind")
        numbers = list(getattr(feature, kind).value) if kind else []
        found[name] = (kind, np.array(numbers, np.float32).tobytes() if kind == "float_list" else numbers)
    return found
