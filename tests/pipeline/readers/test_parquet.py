"""Parquet shards written by pyarrow, pandas, polars, DuckDB and Hugging Face datasets, read back and compared."""

import datetime
import io
import random
import tracemalloc
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError, ShardError, UnreadableError
from pipeline.readers import Request, reader_for
from pipeline.readers.base import BATCH_BYTES, Columns
from pipeline.records import Fault, Reason, Records, Shard, Unit
from tests.pipeline.readers.support import identity_of

READER = reader_for("parquet")
STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def shard_of(path: Path) -> Shard:
    return Shard(uri=str(path), path=path.name, size=path.stat().st_size, identity=identity_of(path))


def written(path: Path, table: pa.Table, **options: Any) -> Shard:
    pq.write_table(table, path, write_page_checksum=True, **options)
    return shard_of(path)


def batches(
    shard: Shard, columns: Columns, size: int = 4, start: int = 0, stop: int | None = None, room: int = BATCH_BYTES
) -> list[Records]:
    unit = Unit(id="u", format="parquet", shards=(shard,), start=start, stop=stop)
    return [raw.records() for raw in READER.read(unit, columns, size, room)]


def rows_of(parts: Sequence[Records]) -> list[tuple[Any, ...]]:
    """Index, key, payload and carried values of each record."""
    rows = []
    for part in parts:
        payload = part.payload.tolist() if isinstance(part.payload, np.ndarray) else part.payload.to_pylist()
        carried = [column.to_pylist() for column in part.carried.values()]
        rows += zip(part.index.tolist(), part.key.to_pylist(), payload, *carried, strict=True)
    return rows


def faults_of(parts: Sequence[Records]) -> dict[int, Fault]:
    return {int(part.index[at]): fault for part in parts for at, fault in part.faults.items()}


def files(count: int, seed: int = 0) -> list[bytes]:
    dice = random.Random(seed)
    return [dice.randbytes(dice.randrange(1, 60)) for _ in range(count)]


def image_table(count: int) -> pa.Table:
    images = [{"bytes": data, "path": f"d/{at}.png"} for at, data in enumerate(files(count))]
    return pa.table({"image": pa.array(images, STRUCT), "label": pa.array([at % 10 for at in range(count)])})


def expected(table: pa.Table) -> list[tuple[Any, ...]]:
    return [(at, row["image"]["path"], row["image"]["bytes"], row["label"]) for at, row in enumerate(table.to_pylist())]


@pytest.mark.parametrize("group", [1, 7, 100, 10_000])
@pytest.mark.parametrize("size", [1, 7, 64, 256, 1000])
def test_batches_have_the_asked_size_and_every_row_in_order(tmp_path: Path, group: int, size: int) -> None:
    table = image_table(500)
    shard = written(tmp_path / "a.parquet", table, row_group_size=group)
    parts = batches(shard, READER.settle(shard, Request()), size)
    assert [len(part) for part in parts] == [min(size, 500 - at) for at in range(0, 500, size)]
    assert rows_of(parts) == expected(table)
    assert not faults_of(parts)


@pytest.mark.parametrize("group", [1, 7, 100])
def test_a_batch_ends_with_the_record_that_fills_its_room(tmp_path: Path, group: int) -> None:
    sizes = [10, 10, 95, 300, 0, 40, 40, 40, 1, 1, 1, 1, 1, 1, 100]
    table = pa.table({"image": [bytes([at]) * size for at, size in enumerate(sizes)]})
    shard = written(tmp_path / "a.parquet", table, row_group_size=group)
    parts = batches(shard, READER.settle(shard, Request(carry=())), 5, room=100)
    assert [len(part) for part in parts] == [3, 1, 4, 5, 2]
    assert [row[2] for row in rows_of(parts)] == [bytes([at]) * size for at, size in enumerate(sizes)]


def test_what_whole_records_keep_counts_for_room(tmp_path: Path) -> None:
    table = pa.table({"image": [b"x"] * 8, "wide": [bytes(1000)] * 8})
    shard = written(tmp_path / "a.parquet", table, use_dictionary=False)
    for whole, expected in ((False, [8]), (True, [3, 3, 2])):
        columns = READER.settle(shard, Request(whole=whole))
        assert [len(part) for part in batches(shard, columns, 8, room=3000)] == expected


