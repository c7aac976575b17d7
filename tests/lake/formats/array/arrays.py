"""Arrays that the tests of arrays write, and what is read of them."""

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from lake.core.records import Array, Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.reader import RecordSchema

READER = FORMATS["array"].reader


PIXELS = np.random.default_rng(0).integers(0, 256, (50, 4, 3), np.uint8)


LABELS = np.arange(50, dtype=np.int64) % 10


# element type -> third byte of the magic number, of http://yann.lecun.com/exdb/mnist
IDX_TYPES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx(array: Array, kind: str = "u1") -> bytes:
    head = bytes([0, 0, IDX_TYPES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(kind).tobytes()


def npy(array: Array) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(compressed: bool = True, **arrays: Array) -> bytes:
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)
    return out.getvalue()


def batches(
    shard: Shard, columns: RecordSchema, size: int = 7, start: int = 0, stop: int | None = None
) -> list[Records]:
    unit = Unit(id="u", format="array", shards=(shard,), start=start, stop=stop)
    return [raw.records() for raw in READER.read(unit, columns, size)]


def pixels_of(parts: Sequence[Records]) -> Array:
    assert all(isinstance(part.payload, np.ndarray) for part in parts)
    return np.concatenate([part.payload for part in parts])


def carried_of(parts: Sequence[Records], name: str) -> list[Any]:
    return [value for part in parts for value in part.carried[name].to_pylist()]
