"""Serialized Examples, compared with protobuf's own serialization byte for byte."""

from typing import Any

import numpy as np
import pytest

from lake.formats.tfrecord.encode import encode_entry, encode_example, encode_feature
from lake.formats.tfrecord.example import example_class

FEATURES: dict[str, tuple[str, Any]] = {
    "index": ("int64_list", [0, 1, 127, 128, 300, (1 << 63) - 1, -1, -(1 << 63)]),
    "latent": ("float_list", np.arange(1000, dtype=np.float32).reshape(10, 100)),
    "double": ("float_list", [0.1, -2.5, 1e300, float("inf")]),
    "key": ("bytes_list", [b"", b"a" * 200, bytes(range(256))]),
    "é/\0": ("bytes_list", ["é".encode()]),
    "big": ("bytes_list", [bytes(1 << 21)]),
}


@pytest.mark.parametrize("names", [[], *([name] for name in FEATURES), [*FEATURES], [*FEATURES][::-1]])
def test_the_bytes_are_those_of_protobuf(names: list[str]) -> None:
    example = example_class()()
    for name in names:
        kind, values = FEATURES[name]
        getattr(example.features.feature[name], kind).value.extend(np.ravel(values) if kind[0] == "f" else values)
    example.features.SetInParent()
    found = encode_example({name: encode_entry(name, encode_feature(*FEATURES[name])) for name in names})
    assert found == example.SerializeToString(deterministic=True)


@pytest.mark.parametrize("kind", ["bytes_list", "float_list", "int64_list"])
def test_an_empty_list_has_a_kind(kind: str) -> None:
    example = example_class()()
    getattr(example.features.feature["x"], kind).SetInParent()
    found = encode_example({"x": encode_entry("x", encode_feature(kind, []))})
    assert found == example.SerializeToString(deterministic=True)