def test_no_more_is_read_at_once_than_fits(tmp_path: Path) -> None:
    """Arrow's pool holds a batch of 1 MiB and the parts of the next, not 64 rows of 256 KiB."""
    table = pa.table({"image": [bytes([at]) * (1 << 18) for at in range(64)]})
    shard = written(tmp_path / "a.parquet", table, compression="none", use_dictionary=False, write_batch_size=4)
    del table
    columns, before, peak = READER.settle(shard, Request()), pa.total_allocated_bytes(), 0
    for part in READER.read(Unit(id="u", format="parquet", shards=(shard,)), columns, 64, 1 << 20):
        peak = max(peak, pa.total_allocated_bytes() - before)
        assert len(part) == 4
    assert peak < 6 << 20


def test_whole_records_have_every_column(tmp_path: Path) -> None:
    table = pa.table(
        {
            "word": pa.array(["a", None, "b", "a"] * 5).dictionary_encode(),
            "image": pa.array([{"path": f"{at}", "bytes": b"x", "more": [at]} for at in range(20)]),
            "nested": pa.array([[{"a": at}] * (at % 3) for at in range(20)]),
        }
    ).replace_schema_metadata({"huggingface": "{}"})
    shard = written(tmp_path / "a.parquet", table, row_group_size=6)
    columns = READER.settle(shard, Request(whole=True))
    sources = [part.source for part in batches(shard, columns, 7)]
    assert [len(source) for source in sources] == [7, 7, 6]
    found = pa.Table.from_batches(sources)
    assert found.schema.equals(pq.read_schema(tmp_path / "a.parquet"), check_metadata=True)
    without = [row | {"image": row["image"] | {"bytes": None}} for row in table.to_pylist()]
    assert found.to_pylist() == without
    assert all(part.source is None for part in batches(shard, READER.settle(shard, Request())))


def test_slices_between_row_groups_make_the_whole(tmp_path: Path) -> None:
    table = image_table(100)
    shard = written(tmp_path / "a.parquet", table, row_group_size=30)
    columns = READER.settle(shard, Request())
    assert READER.rows(shard) == (30, 30, 30, 10)
    edges = [0, *accumulate((30, 30, 30, 10))]
    parts = [part for a, b in pairwise(edges) for part in batches(shard, columns, 8, a, b)]
    assert rows_of(parts) == expected(table)
    assert rows_of(batches(shard, columns, 8, 30, 90)) == expected(table)[30:90]
    with pytest.raises(UnreadableError, match="no row groups at rows 30 to 80"):
        batches(shard, columns, 8, 30, 80)


