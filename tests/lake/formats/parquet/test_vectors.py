"""Columns of lists of numbers."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lake.core.errors import InputError
from lake.core.records import Reason
from lake.formats.reader import ColumnSelection
from tests.lake.formats.parquet.tables import READER, STRUCT, batches, faults_of, rows_of, written

VECTORS = [[0.5, -1.0, 2.0], [3.0, 4.0, 5.0], [-0.25, 0.0, 7.0], [8.0, 9.0, 10.0]]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float64()),
        pa.list_(pa.float16()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), 3),
        pa.list_(pa.float64(), 3),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [1, 3, 4])
def test_vectors_become_rows_of_float32(tmp_path: Path, kind: pa.DataType, size: int) -> None:
    table = pa.table({"embedding": pa.array(VECTORS, kind), "label": ["a", "b", "c", "d"]})
    shard = written(tmp_path / "a.parquet", table, row_group_size=3)
    columns = READER.settle(shard, ColumnSelection(numeric=True))
    parts = batches(shard, columns, size)
    assert columns.length == 3
    assert all(part.payload.dtype == np.float32 for part in parts)
    assert rows_of(parts) == [(at, str(at), row, "abcd"[at]) for at, row in enumerate(VECTORS)]


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint8(), pa.float16(), pa.float64()], ids=str)
def test_bad_vectors_are_faults_and_null_numbers_are_nan(tmp_path: Path, kind: pa.DataType) -> None:
    vectors = [[1, 2], None, [3], [4, None], [], [5, 6, 7], [8, 9]]
    shard = written(tmp_path / "a.parquet", pa.table({"x": pa.array(vectors, pa.list_(kind))}))
    parts = batches(shard, READER.settle(shard, ColumnSelection(numeric=True, length=2)), 3)
    found = {at: (fault.reason, fault.detail) for at, fault in faults_of(parts).items()}
    wrong = {at: (Reason.WRONG_LENGTH, f"{count} numbers, not 2") for at, count in ((2, 1), (4, 0), (5, 3))}
    assert found == wrong | {1: (Reason.MISSING_IMAGE, "the vector is null")}
    values = np.concatenate([part.payload for part in parts])
    np.testing.assert_array_equal(values, [[1, 2], [0, 0], [0, 0], [4, np.nan], [0, 0], [0, 0], [8, 9]])


@pytest.mark.parametrize("number", [pa.float16(), pa.float32(), pa.float64(), pa.int32()], ids=str)
@pytest.mark.parametrize("salvage", [False, True], ids=["", "salvage"])
def test_a_null_in_a_fixed_size_list_costs_itself(tmp_path: Path, number: pa.DataType, salvage: bool) -> None:
    vectors = [None, [1, 2], None, [3, None], [5, 6], None]
    shard = written(tmp_path / "a.parquet", pa.table({"x": pa.array(vectors, pa.list_(number, 2))}), row_group_size=4)
    parts = batches(shard, READER.settle(shard, ColumnSelection(numeric=True, length=2, salvage=salvage)), 3)
    found = {at: (fault.reason, fault.detail, fault.data) for at, fault in faults_of(parts).items()}
    assert found == dict.fromkeys((0, 2, 5), (Reason.MISSING_IMAGE, "the vector is null", None))
    values = np.concatenate([part.payload for part in parts])
    np.testing.assert_array_equal(values, [[0, 0], [1, 2], [0, 0], [3, np.nan], [5, 6], [0, 0]])


def test_fixed_size_lists_beside_images_are_carried_with_their_nulls(tmp_path: Path) -> None:
    """And what stands beside them keeps the types that only Arrow's own schema knows."""
    fixed = pa.array([[1, 2], None, [None, 4]], pa.list_(pa.int16(), 2))
    others = {
        "label": pa.array(["a", "b", None]).dictionary_encode(),
        "span": pa.array([1, None, 3], pa.duration("ms")),
        "when": pa.array([1, 2, None], pa.timestamp("us", "Europe/Berlin")),
        "long": pa.array(["a", None, "c"], pa.large_string()),
        "nested": pa.array([[[1, 2]], None, [[3, 4], [5, 6]]], pa.list_(pa.list_(pa.int8(), 2))),
    }
    images = pa.array([{"bytes": b"0", "path": "zero"}, None, {"bytes": b"2", "path": "two"}], STRUCT)
    table = pa.table({"image": images, "fixed": fixed, **others})
    shard = written(tmp_path / "a.parquet", table)
    carry = ("fixed", *others)
    (part,) = batches(shard, READER.settle(shard, ColumnSelection(carry=carry, key="label")))
    assert part.payload.to_pylist() == [b"0", None, b"2"]
    assert [part.carried[name].to_pylist() for name in carry] == [table[name].to_pylist() for name in carry]
    kinds = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in table.select(carry).schema.types]
    assert [part.carried[name].type for name in carry] == kinds
    (part,) = batches(shard, READER.settle(shard, ColumnSelection(whole=True)))
    assert part.source.select(carry).equals(table.select(carry).to_batches()[0])


def test_a_number_beyond_float32_is_infinite(tmp_path: Path) -> None:
    shard = written(tmp_path / "a.parquet", pa.table({"x": [[1e300, -1e300]]}))
    (part,) = batches(shard, READER.settle(shard, ColumnSelection(numeric=True)))
    np.testing.assert_array_equal(part.payload, [[np.inf, -np.inf]])


def test_fixed_vectors_of_another_length_than_the_models_are_refused(tmp_path: Path) -> None:
    shard = written(tmp_path / "a.parquet", pa.table({"x": pa.array(VECTORS, pa.list_(pa.float32(), 3))}))
    with pytest.raises(InputError, match="keeps vectors of 3 numbers and the model takes 4"):
        READER.settle(shard, ColumnSelection(numeric=True, length=4))
