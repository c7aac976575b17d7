"""The arrays of an archive: images, labels, keys, and what else is carried."""

import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lake.core.errors import InputError, ShardError
from lake.core.records import Array
from lake.formats.common.npy import npy_header
from lake.formats.reader import ColumnSelection, RecordSchema
from tests.lake.formats.array.arrays import LABELS, PIXELS, READER, batches, carried_of, npy, npz, pixels_of
from tests.lake.formats.support import shard_of


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    ("images", "labels"), [("x", "y"), ("x_train", "y_train"), ("images", "labels"), ("image", "label")]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_with_labels_under_the_usual_names(
    tmp_path: Path, compressed: bool, images: str, labels: str, order: Any
) -> None:
    data = npz(compressed, **{labels: LABELS, images: np.asarray(PIXELS, order=order), "other": np.zeros((2, 2))})
    shard = shard_of(tmp_path / "a.npz", data)
    columns = READER.settle(shard, ColumnSelection())
    assert (columns.image, columns.carry, columns.numeric) == (images, pa.schema({"label": pa.int64()}), True)
    assert READER.rows(shard) is None
    parts = batches(shard, columns)
    np.testing.assert_array_equal(pixels_of(parts)[..., 0], PIXELS)
    assert carried_of(parts, "label") == LABELS.tolist()


def test_the_labels_of_a_test_set_are_its_own(tmp_path: Path) -> None:
    data = npz(x_train=PIXELS, y_train=LABELS, x_test=PIXELS[::-1], y_test=LABELS[::-1].reshape(50, 1))
    shard = shard_of(tmp_path / "a.npz", data)
    parts = batches(shard, READER.settle(shard, ColumnSelection(image="x_test")))
    np.testing.assert_array_equal(pixels_of(parts)[..., 0], PIXELS[::-1])
    assert carried_of(parts, "label") == LABELS[::-1].tolist()


def test_labels_of_another_length_are_not_carried_by_default(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.npz", npz(x=PIXELS, y=LABELS[:49]))
    assert READER.settle(shard, ColumnSelection()).carry == pa.schema([])
    with pytest.raises(InputError, match="array 'y' is no column of 50 values"):
        READER.settle(shard, ColumnSelection(carry=("label",)))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([f"é{at}" for at in range(50)]), pa.string()),
        (np.array([b"k%d" % at for at in range(50)]), pa.binary()),
        (np.arange(50, dtype=">f8") / 4, pa.float64()),
        (np.arange(50) % 3 == 0, pa.bool_()),
    ],
    ids=["text", "bytes", "big-endian", "bool"],
)
def test_other_members_are_carried_and_are_keys(tmp_path: Path, values: Array, kind: pa.DataType) -> None:
    shard = shard_of(tmp_path / "a.npz", npz(pixels=PIXELS, name=values))
    columns = READER.settle(shard, ColumnSelection(carry=("name",), key="name"))
    parts = batches(shard, columns)
    assert columns.carry == pa.schema({"name": kind})
    assert carried_of(parts, "name") == values.tolist()
    keys = [value for part in parts for value in part.key.to_pylist()]
    assert keys == pa.array(values.astype(values.dtype.newbyteorder("="))).cast(pa.string()).to_pylist()


def test_an_encrypted_or_exotic_member_is_reported(tmp_path: Path) -> None:
    data = bytearray(npz(x=PIXELS))
    for flag in (data.find(b"PK\x01\x02") + 8, 6):  # bit 0 of the flags, in the directory and before the member
        data[flag] |= 1
    with pytest.raises(ShardError, match="encrypted"):
        READER.settle(shard_of(tmp_path / "a.npz", bytes(data)), ColumnSelection())


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("compressed", [True, False])
def test_the_source_is_every_other_array_with_rows(tmp_path: Path, order: Any, compressed: bool) -> None:
    others = {
        "y": LABELS.astype(">i4"),
        "name": np.array([f"é{at}" for at in range(50)]),
        "box": np.asarray(np.random.default_rng(3).normal(size=(50, 2, 3)), order=order),
        "when": np.arange(50).astype("M8[ms]"),
        "wave": np.arange(50) * 1j,
    }
    rest = {"mean": np.zeros((4, 3)), "one": np.array(50), "meta": np.array([None] * 50), "none": np.zeros((50, 0))}
    shard = shard_of(tmp_path / "a.npz", npz(compressed, x=PIXELS, **others, **rest))
    columns = READER.settle(shard, ColumnSelection(whole=True, key="name"))
    parts = batches(shard, columns)
    assert [set(part.source) for part in parts] == [set(others)] * 8
    for name, wanted in others.items():
        made = np.concatenate([part.source[name] for part in parts])
        np.testing.assert_array_equal(made, wanted)
        assert {part.source[name].dtype for part in parts} == {wanted.dtype}
    assert carried_of(parts, "label") == LABELS.tolist()
    assert all(part.source is None for part in batches(shard, READER.settle(shard, ColumnSelection())))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_that_unpack_without_bounds_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("x.npy", npy(np.zeros((2_000, 28, 28), np.uint8)))
    with pytest.raises(ShardError, match=rf"a\.npz: 'x\.npy' is packed by method {method}"):
        READER.settle(shard_of(tmp_path / "a.npz"), ColumnSelection())


@pytest.mark.parametrize("salvage", [False, True])
@pytest.mark.parametrize("packed", [1, 1 << 20])
def test_a_member_whose_sizes_lie_is_damage(tmp_path: Path, packed: int, salvage: bool) -> None:
    """By the directory and its header it has 1 GiB; the stream has 100 kB, or an end of its own."""
    header = npy_header(np.dtype("u1"), (1 << 20, 32, 32))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header + bytes(100_000))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    at = data.rindex(b"PK\1\2")
    data[at + 20 : at + 28] = packed.to_bytes(4, "little") + (len(header) + (1 << 30)).to_bytes(4, "little")
    shard = shard_of(tmp_path / "a.npz", bytes(data))
    columns = RecordSchema(
        image="x", key=None, carry=pa.schema([]), numeric=True, max_record_bytes=1 << 28, salvage=salvage
    )
    tracemalloc.start()
    with pytest.raises(ShardError, match=r"a\.npz"):
        batches(shard, columns)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