def test_datasets_writes_what_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    pixels = [np.full((4, 5, 3), at, np.uint8) for at in range(20)]
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = {"img": pixels, "label": [at % 2 for at in range(20)]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    shard = shard_of(tmp_path / "a.parquet")
    read = rows_of(batches(shard, READER.settle(shard, Request())))
    image = pytest.importorskip("PIL.Image")
    for at, (index, key, data, label) in enumerate(read):
        assert (index, key, label) == (at, str(at), at % 2)  # an array has no path
        assert np.array_equal(np.asarray(image.open(io.BytesIO(data))), pixels[at])
    assert len(read) == 20


def test_pandas_polars_and_duckdb_write_what_is_read(tmp_path: Path) -> None:
    pandas, polars, duckdb = (pytest.importorskip(name) for name in ("pandas", "polars", "duckdb"))
    data, names = files(50), [f"é{at}" for at in range(50)]
    columns = {"filename": names, "content": data, "label": list(range(50))}
    pandas.DataFrame(columns).astype({"label": "category"}).to_parquet(tmp_path / "pandas.parquet")
    polars.DataFrame(columns).write_parquet(tmp_path / "polars.parquet")
    duckdb.from_arrow(pa.table(columns)).write_parquet(str(tmp_path / "duckdb.parquet"))
    for path in sorted(tmp_path.iterdir()):
        shard = shard_of(path)
        assert rows_of(batches(shard, READER.settle(shard, Request()))) == list(
            zip(range(50), names, data, range(50), strict=True)
        )


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
    parts = batches(shard, READER.settle(shard, Request()), 7)
    assert [row[:3] for row in rows_of(parts)] == [(at, str(at), value) for at, value in enumerate(data)]
    assert all(part.payload.type == pa.binary() for part in parts)
    assert {at: fault.reason for at, fault in faults_of(parts).items()} == {40: Reason.MISSING_IMAGE}


def test_a_null_struct_and_null_bytes_are_missing_images(tmp_path: Path) -> None:
    images = [{"bytes": b"x", "path": "a"}, None, {"bytes": None, "path": "c"}, {"bytes": b"y", "path": None}]
    shard = written(tmp_path / "a.parquet", pa.table({"image": pa.array(images, STRUCT)}))
    parts = batches(shard, READER.settle(shard, Request()), 3)
    assert rows_of(parts) == [(0, "a", b"x"), (1, "1", None), (2, "c", None), (3, "3", b"y")]
    assert {at: fault.reason for at, fault in faults_of(parts).items()} == dict.fromkeys([1, 2], Reason.MISSING_IMAGE)


def test_an_image_over_the_limit_is_one_fault(tmp_path: Path) -> None:
    data = [b"a" * 10, b"b" * 101, None, b"c" * 100]
    shard = written(tmp_path / "a.parquet", pa.table({"image": data}))
    found = faults_of(batches(shard, READER.settle(shard, Request(max_record_bytes=100)), 4))
    assert {at: fault.reason for at, fault in found.items()} == {1: Reason.RECORD_TOO_LARGE, 2: Reason.MISSING_IMAGE}
    assert found[1].detail == "101 bytes; the most is 100"


def test_default_names_are_chosen_in_the_documented_order(tmp_path: Path) -> None:
    table = pa.table(
        {"mask": [b"m"], "img": [b"i"], "id": [7], "filename": ["f"], "cls": [1], "fine_label": [2], "note": ["n"]}
    )
    shard = written(tmp_path / "a.parquet", table)
    assert READER.settle(shard, Request()) == Columns(
        image="img",
        key="filename",
        carry=pa.schema({"cls": pa.int64(), "fine_label": pa.int64()}),
        numeric=False,
        max_record_bytes=256 << 20,
    )
    asked = READER.settle(shard, Request(image="mask", key="id", carry=("note",)))
    assert rows_of(batches(shard, asked)) == [(0, "7", b"m", "n")]
    assert READER.settle(shard, Request(carry=())).carry == pa.schema([])


def test_the_only_column_that_fits_needs_no_name(tmp_path: Path) -> None:
    shard = written(tmp_path / "a.parquet", pa.table({"thumb": [b"t"], "n": [1]}))
    assert READER.settle(shard, Request()).image == "thumb"


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
    columns = READER.settle(shard, Request(carry=(name,)))
    parts = batches(shard, columns, 3)
    assert columns.carry == pa.schema({name: kind})
    assert parts[0].carried[name].type == kind
    assert [row[3] for row in rows_of(parts)] == values


def test_dictionary_columns_are_carried_as_their_values(tmp_path: Path) -> None:
    words = ["cat", "dog", None, "cat", "eel"] * 10
    table = pa.table({"image": [b"x"] * 50, "label": pa.array(words).dictionary_encode()})
    shard = written(tmp_path / "a.parquet", table, row_group_size=7)
    parts = batches(shard, READER.settle(shard, Request()), 11)
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
    parts = batches(shard, READER.settle(shard, Request()), 2)
    assert rows_of(parts) == [(0, "a", b"0", None), (1, "\\xff", b"1", "b"), (2, "é", b"2", "c")]
    assert {at: fault.reason for at, fault in faults_of(parts).items()} == {0: Reason.WRONG_TYPE}


@pytest.mark.parametrize(
    "keys", [pa.array([3, None]), pa.array([b"3", None]), pa.array(["3", None], pa.large_string())], ids=str
)
def test_keys_become_text_and_a_null_the_row_number(tmp_path: Path, keys: pa.Array) -> None:
    shard = written(tmp_path / "a.parquet", pa.table({"image": [b"0", b"1"], "id": keys}))
    columns = READER.settle(shard, Request(image="image"))
    assert [row[1] for row in rows_of(batches(shard, columns))] == ["3", "1"]


# ---- vectors

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
    columns = READER.settle(shard, Request(numeric=True))
    parts = batches(shard, columns, size)
    assert columns.length == 3
    assert all(part.payload.dtype == np.float32 for part in parts)
    assert rows_of(parts) == [(at, str(at), row, "abcd"[at]) for at, row in enumerate(VECTORS)]


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint8(), pa.float16(), pa.float64()], ids=str)
def test_bad_vectors_are_faults_and_null_numbers_are_nan(tmp_path: Path, kind: pa.DataType) -> None:
    vectors = [[1, 2], None, [3], [4, None], [], [5, 6, 7], [8, 9]]
    shard = written(tmp_path / "a.parquet", pa.table({"x": pa.array(vectors, pa.list_(kind))}))
    parts = batches(shard, READER.settle(shard, Request(numeric=True, length=2)), 3)
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
    parts = batches(shard, READER.settle(shard, Request(numeric=True, length=2, salvage=salvage)), 3)
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
    (part,) = batches(shard, READER.settle(shard, Request(carry=carry, key="label")))
    assert part.payload.to_pylist() == [b"0", None, b"2"]
    assert [part.carried[name].to_pylist() for name in carry] == [table[name].to_pylist() for name in carry]
    kinds = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in table.select(carry).schema.types]
    assert [part.carried[name].type for name in carry] == kinds
    (part,) = batches(shard, READER.settle(shard, Request(whole=True)))
    assert part.source.select(carry).equals(table.select(carry).to_batches()[0])


