"""Files of safetensors that are damaged or forged, and files of other programs."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from lake.formats.common.safetensors import safetensors_file, tensor_of, tensors_of
from lake.images.types import ImageError


def forged(header: Any, body: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8])
def test_what_is_written_is_read(dtype: Any) -> None:
    values = {"latent": np.arange(6).reshape(1, 2, 3).astype(dtype), "latent_flip": np.ones((2,), dtype)}
    found = tensors_of(safetensors_file(values))
    assert list(found) == ["latent", "latent_flip"]
    for name, wanted in values.items():
        np.testing.assert_array_equal(found[name], wanted)
        assert found[name].dtype == dtype


def test_bits_of_bfloat16() -> None:
    data = safetensors_file({"latent": np.array([0x3F80, 0xC000], np.uint16)}, bfloat16=True)
    tensor, kind = tensor_of(data, "latent")
    assert kind == "BF16" and (tensor.astype(np.uint32) << 16).view(np.float32).tolist() == [1.0, -2.0]


def test_files_of_others() -> None:
    field = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    body = np.array([1, 2], np.float32).tobytes()
    data = forged({"__metadata__": {"format": "pt"}, "z": field}, body)
    assert tensor_of(data, "latent")[0].tolist() == [1, 2], "a file with one tensor is that one"
    with pytest.raises(ImageError, match="no tensor 'latent'"):
        tensor_of(forged({"y": field, "z": field}, body), "latent")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "cut or too long"),
        (b"\xff" * 8, "cut or too long"),
        (forged(b"{"), "Expecting"),
        (forged([]), "attribute"),
        (forged({"a": 3}), "subscriptable"),
        (forged({"a": {"dtype": "F32", "shape": [2]}}), "data_offsets"),
        (forged({"a": {"dtype": "F8", "shape": [2], "data_offsets": [0, 8]}}), "F8"),
        (forged({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}), "8 bytes for a tensor of 3"),
        (forged({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}), "16 bytes"),
        (forged({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}), "no list of numbers"),
        (forged({"a": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 8]}}), "no list of numbers"),
        (forged({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}), "-8 bytes"),
        (forged(b"[" * 100_000), "recursion"),
    ],
)
def test_forged_files(data: bytes, problem: str) -> None:
    with pytest.raises(ImageError, match=problem) as found:
        tensors_of(data)
    assert len(str(found.value)) < 400
