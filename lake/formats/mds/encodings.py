"""How MDS encodes the values of a sample: names of encodings, and their bytes (little-endian).

The format is that of https://github.com/mosaicml/streaming, ``streaming/base/format/mds/encodings.py``.
"""

import json
import struct
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.records import Array

NDARRAY = "ndarray"
_INT64, _FLOAT32 = struct.Struct("<q"), struct.Struct("<f")
# Numbers by which an array says its type and that of its shape.
_TYPES = {
    8: "uint8",
    9: "int8",
    16: "uint16",
    17: "int16",
    18: "float16",
    32: "uint32",
    33: "int32",
    34: "float32",
    64: "uint64",
    65: "int64",
    66: "float64",
}
_SIDES = ("uint8", "uint16", "uint32", "uint64")
_SCALARS = {"int": "int64", **{name: name for name in _TYPES.values()}}
_MOST_SIDES = 8


def encoding_of(field: pa.Field) -> str:
    """The encoding of a column of a table. Values that may be missing are JSON, which MDS has no other null for.

    Args:
      field: of the table's schema.

    >>> encoding_of(pa.field("index", pa.int64(), nullable=False)), encoding_of(pa.field("label", pa.int64()))
    ('int', 'json')
    """
    if field.nullable:
        return "json"
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_integer(kind):
        return "int"
    return {pa.string(): "str", pa.float32(): "float32"}.get(kind, "json")


def array_encoding(dtype: np.dtype, shape: tuple[int, ...] | None) -> str:
    """The encoding of arrays of one type.

    Args:
      dtype: of all of them.
      shape: of all of them; None where each says its own.

    >>> array_encoding(np.dtype(np.float16), (4, 32, 32))
    'ndarray:float16:4,32,32'
    """
    sides = "" if shape is None else f":{','.join(map(str, shape))}"
    return f"{NDARRAY}:{dtype.name}{sides}"


def size_of(encoding: str) -> int | None:
    """Bytes of a value, if all have as many; else None.

    Raises:
      ValueError: there is no such encoding of numbers.

    >>> size_of("int"), size_of("ndarray:float16:2,3"), size_of("str")
    (8, 12, None)
    """
    name, _, rest = encoding.partition(":")
    if name in _SCALARS:
        return np.dtype(_SCALARS[name]).itemsize
    dtype, shape = _of_array(rest) if name == NDARRAY else (None, None)
    return None if dtype is None or shape is None else prod(shape) * dtype.itemsize


ENCODERS: Mapping[str, Callable[[Any], bytes]] = {
    "str": str.encode,
    "int": _INT64.pack,
    "float32": _FLOAT32.pack,
    "json": lambda value: json.dumps(value).encode(),
}


def encode_array(array: Array, *, shaped: bool) -> bytes:
    """An array as bytes.

    Args:
      array: of at least one number.
      shaped: whether its encoding has its shape.
    """
    data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    if shaped:
        return data
    code = next(number for number, name in enumerate(_SIDES) if max(array.shape) <= np.iinfo(name).max)
    head = bytes([array.ndim << 2 | code])
    return head + np.array(array.shape, f"<u{1 << code}").tobytes() + data


def decode_array(data: bytes, encoding: str) -> Array:
    """The array of a value.

    Args:
      data: the value.
      encoding: of its column.

    Raises:
      ValueError: it is no array of this encoding.

    >>> decode_array(encode_array(np.ones((1, 2), np.int8), shaped=False), "ndarray:int8").tolist()
    [[1, 1]]
    """
    dtype, shape = _of_array(encoding.partition(":")[2])
    at = 0
    if dtype is None:
        dtype, at = _typed(data[:1]), 1
    if shape is None:
        if len(data) <= at:
            raise ValueError("an array without a shape")
        count, code = data[at] >> 2, data[at] & 3
        stop = at + 1 + (count << code)
        if count > _MOST_SIDES or stop > len(data):
            raise ValueError(f"an array of {count} sides in {len(data)} bytes")
        shape, at = tuple(np.frombuffer(data[at + 1 : stop], f"<u{1 << code}").tolist()), stop
    if len(data) - at != prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(data) - at} bytes for an array of {' x '.join(map(str, shape))} numbers of {dtype}")
    return np.frombuffer(data, dtype, prod(shape), at).reshape(shape) if prod(shape) else np.zeros(shape, dtype)


def _of_array(config: str) -> tuple[np.dtype | None, tuple[int, ...] | None]:
    """Type and shape of an encoding, where it has them."""
    name, _, sides = config.partition(":")
    if name and name not in _TYPES.values():
        raise ValueError(f"an array of {name[:20]!r}")
    dtype = np.dtype(name).newbyteorder("<") if name else None
    if not sides:
        return dtype, None
    parts = sides.split(",")
    if len(parts) > _MOST_SIDES or not all(part.isascii() and part.isdigit() and len(part) < 12 for part in parts):
        raise ValueError(f"an array of shape {sides[:50]!r}")
    return dtype, tuple(map(int, parts))


def _typed(code: bytes) -> np.dtype:
    if not code or code[0] not in _TYPES:
        raise ValueError("an array without a type")
    return np.dtype(_TYPES[code[0]]).newbyteorder("<")