def test_a_number_beyond_float32_is_infinite(tmp_path: Path) -> None:
    shard = written(tmp_path / "a.parquet", pa.table({"x": [[1e300, -1e300]]}))
    (part,) = batches(shard, READER.settle(shard, Request(numeric=True)))
    np.testing.assert_array_equal(part.payload, [[np.inf, -np.inf]])


# ---- refusals


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request(image="picture"), "no column 'picture'; set --image to one of: a: binary, b: binary"),
        (Request(image="n"), "'n' is int64, not binary or struct<bytes, path>; set --image"),
        (Request(), "2 columns are binary or struct<bytes, path> and none has a usual name"),
        (Request(numeric=True), "0 columns are a list of numbers"),
        (Request(image="a", key="k"), "no column 'k'; set --key"),
        (Request(image="a", key="s"), "'s' is list<element: string>, not text; set --key"),
        (Request(image="a", carry=("label",)), "no column 'label'; set --carry to one of"),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused_with_what_there_is(tmp_path: Path, request_: Request, says: str) -> None:
    shard = written(tmp_path / "a.parquet", pa.table({"a": [b"1"], "b": [b"2"], "n": [3], "s": [["x"]]}))
    with pytest.raises(InputError) as caught:
        READER.settle(shard, request_)
    assert says in str(caught.value)
    assert "a.parquet" in str(caught.value)


def test_fixed_vectors_of_another_length_than_the_models_are_refused(tmp_path: Path) -> None:
    shard = written(tmp_path / "a.parquet", pa.table({"x": pa.array(VECTORS, pa.list_(pa.float32(), 3))}))
    with pytest.raises(InputError, match="keeps vectors of 3 numbers and the model takes 4"):
        READER.settle(shard, Request(numeric=True, length=4))


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
    columns = READER.settle(written(tmp_path / "a.parquet", image_table(3)), Request())
    with pytest.raises(ShardError) as caught:
        batches(written(tmp_path / "b.parquet", other), columns)
    assert str(caught.value).startswith("b.parquet: ")
    assert says in str(caught.value)


def test_a_shard_that_is_gone_is_named(tmp_path: Path) -> None:
    shard = written(tmp_path / "a.parquet", image_table(3))
    columns = READER.settle(shard, Request())
    (tmp_path / "a.parquet").unlink()
    for attempt in (READER.rows, lambda gone: READER.settle(gone, Request()), lambda gone: batches(gone, columns)):
        with pytest.raises(ShardError, match=r"a\.parquet: "):
            attempt(shard)


