"""Columns of pixels, nested and flat."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lake.core.errors import InputError, ShardError
from lake.core.records import Array, Fault, Reason, Shard
from lake.formats.reader import ColumnSelection
from lake.images.decoder import Decoder
from lake.images.types import Target
from tests.lake.formats.parquet.tables import READER, batches, image_table, written

DICE = np.random.default_rng(5)
FLAT = ColumnSelection(shape=(3, 4, 2))


def pixels(shape: tuple[int, ...], kind: str) -> Array:
    return (DICE.random(shape) if kind[0] == "f" else DICE.integers(0, 256, shape)).astype(kind)


def decoded(
    shard: Shard, shape: tuple[int, ...], selection: ColumnSelection
) -> tuple[dict[int, Array], dict[int, Fault]]:
    found, faults = dict[int, Array](), dict[int, Fault]()
    for records in batches(shard, READER.settle(shard, selection), 4):
        some = Decoder(Target(shape=shape)).decode(records)
        faults |= {int(records.index[at]): fault for at, fault in some.faults.items()}
        for group in some.groups:
            found |= {int(records.index[p]): row for p, row in zip(group.positions, group.pixels, strict=True)}
    return found, faults


def of_lists(values: list[Any], kind: str, levels: int, make: Any = pa.list_) -> pa.Array:
    type = pa.from_numpy_dtype(np.dtype(kind))
    for _ in range(levels):
        type = make(type)
    return pa.array(values, type)


@pytest.mark.parametrize("make", [pa.list_, pa.large_list], ids=["list", "large"])
@pytest.mark.parametrize("kind", ["u1", "i8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 3), (3, 6, 5)])
def test_nested_lists_are_images(tmp_path: Path, make: Any, kind: str, shape: tuple[int, ...]) -> None:
    images = [pixels(shape, kind) for _ in range(9)]
    table = pa.table({"image": of_lists([image.tolist() for image in images], kind, len(shape), make), "id": range(9)})
    upright = [i[..., None] if i.ndim == 2 else i.transpose(1, 2, 0) if shape[2] == 5 else i for i in images]
    found, faults = decoded(written(tmp_path / "a.parquet", table), upright[0].shape, ColumnSelection())
    assert not faults
    for position, image in enumerate(upright):
        np.testing.assert_array_equal(found[position], image.astype("f4" if kind[0] == "f" else "u1"))


@pytest.mark.parametrize("kind", ["u1", "i4", "f4", "f8"])
def test_flat_lists_are_images_of_the_models_size(tmp_path: Path, kind: str) -> None:
    images = [pixels((3, 4, 2), kind) for _ in range(9)]
    column = of_lists([image.ravel().tolist() for image in images], kind, 1)
    found, faults = decoded(written(tmp_path / "a.parquet", pa.table({"pixels": column})), (3, 4, 2), FLAT)
    assert not faults
    for position, image in enumerate(images):
        np.testing.assert_array_equal(found[position], image.astype("f4" if kind[0] == "f" else "u1"))


def test_a_bad_image_costs_itself(tmp_path: Path) -> None:
    good = [[1, 2], [3, 4]]
    rows = [good, None, [], [[1, 2], [3]], [[1, None], [3, 4]], [[1, 2], None], [[1, 256], [3, 4]], good]
    shard = written(tmp_path / "a.parquet", pa.table({"image": of_lists(rows, "i8", 2)}))
    found, faults = decoded(shard, (2, 2, 1), ColumnSelection())
    assert sorted(found) == [0, 7]
    assert {at: fault.reason for at, fault in faults.items()} == {
        1: Reason.MISSING_IMAGE,
        2: Reason.INVALID_RECORD,
        3: Reason.INVALID_RECORD,
        4: Reason.INVALID_RECORD,
        5: Reason.INVALID_RECORD,
        6: Reason.WRONG_TYPE,
    }


def test_a_bad_flat_image_costs_itself(tmp_path: Path) -> None:
    good = list(range(24))
    rows = [good, None, good[1:], [None, *good[1:]], [300, *good[1:]], good]
    shard = written(tmp_path / "a.parquet", pa.table({"image": of_lists(rows, "i8", 1)}))
    found, faults = decoded(shard, (3, 4, 2), FLAT)
    assert sorted(found) == [0, 5]
    np.testing.assert_array_equal(found[5].ravel(), good)
    assert {at: fault.reason for at, fault in faults.items()} == {
        1: Reason.MISSING_IMAGE,
        2: Reason.WRONG_LENGTH,
        3: Reason.INVALID_RECORD,
        4: Reason.WRONG_TYPE,
    }


@pytest.mark.parametrize(
    ("selection", "says"),
    [
        (ColumnSelection(), "the model takes images of any size: their sides are not known"),
        (ColumnSelection(shape=(2, 2, 1)), r"holds lists of 24 numbers, and the model takes images of \(2, 2, 1\)"),
        (ColumnSelection(shape=(3, 4, 2), whole=True), "holds bare pixels; choose another --output-format"),
    ],
    ids=["any size", "another size", "rewriting"],
)
def test_what_is_refused_at_launch(tmp_path: Path, selection: ColumnSelection, says: str) -> None:
    shard = written(tmp_path / "a.parquet", pa.table({"image": of_lists([list(range(24))], "i8", 1)}))
    with pytest.raises(InputError, match=says):
        READER.settle(shard, selection)


def test_files_go_before_pixels_and_lists_of_other_names_are_no_images(tmp_path: Path) -> None:
    boxes = of_lists([[[1, 2], [3, 4]]], "i8", 2)
    shard = written(tmp_path / "a.parquet", pa.table({"image": boxes, "content": [b"file"]}))
    assert READER.settle(shard, ColumnSelection()).image == "content"
    shard = written(tmp_path / "b.parquet", pa.table({"boxes": boxes}))
    with pytest.raises(InputError, match="0 columns are binary"):
        READER.settle(shard, ColumnSelection())
    assert READER.settle(shard, ColumnSelection(image="boxes")).image == "boxes"


def test_flat_lists_after_files_are_damage(tmp_path: Path) -> None:
    columns = READER.settle(written(tmp_path / "a.parquet", image_table(3)), ColumnSelection(shape=(3, 4, 2)))
    flat = pa.table({"image": of_lists([list(range(24))], "i8", 1), "label": [1]})
    with pytest.raises(ShardError, match="column 'image'"):
        batches(written(tmp_path / "b.parquet", flat), columns)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("kind", ["u1", "i8", "f4"])
def test_a_column_for_each_pixel_is_an_image(tmp_path: Path, first: int, kind: str) -> None:
    images = np.stack([pixels((3, 4, 2), kind) for _ in range(9)])
    columns = {f"pixel{first + at}": images.reshape(9, -1)[:, at] for at in (*range(12, 24), *range(12))}
    shard = written(tmp_path / "a.parquet", pa.table({"label": range(9), **columns, "id": range(9)}), row_group_size=4)
    found, faults = decoded(shard, (3, 4, 2), FLAT)
    assert not faults
    np.testing.assert_array_equal(np.stack([found[at] for at in range(9)]), images)
    settled = READER.settle(shard, FLAT)
    assert (settled.image, settled.key, settled.carry.names, settled.length) == ("pixels", "id", ["label"], 24)
    vectors = batches(shard, READER.settle(shard, ColumnSelection(numeric=True)))
    np.testing.assert_array_equal(np.concatenate([part.payload for part in vectors]), images.reshape(9, -1))


def test_a_pixel_that_is_null_costs_its_image(tmp_path: Path) -> None:
    columns = {f"pixel{at}": pa.array([at, None if at == 3 else at, at], pa.int64()) for at in range(24)}
    found, faults = decoded(written(tmp_path / "a.parquet", pa.table(columns)), (3, 4, 2), FLAT)
    np.testing.assert_array_equal(found[2].ravel(), range(24))
    assert {at: fault.reason for at, fault in faults.items()} == {1: Reason.MISSING_IMAGE}


@pytest.mark.parametrize("names", [["pixel0", "pixel1", "pixel2", "pixel4"], ["pixel0", "pixel1"]], ids=["gap", "few"])
def test_other_columns_are_no_pixels(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(InputError, match="0 columns are binary"):
        READER.settle(written(tmp_path / "a.parquet", pa.table({name: [1] for name in names})), FLAT)


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3)])
@pytest.mark.parametrize("kind", ["u1", "f4"])
def test_tensors_of_arrow_are_images(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    images = pixels((9, *shape), kind)
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(images)
    tensors = pa.ExtensionArray.from_storage(
        tensors.type, pa.concat_arrays([tensors.storage[1:], pa.nulls(1, tensors.storage.type)])
    )
    found, faults = decoded(
        written(tmp_path / "a.parquet", pa.table({"image": tensors})), (*shape, 1)[:3], ColumnSelection()
    )
    assert {at: fault.reason for at, fault in faults.items()} == {8: Reason.MISSING_IMAGE}
    for at in range(8):
        np.testing.assert_array_equal(found[at].reshape(shape), images[at + 1])


def test_types_of_libraries_that_are_imported_are_what_they_store(tmp_path: Path) -> None:
    class Library(pa.ExtensionType):
        def __init__(self) -> None:
            super().__init__(pa.list_(pa.list_(pa.uint8())), "a.library")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> "Library":
            return cls()

    images = pixels((2, 3, 5), "u1")
    column = pa.ExtensionArray.from_storage(Library(), pa.array(images.tolist(), Library().storage_type))
    shard = written(tmp_path / "a.parquet", pa.table({"image": column, "label": column}))
    pa.register_extension_type(Library())
    try:
        found, faults = decoded(shard, (3, 5, 1), ColumnSelection())
        (part,) = batches(shard, READER.settle(shard, ColumnSelection()))
    finally:
        pa.unregister_extension_type("a.library")
    assert not faults
    assert part.carried["label"].to_pylist() == images.tolist()
    np.testing.assert_array_equal([found[0][..., 0], found[1][..., 0]], images)
