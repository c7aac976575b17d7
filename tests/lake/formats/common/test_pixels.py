"""Pixels of types that were nobody's choice."""

from pathlib import Path

import numpy as np
import pytest

from lake.core.records import Reason
from lake.formats.reader import ColumnSelection
from lake.inputs.discover import find_shards
from lake.inputs.passed_over import Why
from tests.lake.formats.array.arrays import PIXELS, READER, batches, npy, npz, pixels_of
from tests.lake.formats.support import shard_of


@pytest.mark.parametrize("kind", ["i1", "<i2", ">i2", "<i4", ">i4", "<i8", ">i8", "<u4", ">u8"])
@pytest.mark.parametrize("shape", [(50, 4, 3), (25, 2, 4, 3)])
def test_integers_are_read_as_eight_bits(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    pixels = (PIXELS // (2 if kind == "i1" else 1)).reshape(shape)
    shard = shard_of(tmp_path / "a.npy", npy(pixels.astype(kind)))
    parts = batches(shard, READER.settle(shard, ColumnSelection()))
    assert pixels_of(parts).dtype == np.uint8
    np.testing.assert_array_equal(pixels_of(parts).reshape(shape), pixels)
    assert not any(part.faults for part in parts)


def test_booleans_are_black_and_white(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.npy", npy(PIXELS > 99))
    parts = batches(shard, READER.settle(shard, ColumnSelection()))
    np.testing.assert_array_equal(pixels_of(parts)[..., 0], np.where(PIXELS > 99, 255, 0))
    assert pixels_of(parts).dtype == np.uint8


def test_a_row_beyond_eight_bits_costs_itself(tmp_path: Path) -> None:
    pixels = PIXELS.astype(np.int32)
    pixels[3, 0, 0], pixels[20, 1, 1] = 256, -1
    shard = shard_of(tmp_path / "a.npz", npz(x=pixels))
    parts = batches(shard, READER.settle(shard, ColumnSelection()))
    faults = {int(part.index[at]): fault for part in parts for at, fault in part.faults.items()}
    assert {at: fault.reason for at, fault in faults.items()} == dict.fromkeys((3, 20), Reason.WRONG_TYPE)
    assert faults[3].detail.startswith("pixels of int32 are read as 8 bits, 0 to 255, and these are")
    assert faults[20].data == pixels[20].tobytes()
    others = np.delete(np.arange(50), [3, 20])
    np.testing.assert_array_equal(pixels_of(parts)[others, ..., 0], PIXELS[others])


def test_a_file_of_labels_is_no_shard_beside_the_images(tmp_path: Path) -> None:
    """As KMNIST is distributed. By itself, or where it is named, it is what it says."""
    for name, array in (("kmnist-train-imgs", PIXELS), ("kmnist-train-labels", np.arange(50)), ("labels_old", PIXELS)):
        np.savez(tmp_path / f"{name}.npz", array)
    found = find_shards([str(tmp_path)])
    assert [shard.path for shard in found.shards] == ["kmnist-train-imgs.npz", "labels_old.npz"]
    assert found.passed_over[Why.UNKNOWN_FORMAT].examples == ("kmnist-train-labels.npz",)
    named = find_shards([str(tmp_path / "kmnist-train-labels.npz")])
    assert [shard.path for shard in named.shards] == ["kmnist-train-labels.npz"]
