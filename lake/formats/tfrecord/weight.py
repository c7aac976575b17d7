"""The memory that an Example takes once it is parsed, by a pass over its bytes.

A number of one byte takes eight when it is parsed, and an empty string of two bytes takes dozens, so that a record
within its limit may fill the memory. Wire format: https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator

import numpy as np

_INFLATES = 16  # a record grows at most so many times: two bytes of an empty string become one that takes 32
_ELEMENT = 32  # bytes that count for an element with a header of its own
_NUMBER = 8  # bytes of a parsed number
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_INTEGERS = "Int64List"
_WITHIN = {  # message and field number -> the message that the field holds
    ("Example", 1): "Features",
    ("Features", 1): "FeatureEntry",
    ("FeatureEntry", 2): "Feature",
    ("Feature", 1): "BytesList",
    ("Feature", 2): "FloatList",
    ("Feature", 3): _INTEGERS,
}


def too_heavy(example: bytes, limit: int) -> bool:
    """Whether an Example takes more memory than allowed.

    Args:
      example: a serialized record; one that is no Example is not too heavy, since parsing it ends early.
      limit: most bytes of its parsed values.
    """
    if len(example) * _INFLATES <= limit:
        return False
    total = 0
    try:
        for size in _weights(memoryview(example), "Example"):
            total += size
            if total > limit:
                return True
    except (IndexError, ValueError):
        return False
    return False


def _weights(data: memoryview, message: str) -> Iterator[int]:
    """Weights of the parts of a message. Messages lie in one another as ``_WITHIN`` says."""
    at = 0
    while at < len(data):
        tag, at = _number(data, at)
        wire, inner = tag & 7, _WITHIN.get((message, tag >> 3))
        if wire == _BYTES:
            size, at = _number(data, at)
            if size > len(data) - at:
                raise ValueError("a field that ends after its message")
            part, at = data[at : at + size], at + size
            yield max(_ELEMENT - size, 0)
            if inner is not None:
                yield from _weights(part, inner)
            elif message == _INTEGERS:
                yield _NUMBER * int(np.count_nonzero(np.frombuffer(part, np.uint8) < 128))
            else:
                yield size
        elif wire == _VARINT:
            _, at = _number(data, at)
            yield _ELEMENT
        elif wire in _FIXED:
            at += _FIXED[wire]
            yield _ELEMENT
        else:
            raise ValueError(f"a field of wire type {wire}")


def _number(data: memoryview, at: int) -> tuple[int, int]:
    """A varint, and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value, at = value | (byte & 127) << shift, at + 1
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than ten bytes")
