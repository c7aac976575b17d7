"""MDS read as its documentation says, with none of the project's code.

https://docs.mosaicml.com/projects/streaming, "MDS format": the index, then of each shard the number of samples, where
they begin, the columns as JSON, and the samples: sizes of the values that have no fixed one, then the values.
"""

import json
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {9: "int8", 8: "uint8", 16: "uint16", 18: "float16", 34: "float32", 65: "int64"}


def samples(stream: Path) -> Iterator[dict[str, Any]]:
    """All samples of a directory with an ``index.json``."""
    index = json.loads((stream / "index.json").read_text())
    assert index["version"] == 2
    for shard in index["shards"]:
        assert (shard["format"], shard["compression"], shard["zip_data"]) == ("mds", None, None)
        data = (stream / shard["raw_data"]["basename"]).read_bytes()
        assert len(data) == shard["raw_data"]["bytes"]
        (count,) = struct.unpack_from("<I", data)
        assert count == shard["samples"]
        edges = struct.unpack_from(f"<{count + 1}I", data, 4)
        for begin, end in pairwise(edges):
            yield _sample(data[begin:end], shard)


def _sample(data: bytes, shard: dict[str, Any]) -> dict[str, Any]:
    sizes, at = [], 0
    for size in shard["column_sizes"]:
        if size is None:
            (size,) = struct.unpack_from("<I", data, at)
            at += 4
        sizes.append(size)
    found = {}
    for name, encoding, size in zip(shard["column_names"], shard["column_encodings"], sizes, strict=True):
        found[name] = _value(encoding, data[at : at + size])
        at += size
    assert at == len(data)
    return found


def _value(encoding: str, data: bytes) -> Any:
    kind, *parts = encoding.split(":")
    if kind == "ndarray":
        return _array(parts, data)
    if kind == "int":
        return struct.unpack("<q", data)[0]
    if kind == "float32":
        return struct.unpack("<f", data)[0]
    return json.loads(data) if kind == "json" else {"str": data.decode, "bytes": lambda: data}[kind]()


def _array(parts: list[str], data: bytes) -> Any:
    dtype = parts[0] if parts else _TYPES[data[0]]
    data = data if parts else data[1:]
    if len(parts) == 2:
        return np.frombuffer(data, dtype).reshape([int(side) for side in parts[1].split(",")])
    count, width = data[0] >> 2, 2 ** (data[0] & 3)
    shape = np.frombuffer(data[1 : 1 + count * width], f"uint{8 * width}")
    return np.frombuffer(data[1 + count * width :], dtype).reshape(shape)
