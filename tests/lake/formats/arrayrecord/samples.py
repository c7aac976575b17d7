"""ArrayRecord files read as a trainer does: by the library itself, and TensorFlow's parser of Examples."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

_BYTES = {"float16": "<f2", "bfloat16": "<u2", "int8": "i1", "uint8": "u1", "binary": "u1"}


def records(file: Path) -> list[bytes]:
    reader = ArrayRecordReader(str(file))
    found: list[bytes] = reader.read_all() if reader.num_records() else []
    reader.close()
    return found


def at(file: Path, places: Sequence[int]) -> list[bytes]:
    """Some records by their numbers, in this order."""
    reader = ArrayRecordReader(str(file), "readahead_buffer_size:0,max_parallelism:0")
    found: list[bytes] = reader.read(places)
    reader.close()
    return found


def options(file: Path) -> str:
    """How the library says that a file was written."""
    reader = ArrayRecordReader(str(file))
    found: str = reader.writer_options_string()
    reader.close()
    return found


def sample(record: bytes) -> dict[str, Any]:
    """The values of a record; latents in their shape."""
    from tensorflow.train import Example

    feature = Example.FromString(record).features.feature
    found: dict[str, Any] = {}
    for name, value in feature.items():
        kind = value.WhichOneof("kind")
        values = list(getattr(value, kind).value)
        if f"{name}/shape" in feature:
            shape = list(feature[f"{name}/shape"].int64_list.value)
            found[name] = _latent(kind, values, shape, feature["latent/type"].bytes_list.value[0].decode())
        elif name.endswith("/shape"):
            found[name] = values
        else:
            (found[name],) = values
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def samples(file: Path) -> Iterator[dict[str, Any]]:
    yield from map(sample, records(file))


def _latent(kind: str, values: list[Any], shape: list[int], type: str) -> Any:
    if kind == "float_list":
        assert type == "float32"
        return np.array(values, np.float32).reshape(shape)
    (data,) = values
    numbers = np.frombuffer(data, _BYTES[type])
    return numbers if type == "binary" else numbers.reshape(shape)
