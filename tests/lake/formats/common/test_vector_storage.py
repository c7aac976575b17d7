"""Stored vectors against ml_dtypes, NumPy and closed forms."""

import json

import ml_dtypes
import numpy as np
import pytest

from lake.core.records import Array
from lake.formats.common.vector_storage import METADATA_KEY, VectorStorage, storage_of

MOST = {"float16": 65504.0, "bfloat16": float(np.array([0x7F7F], np.uint16).view(ml_dtypes.bfloat16)[0])}
NUMBERS = np.concatenate(
    [
        np.random.default_rng(0).normal(size=20_000).astype(np.float32)
        * np.float32(10) ** np.arange(-10, 10).repeat(1000),
        np.array([0.0, -0.0, 1.0, 1.00390625, 1.01171875, 65504, 65519, 1e-45, 3.3895314e38], np.float32),
    ]
).astype(np.float32)[None]


@pytest.mark.parametrize(("kind", "truth"), [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)])
def test_half_precision_is_rounded_as_other_libraries_round(kind: str, truth: type) -> None:
    numbers = NUMBERS[np.abs(NUMBERS) <= MOST[kind]][None]
    stored, clipped = VectorStorage(type=kind).pack(numbers)
    wanted: Array = numbers.astype(truth)
    assert clipped == 0
    np.testing.assert_array_equal(stored.view(np.uint16), wanted.view(np.uint16))
    np.testing.assert_array_equal(VectorStorage(type=kind).unpack(stored, numbers.shape[1]), wanted.astype(np.float32))


@pytest.mark.parametrize(("kind", "most"), MOST.items())
def test_what_is_beyond_half_precision_is_clipped_and_counted(kind: str, most: float) -> None:
    storage = VectorStorage(type=kind)
    stored, clipped = storage.pack(np.array([[3.4e38, -3.4e38, 1.0]], np.float32))
    assert clipped == 2
    np.testing.assert_array_equal(storage.unpack(stored, 3), np.array([[most, -most, 1.0]], np.float32))


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_eight_bits_are_within_half_a_step(kind: str) -> None:
    sizes = np.array([1, 2, 3, 9, 0.1, 1])
    vectors: Array = (np.random.default_rng(1).uniform(-3, 5, size=(1000, 6)) * sizes).astype(np.float32)
    low: Array = vectors.min(axis=0)
    high: Array = vectors.max(axis=0)
    steps = 254 if kind == "int8" else 255
    scale, offset = (high - low) / steps, (low + high) / 2 if kind == "int8" else low
    storage = VectorStorage(type=kind, scale=tuple(map(float, scale)), offset=tuple(map(float, offset)))
    stored, clipped = storage.pack(vectors)
    assert (stored.dtype, clipped) == (np.dtype(kind), 0)
    assert (np.abs(storage.unpack(stored, 6) - vectors) <= scale * 0.5001).all()
    _, clipped = storage.pack(np.multiply(vectors, 4, dtype=np.float32))
    assert clipped > 0, "beyond the range"


def test_bits_are_those_of_packbits_and_the_sign_is_read_back() -> None:
    vectors = np.random.default_rng(2).normal(size=(50, 13)).astype(np.float32)
    offset = np.linspace(-0.5, 0.5, 13, dtype=np.float32)
    storage = VectorStorage(type="binary", scale=(0.25,) * 13, offset=tuple(map(float, offset)))
    stored, clipped = storage.pack(vectors)
    assert clipped == 0
    np.testing.assert_array_equal(stored, np.packbits(vectors > offset, axis=1))
    np.testing.assert_array_equal(storage.unpack(stored, 13), np.where(vectors > offset, offset + 0.25, offset - 0.25))


def test_scaled_latents_are_read_back_unscaled() -> None:
    vectors = np.random.default_rng(3).normal(3, 5, size=(9, 4)).astype(np.float32)
    storage = VectorStorage(scaling_factor=float(np.float32(0.18215)), shift_factor=2.5)
    stored, _ = storage.pack(vectors)
    np.testing.assert_array_equal(stored, (vectors - np.float32(2.5)) * np.float32(0.18215))
    np.testing.assert_allclose(storage.unpack(stored, 4), vectors, rtol=1e-6, atol=1e-6)


def test_metadata_gives_the_same_storage_back() -> None:
    for storage in (
        VectorStorage(type="float16", scaling_factor=0.5),
        VectorStorage(type="int8", scale=(0.1, 0.2), offset=(0.0, float(np.float32(0.3)))),
    ):
        metadata = {METADATA_KEY.encode(): json.dumps(storage.to_json()).encode()}
        found = storage_of(metadata)
        assert found is not None
        assert found.type == storage.type
        np.testing.assert_array_equal(np.array(found.scale, np.float32), np.array(storage.scale, np.float32))
        assert found.scaling_factor == storage.scaling_factor
    assert storage_of({b"other": b"1"}) is None
    assert storage_of(None) is None


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"type": "int4"},
        {"type": ["int8"]},
        {"type": "int8"},
        {"type": "float16", "scale": [1], "offset": [0]},
        {"type": "int8", "scale": [1, 2], "offset": [0]},
        {"type": "int8", "scale": [0], "offset": [0]},
        {"type": "int8", "scale": [1e-60], "offset": [0]},
        {"type": "int8", "scale": [1e60], "offset": [0]},
        {"type": "int8", "scale": [float("nan")], "offset": [0]},
        {"type": "int8", "scale": [True], "offset": [0]},
        {"type": "int8", "scale": "1", "offset": "0"},
        {"type": "float16", "scaling_factor": -1},
        {"type": "float16", "shift_factor": "x"},
    ],
)
def test_metadata_that_makes_no_sense_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        VectorStorage.from_json(value)
