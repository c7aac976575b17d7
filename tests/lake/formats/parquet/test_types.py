"""Columns of shards that different programs wrote."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.core.errors import ShardError
from lake.core.records import Reason
from lake.formats.parquet.types import castable, unified
from lake.formats.reader import ColumnSelection
from lake.inputs.columns import settle
from lake.inputs.discover import find_shards
from tests.lake.formats.parquet.tables import READER, batches, faults_of, written

WHEN = dt.datetime(2026, 2, 28, 1, 2, 3)
SAME: dict[str, tuple[list[pa.DataType], pa.DataType, Any]] = {  # types, the one that holds the values of all, a value
    "text": ([pa.string(), pa.large_string(), pa.string_view()], pa.string(), "é"),
    "bytes": ([pa.large_binary(), pa.binary(), pa.binary_view()], pa.large_binary(), b"\xff"),
    "integers": ([pa.int32(), pa.int64(), pa.int8()], pa.int64(), 7),
    "unsigned": ([pa.uint8(), pa.int8()], pa.int16(), 7),
    "floats": ([pa.float32(), pa.float64()], pa.float64(), 0.5),
    "null first": ([pa.null(), pa.int64()], pa.int64(), None),
    "null later": ([pa.int64(), pa.null()], pa.int64(), None),
    "lists": ([pa.list_(pa.int32()), pa.large_list(pa.int64())], pa.list_(pa.int64()), [1, 2]),
    "fixed lists": ([pa.list_(pa.int32(), 2), pa.list_(pa.int32())], pa.list_(pa.int32()), [1, 2]),
    "units": ([pa.timestamp("ms"), pa.timestamp("ns"), pa.timestamp("s")], pa.timestamp("ns"), WHEN),
    "decimals": ([pa.decimal128(5, 2), pa.decimal128(9, 2)], pa.decimal128(9, 2), Decimal("1.50")),
    "structs": (
        [pa.struct({"a": pa.int32(), "b": pa.string()}), pa.struct({"a": pa.int64(), "b": pa.large_string()})],
        pa.struct({"a": pa.int64(), "b": pa.string()}),
        {"a": 1, "b": "x"},
    ),
    "maps": (
        [pa.map_(pa.string(), pa.int32(), keys_sorted=True), pa.map_(pa.large_string(), pa.int64())],
        pa.map_(pa.string(), pa.int64()),
        [("a", 1)],
    ),
    "dictionary": ([pa.dictionary(pa.int8(), pa.string()), pa.large_string()], pa.string(), "a"),
}


@pytest.mark.parametrize("name", SAME)
def test_shards_of_different_writers_are_read_as_one(tmp_path: Path, name: str) -> None:
    kinds, expected, value = SAME[name]
    shards = [
        written(tmp_path / f"{at}.parquet", pa.table({"image": [b"file"], "label": pa.array([value], kind)}))
        for at, kind in enumerate(kinds)
    ]
    columns = settle(find_shards([str(tmp_path)]), ColumnSelection())
    assert columns.carry == pa.schema({"label": expected})
    for shard in shards:
        (records,) = batches(shard, columns)
        assert records.carried["label"].type == expected
        assert records.carried["label"].to_pylist() == pa.array([value], expected).to_pylist()
        assert not records.faults


def test_a_value_that_does_not_fit_costs_its_record(tmp_path: Path) -> None:
    """The first shards have not told that integers are wide, and the column is settled."""
    first = written(tmp_path / "a.parquet", pa.table({"image": [b"x"], "label": pa.array([1], pa.int8())}))
    wide = pa.table({"image": [b"x"] * 4, "label": [5, 1_000, None, -1]})
    columns = READER.settle(first, ColumnSelection())
    (records,) = batches(written(tmp_path / "b.parquet", wide), columns)
    assert records.carried["label"].to_pylist() == [5, None, None, -1]
    assert {at: (fault.reason, fault.detail) for at, fault in faults_of([records]).items()} == {
        1: (Reason.WRONG_TYPE, "'label' is int64 here, and a value that is no int8, as in the first shards")
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.int64(), pa.string()),
        (pa.string(), pa.binary()),
        (pa.int64(), pa.float64()),
        (pa.timestamp("s"), pa.timestamp("s", "UTC")),
        (pa.list_(pa.int64()), pa.int64()),
        (pa.list_(pa.int64()), pa.list_(pa.string())),
        (pa.struct({"a": pa.int64()}), pa.struct({"b": pa.int64()})),
        (pa.decimal128(5, 2), pa.decimal128(5, 3)),
        (pa.map_(pa.string(), pa.int64()), pa.map_(pa.string(), pa.string())),
    ],
    ids=str,
)
def test_other_kinds_are_not_one(tmp_path: Path, one: pa.DataType, other: pa.DataType) -> None:
    assert unified(one, other) is unified(other, one) is None
    first = written(tmp_path / "a.parquet", pa.table({"image": [b"x"], "label": pa.array([None], one)}))
    later = written(tmp_path / "b.parquet", pa.table({"image": [b"x"], "label": pa.array([None], other)}))
    with pytest.raises(ShardError, match="column 'label' is"):
        batches(later, READER.settle(first, ColumnSelection()))


def test_what_a_cast_would_round_is_refused() -> None:
    assert castable(pa.float32(), pa.float64())
    assert not castable(pa.float64(), pa.float32())
    assert not castable(pa.list_(pa.float64()), pa.list_(pa.float32()))
    assert not castable(pa.struct({"a": pa.float64()}), pa.struct({"a": pa.float16()}))
    assert not castable(pa.map_(pa.string(), pa.float64()), pa.map_(pa.string(), pa.float32()))
