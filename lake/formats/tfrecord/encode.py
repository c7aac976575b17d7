"""Serialize tf.train.Example feature by feature, without a message: numbers of an array are copied as they are.

The bytes are those of protobuf's deterministic serialization: features are sorted by name. Wire format:
https://protobuf.dev/programming-guides/encoding; messages: tensorflow/core/example/*.proto.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from lake.core.records import Array

_FIRST, _SECOND = b"\x0a", b"\x12"  # tags of fields 1 and 2 that have a length
# Tags of the fields of Feature, by their names.
_LISTS = {"bytes_list": b"\x0a", "float_list": b"\x12", "int64_list": b"\x1a"}


def encode_feature(kind: str, values: Sequence[Any] | Array) -> bytes:
    r"""A serialized tf.train.Feature.

    Args:
      kind: bytes_list, float_list or int64_list.
      values: bytes, or numbers; an array of floating numbers costs no object for each.

    >>> encode_feature("int64_list", [7])
    b'\x1a\x03\n\x01\x07'
    """
    if kind == "bytes_list":
        return _sized(_LISTS[kind], b"".join([_sized(_FIRST, value) for value in values]))
    packed = _floats(values) if kind == "float_list" else b"".join(map(_varint, values))
    return _sized(_LISTS[kind], _sized(_FIRST, packed) if packed else b"")


def encode_entry(name: str, feature: bytes) -> bytes:
    """A feature with its name, as Features has it.

    Args:
      name: of the feature.
      feature: what ``encode_feature`` returned.
    """
    return _sized(_FIRST, _sized(_FIRST, name.encode()) + _sized(_SECOND, feature))


def encode_example(entries: Mapping[str, bytes]) -> bytes:
    """A serialized tf.train.Example.

    Args:
      entries: what ``encode_entry`` returned, by the name of the feature.
    """
    return _sized(_FIRST, b"".join([entries[name] for name in sorted(entries)]))


def _floats(values: Sequence[float] | Array) -> bytes:
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, as in protobuf
        return np.asarray(values, "<f4").tobytes()


def _sized(tag: bytes, data: bytes) -> bytes:
    return b"".join((tag, _varint(len(data)), data))


@lru_cache(maxsize=1 << 12)
def _varint(value: int) -> bytes:
    """A number, seven bits a byte, the lowest first; a negative one as the 64 bits of its two's complement."""
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