def test_shards_without_rows_give_nothing(tmp_path: Path) -> None:
    shard = written(tmp_path / "a.parquet", image_table(5).slice(0, 0))
    assert batches(shard, READER.settle(shard, Request())) == []


# ---- damage


def outcome(shard: Shard, columns: Columns) -> list[tuple[Any, ...]] | None:
    """What is read, or None where the damage is reported."""
    try:
        return rows_of(batches(shard, columns, 16))
    except ShardError as error:
        assert str(error).startswith(shard.path)
        return None


def test_truncation_anywhere_is_reported(tmp_path: Path) -> None:
    shard = written(tmp_path / "a.parquet", image_table(40), row_group_size=15)
    columns, whole = READER.settle(shard, Request()), (tmp_path / "a.parquet").read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "a.parquet").write_bytes(whole[:length])
        assert outcome(shard, columns) is None, length


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_a_flipped_bit_in_a_page_is_reported(tmp_path: Path, version: str, dictionary: bool) -> None:
    """Pages carry checksums; their headers and the footer do not, so there a flip may also change nothing."""
    table, path = image_table(40), tmp_path / "a.parquet"
    shard = written(
        path, table, compression="none", data_page_version=version, use_dictionary=dictionary, write_statistics=False
    )
    columns, whole = READER.settle(shard, Request()), path.read_bytes()
    bodies = {
        at for data in files(40) if len(data) > 20 for at in range(whole.find(data), whole.find(data) + len(data))
    }
    for at in random.Random(1).sample(sorted(bodies), 150):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        assert outcome(shard, columns) is None, at


def test_a_flipped_bit_never_changes_the_records_read(tmp_path: Path) -> None:
    table, path = image_table(40), tmp_path / "a.parquet"
    shard = written(path, table, compression="zstd")
    columns, whole = READER.settle(shard, Request()), path.read_bytes()
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        assert outcome(shard, columns) in (None, expected(table)), at


def test_row_counts_that_disagree_are_reported(tmp_path: Path) -> None:
    """The footer counts the rows of the file first, then of each column chunk, and of the row group last."""
    path = tmp_path / "a.parquet"
    shard = written(path, image_table(40))
    columns, whole = READER.settle(shard, Request()), path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    counts = [at for at in range(footer, len(whole) - 8) if whole[at - 1 : at + 1] == b"\x16\x50"]  # an i64, zigzag 40
    assert len(counts) == 5
    for at in (counts[0], counts[-1]):
        path.write_bytes(whole[:at] + b"\x30" + whole[at + 1 :])  # zigzag 24
        assert outcome(shard, columns) is None
        with pytest.raises(ShardError, match="rows in its row groups and"):
            READER.rows(shard)


def test_memory_does_not_grow_with_a_row_group(tmp_path: Path) -> None:
    """Arrow's own pool and Python's, while one group passes: a few batches and pages, whatever the group's size."""
    peaks = []
    for count in (2_000, 16_000):
        table = pa.table({"image": [bytes([at % 251]) * 2_000 + at.to_bytes(4) for at in range(count)]})
        shard = written(tmp_path / f"{count}.parquet", table, row_group_size=count, compression="none")
        del table
        peaks.append(peak_of_reading(shard))
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 8 << 20


def peak_of_reading(shard: Shard) -> int:
    columns, before, peak = READER.settle(shard, Request()), pa.total_allocated_bytes(), 0
    tracemalloc.start()
    try:
        for _ in READER.read(Unit(id="u", format="parquet", shards=(shard,)), columns, 256):
            peak = max(peak, pa.total_allocated_bytes() - before)
        return peak + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_recognises_by_name_and_magic() -> None:
    assert READER.recognises("a/B.PARQUET", b"")
    assert READER.recognises("part-0", b"PAR1\x15\x04")
    assert not READER.recognises("a.png", b"\x89PNG\r\n\x1a\n")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([b"a"]), pa.array([b"b"])], ["image", "image"])
    with pytest.raises(InputError, match="2 columns 'image'"):
        READER.settle(written(tmp_path / "a.parquet", table), Request())
