"""Which columns are read, under which names and as which types."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.core.errors import InputError, ShardError
from lake.core.records import Reason
from lake.formats.reader import ColumnSelection, RecordSchema
from tests.lake.formats.parquet.tables import READER, STRUCT, batches, faults_of, files, image_table, rows_of, written


@pytest.mark.parametrize(
    "kind",
    [pa.binary(), pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary()), STRUCT],
    ids=str,
)
def test_every_kind_of_image_column(tmp_path: Path, kind: pa.DataType) -> None:
    data = [*files(40), None, b"", *files(40)]
    images = [value and {"bytes": value, "path": None} for value in data] if kind == STRUCT else data
    if kind == STRUCT:
        images[41] = {"bytes": b"", "path": None}
    column = pa.array(data, pa.binary()).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(images, kind)
    shard = written(tmp_path / "a.parquet", pa.table({"image": column}), row_group_size=9)
    parts = batches(shard, READER.settle(shard, ColumnSelection()), 7)
    assert [row[:3] for row in rows_of(parts)] == [(at, str(at), value) for at, value in enumerate(data)]
    assert all(part.payload.type == pa.binary() for part in parts)
    assert {at: fault.reason for at, fault in faults_of(parts).items()} == {40: Reason.MISSING_IMAGE}


def test_default_names_are_chosen_in_the_documented_order(tmp_path: Path) -> None:
    table = pa.table(
        {"mask": [b"m"], "img": [b"i"], "id": [7], "filename": ["f"], "cls": [1], "fine_label": [2], "note": ["n"]}
    )
    shard = written(tmp_path / "a.parquet", table)
    assert READER.settle(shard, ColumnSelection()) == RecordSchema(
        image="img",
        key="filename",
        carry=pa.schema({"cls": pa.int64(), "fine_label": pa.int64()}),
        numeric=False,
        max_record_bytes=256 << 20,
    )
    asked = READER.settle(shard, ColumnSelection(image="mask", key="id", carry=("note",)))
    assert rows_of(batches(shard, asked)) == [(0, "7", b"m", "n")]
    assert READER.settle(shard, ColumnSelection(carry=())).carry == pa.schema([])


def test_the_only_column_that_fits_needs_no_name(tmp_path: Path) -> None:
    shard = written(tmp_path / "a.parquet", pa.table({"thumb": [b"t"], "n": [1]}))
    assert READER.settle(shard, ColumnSelection()).image == "thumb"


CARRIED: dict[str, tuple[pa.DataType, list[Any]]] = {
    "bool": (pa.bool_(), [True, None, False]),
    "decimal": (pa.decimal128(9, 2), [Decimal("1.25"), None, Decimal("-3.00")]),
    "time": (pa.timestamp("us", "UTC"), [datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), None, None]),
    "list": (pa.list_(pa.float32()), [[0.5], [], None]),
    "struct": (pa.struct({"a": pa.int8(), "b": pa.string()}), [{"a": 1, "b": "x"}, None, {"a": None, "b": "é"}]),
    "map": (pa.map_(pa.string(), pa.int32()), [[("k", 1)], [], None]),
    "half": (pa.float16(), [1.5, None, -2.0]),
    "large": (pa.large_string(), ["a", "b", None]),
    "raw": (pa.binary(3), [b"abc", None, b"\xff\xfe\x00"]),
}


@pytest.mark.parametrize("name", CARRIED)
def test_a_column_of_any_type_is_carried(tmp_path: Path, name: str) -> None:
    kind, values = CARRIED[name]
    table = pa.table({"image": [b"0", b"1", b"2"], name: pa.array(values, kind)})
    shard = written(tmp_path / "a.parquet", table, row_group_size=2)
    columns = READER.settle(shard, ColumnSelection(carry=(name,)))
    parts = batches(shard, columns, 3)
    assert columns.carry == pa.schema({name: kind})
    assert parts[0].carried[name].type == kind
    assert [row[3] for row in rows_of(parts)] == values


def test_dictionary_columns_are_carried_as_their_values(tmp_path: Path) -> None:
    words = ["cat", "dog", None, "cat", "eel"] * 10
    table = pa.table({"image": [b"x"] * 50, "label": pa.array(words).dictionary_encode()})
    shard = written(tmp_path / "a.parquet", table, row_group_size=7)
    parts = batches(shard, READER.settle(shard, ColumnSelection()), 11)
    assert all(part.carried["label"].type == pa.string() for part in parts)
    assert [row[3] for row in rows_of(parts)] == words


def not_utf8(values: list[bytes]) -> pa.Array:
    raw = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())


def test_text_that_is_not_utf8_is_escaped_in_keys_and_a_fault_in_carried_columns(tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": [b"0", b"1", b"2"],
            "key": not_utf8([b"a", b"\xff", b"\xc3\xa9"]),
            "label": not_utf8([b"\xc3", b"b", b"c"]),
        }
    )
    shard = written(tmp_path / "a.parquet", table)
    parts = batches(shard, READER.settle(shard, ColumnSelection()), 2)
    assert rows_of(parts) == [(0, "a", b"0", None), (1, "\\xff", b"1", "b"), (2, "é", b"2", "c")]
    assert {at: fault.reason for at, fault in faults_of(parts).items()} == {0: Reason.WRONG_TYPE}


@pytest.mark.parametrize(
    "keys", [pa.array([3, None]), pa.array([b"3", None]), pa.array(["3", None], pa.large_string())], ids=str
)
def test_keys_become_text_and_a_null_the_row_number(tmp_path: Path, keys: pa.Array) -> None:
    shard = written(tmp_path / "a.parquet", pa.table({"image": [b"0", b"1"], "id": keys}))
    columns = READER.settle(shard, ColumnSelection(image="image"))
    assert [row[1] for row in rows_of(batches(shard, columns))] == ["3", "1"]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (ColumnSelection(image="picture"), "no column 'picture'; set --image to one of: a: binary, b: binary"),
        (ColumnSelection(image="n"), "'n' is int64, not binary or struct<bytes, path>; set --image"),
        (ColumnSelection(), "2 columns are binary or struct<bytes, path> and none has a usual name"),
        (ColumnSelection(numeric=True), "0 columns are a list of numbers"),
        (ColumnSelection(image="a", key="k"), "no column 'k'; set --key"),
        (ColumnSelection(image="a", key="s"), "'s' is list<element: string>, not text; set --key"),
        (ColumnSelection(image="a", carry=("label",)), "no column 'label'; set --carry to one of"),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused_with_what_there_is(tmp_path: Path, request_: ColumnSelection, says: str) -> None:
    shard = written(tmp_path / "a.parquet", pa.table({"a": [b"1"], "b": [b"2"], "n": [3], "s": [["x"]]}))
    with pytest.raises(InputError) as caught:
        READER.settle(shard, request_)
    assert says in str(caught.value)
    assert "a.parquet" in str(caught.value)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (pa.table({"image": ["text"], "label": [1]}), "column 'image' is string, not binary"),
        (pa.table({"image": [{"bytes": b"x"}], "label": [1]}), "'image' has no child 'path' as in the first shard"),
        (pa.table({"label": [1]}), "not one column 'image' as in the first shard; there are: label: int64"),
        (image_table(1).drop(["label"]), "not one column 'label' as in the first shard; there are: image: struct"),
        (image_table(1).set_column(1, "label", [["1"]]), "'label' is string, and int64 in the first shard"),
    ],
    ids=["type", "no path", "no image", "no label", "label"],
)
def test_a_shard_with_another_schema_is_named(tmp_path: Path, other: pa.Table, says: str) -> None:
    columns = READER.settle(written(tmp_path / "a.parquet", image_table(3)), ColumnSelection())
    with pytest.raises(ShardError) as caught:
        batches(written(tmp_path / "b.parquet", other), columns)
    assert str(caught.value).startswith("b.parquet: ")
    assert says in str(caught.value)


def test_images_that_are_called_after_their_formats_are_refused_until_one_is_chosen(tmp_path: Path) -> None:
    """As of a WebDataset that was made into Parquet: a photograph and its mask."""
    shard = written(tmp_path / "a.parquet", pa.table({"png": [b"mask"], "jpg": [b"photo"], "__key__": ["k"]}))
    with pytest.raises(InputError, match=r"a\.parquet: there are several images, jpg and png; choose one with --image"):
        READER.settle(shard, ColumnSelection())
    assert READER.settle(shard, ColumnSelection(image="png")).image == "png"
    both = written(tmp_path / "b.parquet", pa.table({"png": [b"mask"], "image": [b"photo"], "jpg": [b"thumbnail"]}))
    assert READER.settle(both, ColumnSelection()).image == "image"
