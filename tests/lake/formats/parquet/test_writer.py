"""Parquet shards written again and anew, read back by pandas, polars, DuckDB, Hugging Face datasets and pyarrow."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import ShardError
from lake.core.records import OutputFile, Unit
from lake.formats import FORMATS
from lake.formats.common import parquet_table as tables
from lake.formats.reader import ColumnSelection
from lake.images.types import ImageFile
from tests.conftest import Pixels, long_forms, png, write_parquet
from tests.lake.formats.rewriting import create_in, feed, rewrite
from tests.lake.formats.support import shard_of, write
from tests.lake.formats.tfrecord.examples import example

READER = FORMATS["parquet"].reader
STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def made(index: int) -> ImageFile:
    return ImageFile(data=b"new %d" % index, suffix="png")


def again(path: Path, make: Any = made, drop: tuple[int, ...] = (), size: int = 64, **request: Any) -> OutputFile:
    """Write a shard again as ``out/<name>`` beside it."""
    shard = shard_of(path)
    columns = READER.settle(shard, ColumnSelection(whole=True, **request))
    return rewrite("parquet", shard, columns, path.parent / "out", make, drop, size)


def written(path: Path, table: pa.Table, **options: Any) -> Path:
    pq.write_table(table, path, **options)
    return path


# a column of every kind, with nulls, four values each
OTHERS: dict[str, pa.Array] = {
    "bool": pa.array([True, None, False, True]),
    "dictionary": pa.array(["cat", None, "dog", "cat"]).dictionary_encode(),
    "small_codes": pa.array(["a", "b", None, "a"]).dictionary_encode().cast(pa.dictionary(pa.uint8(), pa.string())),
    "decimal": pa.array([1, None, 3, 4]).cast(pa.decimal128(21, 2)),
    "time": pa.array([0, None, 2, 3], pa.timestamp("ns", "UTC")),
    "duration": pa.array([0, None, 2, 3], pa.duration("us")),
    "list": pa.array([[0.5], [], None, [float("inf"), -0.0]], pa.list_(pa.float32())),
    "fixed": pa.array([[1, 2], [3, 4], [5, 6], [7, 8]], pa.list_(pa.int8(), 2)),
    "words": pa.array([["x", None], [], None, ["y"]], pa.large_list(pa.string())),
    "struct": pa.array([{"a": 1, "b": [{"c": "x"}]}, None, {"a": None, "b": []}, {"a": 4, "b": None}]),
    "map": pa.array([[("k", 1)], [], None, [("a", None)]], pa.map_(pa.string(), pa.int32())),
    "half": pa.array(np.array([1.5, -2, np.inf, 0], np.float16)),
    "large_text": pa.array(["a", None, "", "é"], pa.large_string()),
    "text_view": pa.array(["a", None, "", "a text that is longer than twelve"], pa.string_view()),
    "bytes": pa.array([b"abc", None, b"\xff\xfe\x00", b"   "], pa.binary(3)),
    "nothing": pa.nulls(4),
    "not_utf8": pa.array([b"\xff", b"a", b"b", None]).view(pa.string()),
}


def other_columns(count: int) -> dict[str, pa.Array]:
    return {name: pa.concat_arrays([column] * (count // 4)) for name, column in OTHERS.items()}


def images(count: int, kind: pa.DataType) -> pa.Array:
    files = [b"old %d" % i for i in range(count)]
    if pa.types.is_struct(kind):
        return pa.array([{"bytes": f, "path": f"d/{i}.jpg", "size": i} for i, f in enumerate(files)], kind)
    plain = pa.array(files)
    return (plain.dictionary_encode() if pa.types.is_dictionary(kind) else plain).cast(kind)


IMAGES = [
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
    pa.dictionary(pa.int32(), pa.binary()),
    STRUCT,
    pa.struct({"path": pa.string(), "size": pa.int16(), "bytes": pa.large_binary()}),
]


def files_of(column: pa.ChunkedArray) -> list[bytes]:
    values = column.to_pylist()
    return [value["bytes"] if isinstance(value, dict) else value for value in values]


@pytest.mark.parametrize("size", [3, 64])
@pytest.mark.parametrize("kind", IMAGES, ids=str)
def test_every_other_column_is_what_it_was(tmp_path: Path, kind: pa.DataType, size: int) -> None:
    count, drop = 40, (0, 7, 8, 39)
    columns = other_columns(count)
    first = {name: columns.pop(name) for name in ("bool", "struct")}
    table = pa.table({**first, "image": images(count, kind), **columns})
    table = table.replace_schema_metadata({"mine": "kept", "latentlake.verb": "encode"})
    path = written(tmp_path / "a.parquet", table, row_group_size=9)
    output = again(path, drop=drop, size=size)
    before, after = pq.ParquetFile(path), pq.ParquetFile(tmp_path / "out/a.parquet", page_checksum_verification=True)
    assert after.schema_arrow.equals(before.schema_arrow)
    assert after.schema_arrow.metadata == {b"mine": b"kept", b"latentlake.unit": b"a"}
    kept = np.setdiff1d(np.arange(count), drop)
    assert (output.name, output.rows) == ("a.parquet", len(kept))
    found, expected = after.read(), before.read()
    assert files_of(found["image"]) == [b"new %d" % i for i in kept]
    for name in [*OTHERS, "image"]:
        column = pa.concat_arrays([expected[name].combine_chunks().slice(i, 1) for i in kept])
        if name != "image":
            assert found[name].combine_chunks().equals(column), name
    if pa.types.is_struct(kind):
        assert [i["path"] for i in found["image"].to_pylist()] == [f"d/{i}.jpg" for i in kept]


def test_a_dataset_of_hugging_face_stays_one(tmp_path: Path, digits: Pixels) -> None:
    import datasets

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["even", "odd"]),
            "boxes": datasets.List(datasets.Array2D((2, 2), "float32")),
            "faces": datasets.List({"x": datasets.Value("int32"), "name": datasets.Value("string")}),
        }
    )
    rows = {
        "image": list(digits[:20]),
        "label": [i % 2 for i in range(20)],
        "boxes": [[[[i, 1], [2, 3]]] * (i % 3) for i in range(20)],
        "faces": [[{"x": i, "name": f"é{i}"}] * (i % 3) for i in range(20)],
    }
    original = datasets.Dataset.from_dict(rows, features=features)
    original.to_parquet(tmp_path / "a.parquet")
    again(tmp_path / "a.parquet", lambda i: ImageFile(data=png(255 - digits[i]), suffix="png"), (4,))
    loaded = load(tmp_path / "out/a.parquet", tmp_path)
    kept = [i for i in range(20) if i != 4]
    assert loaded.features == original.features
    assert loaded.remove_columns("image")[:] == original.remove_columns("image").select(kept)[:]
    for row, i in zip(loaded, kept, strict=True):
        assert np.array_equal(np.asarray(row["image"]), 255 - digits[i])


def load(path: Path, cache: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(cache / "cache"))["train"]


def test_pandas_polars_and_duckdb_read_what_they_wrote(tmp_path: Path) -> None:
    import duckdb
    import pandas
    import polars

    count, drop = 60, (3, 59)
    kept = [i for i in range(count) if i not in drop]
    data = {"image": [b"old"] * count, "n": list(range(count)), "text": [f"é{i}" for i in range(count)]}
    frame = pandas.DataFrame(data | {"kind": ["cat", "dog"] * 30}).astype({"kind": "category"})
    frame.to_parquet(tmp_path / "pandas.parquet")
    frame.set_index("text").to_parquet(tmp_path / "index.parquet")
    nested = {"list": [[i] * (i % 3) for i in range(count)], "struct": [{"a": i, "b": None} for i in range(count)]}
    polar = polars.DataFrame(data | nested).with_columns(
        kind=polars.Series(["cat", "dog"] * 30, dtype=polars.Categorical)
    )
    polar.write_parquet(tmp_path / "polars.parquet")
    duckdb.from_arrow(pa.table(data | nested)).write_parquet(str(tmp_path / "duckdb.parquet"))
    new = [b"new %d" % i for i in kept]
    for name, index in (("pandas", None), ("index", "text")):
        assert again(tmp_path / f"{name}.parquet", drop=drop).rows == len(kept)
        wanted = (frame if index is None else frame.set_index(index)).iloc[kept].assign(image=new)
        found = pandas.read_parquet(tmp_path / f"out/{name}.parquet")
        pandas.testing.assert_frame_equal(found, wanted if index else wanted.reset_index(drop=True))
    again(tmp_path / "polars.parquet", drop=drop)
    wanted = polar[kept].with_columns(image=polars.Series(new, dtype=polars.Binary))
    assert polars.read_parquet(tmp_path / "out/polars.parquet").equals(wanted)
    again(tmp_path / "duckdb.parquet", drop=drop)
    columns = "n, text, list, struct"
    before, after = (
        duckdb.sql(f"select {columns} from '{root}/duckdb.parquet' order by n").fetchall()
        for root in (tmp_path, tmp_path / "out")
    )
    assert after == [before[i] for i in kept]
    read = duckdb.sql(f"select image from '{tmp_path}/out/duckdb.parquet'").fetchall()
    assert [bytes(row[0]) for row in read] == new


def test_vectors_give_their_place_to_images(tmp_path: Path, digits: Pixels) -> None:
    vectors = pa.array([[float(i), 1.0] for i in range(9)], pa.list_(pa.float32(), 2))
    said = {"info": {"features": {"x": {"_type": "List"}, "label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}
    table = pa.table({"key": [f"k{i}" for i in range(9)], "x": vectors, "label": [i % 2 for i in range(9)]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(said)})
    path = written(tmp_path / "a.parquet", table)
    again(path, lambda i: ImageFile(data=png(digits[i]), suffix="png"), (8,), numeric=True)
    loaded = load(tmp_path / "out/a.parquet", tmp_path)
    assert loaded.column_names == ["key", "image", "label"]
    assert loaded.features["label"].names == ["a", "b"]
    for i, row in enumerate(loaded):
        assert (row["key"], row["label"]) == (f"k{i}", i % 2)
        assert np.array_equal(np.asarray(row["image"]), digits[i])
    assert [row["path"] for row in pq.read_table(tmp_path / "out/a.parquet")["image"].to_pylist()] == [
        f"k{i}" for i in range(8)
    ]


@pytest.mark.parametrize("said", [None, "no json", "[]", '{"info": null}', '{"info": {"features": null}}'])
def test_a_taken_name_is_left_and_what_datasets_cannot_read_is_replaced(tmp_path: Path, said: str | None) -> None:
    table = pa.table({"image_1": [1], "x": [[0.5]], "image": ["text"]})
    table = table.replace_schema_metadata(None if said is None else {"huggingface": said})
    again(written(tmp_path / "a.parquet", table), numeric=True)
    found = pq.read_table(tmp_path / "out/a.parquet")
    assert found.to_pylist() == [{"image_1": 1, "image_2": {"bytes": b"new 0", "path": "0"}, "image": "text"}]
    assert json.loads(found.schema.metadata[b"huggingface"]) == {"info": {"features": {"image_2": {"_type": "Image"}}}}


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tables, "_ROW_GROUP_BYTES", 40_000)
    yield


@pytest.mark.parametrize("group", [50, *long_forms(1000)])
@pytest.mark.slow
def test_bytes_do_not_tell_where_batches_ended(tmp_path: Path, small_groups: None, group: int) -> None:
    count = 1000
    table = pa.table({"image": images(count, STRUCT), **other_columns(count)})
    path, found = written(tmp_path / "a.parquet", table, row_group_size=group), set()
    for size in (1, 7, 300):
        again(path, lambda i: ImageFile(data=bytes([i % 256]) * (i % 90), suffix="png"), (1, 2, 500), size)
        found.add((tmp_path / "out/a.parquet").read_bytes())
    footer = pq.read_metadata(tmp_path / "out/a.parquet")
    assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [256, 256, 256, 229]
    assert len(found) == 1


def test_large_images_make_small_row_groups(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", pa.table({"image": [b"x"] * 30, "n": range(30)}))
    again(path, lambda i: ImageFile(data=bytes([i]) * (3 << 20), suffix="png"))
    footer = pq.read_metadata(tmp_path / "out/a.parquet")
    assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [6] * 5
    for i, batch in enumerate(pq.ParquetFile(tmp_path / "out/a.parquet").iter_batches(1)):
        assert batch.to_pylist() == [{"image": bytes([i]) * (3 << 20), "n": i}]


@pytest.mark.parametrize("rows", [0, 3])
def test_a_shard_without_results_keeps_its_columns(tmp_path: Path, rows: int) -> None:
    table = pa.table({"image": images(4, STRUCT), **OTHERS}).slice(0, rows)
    path = written(tmp_path / "a.parquet", table)
    assert again(path, drop=(0, 1, 2)).rows == 0
    found = pq.read_table(tmp_path / "out/a.parquet")
    assert found.num_rows == 0
    assert found.schema.equals(pq.read_schema(path))


def test_a_shard_without_rows_and_with_vectors(tmp_path: Path) -> None:
    table = pa.table({"x": pa.array([], pa.list_(pa.float32(), 2)), "n": pa.array([], pa.int64())})
    again(written(tmp_path / "a.parquet", table), numeric=True, length=2)
    assert pq.read_schema(tmp_path / "out/a.parquet").equals(pa.schema({"image": STRUCT, "n": pa.int64()}))


def test_shards_of_a_job_may_have_other_columns_each(tmp_path: Path) -> None:
    columns = READER.settle(
        shard_of(written(tmp_path / "a.parquet", pa.table({"image": [b"x"]}))), ColumnSelection(whole=True)
    )
    path = written(tmp_path / "b.parquet", pa.table({"more": [1, 2], "image": images(2, STRUCT)}))
    rewrite("parquet", shard_of(path), columns, tmp_path / "out", made)
    assert [list(row) for row in pq.read_table(tmp_path / "out/b.parquet").to_pylist()] == [["more", "image"]] * 2


@pytest.mark.parametrize("rows", [10, 600])
def test_an_aborted_file_leaves_nothing(tmp_path: Path, small_groups: None, rows: int) -> None:
    shard = shard_of(written(tmp_path / "a.parquet", pa.table({"image": images(rows, STRUCT)})))
    columns = READER.settle(shard, ColumnSelection(whole=True))
    unit = Unit(id="a", format="parquet", shards=(shard,))
    format = FORMATS["parquet"].writer(columns, True, lambda unit: {})
    writer = format.begin(unit, create_in(tmp_path / "out"))
    writer.abort()
    feed(writer, format, unit, columns, made)
    (part,) = (tmp_path / "out").iterdir()
    assert part.name.startswith(".latentlake-")
    with pytest.raises(pa.ArrowInvalid):
        pq.read_metadata(part)
    writer.abort()
    del writer
    assert list((tmp_path / "out").iterdir()) == []


def test_a_shard_that_is_gone_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    shard = shard_of(written(tmp_path / "a.parquet", pa.table({"image": [b"x"]})))
    format = FORMATS["parquet"].writer(READER.settle(shard, ColumnSelection(whole=True)), True, lambda unit: {})
    writer = format.begin(Unit(id="a", format="parquet", shards=(shard,)), create_in(tmp_path / "out"))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(ShardError, match=r"a\.parquet: "):
        writer.publish()
    assert not (tmp_path / "out").exists()


def test_anew(tmp_path: Path, digits: Pixels) -> None:
    records = [example(**{"image": b"i", "key": b"../%d" % i, "label": i, "image/text": b"t"}) for i in range(30)]
    shard = write(tmp_path / "a.tfrecord", records)
    columns = FORMATS["tfrecord"].reader.settle(
        shard, ColumnSelection(image="image", carry=("label", "image", "image/text"))
    )
    output = rewrite(
        "tfrecord", shard, columns, tmp_path / "out",
        lambda i: ImageFile(data=png(digits[i]), suffix="png"), (3,), 8, to="parquet",
    )  # fmt: skip
    assert (output.name, output.rows) == ("a.parquet", 29)
    kept = [i for i in range(30) if i != 3]
    found = pq.read_table(tmp_path / "out/a.parquet", page_checksum_verification=True)
    assert found.schema.metadata[b"latentlake.unit"] == b"a"
    assert found.schema.field("shard").type == pa.dictionary(pa.int32(), pa.string())
    assert found.drop(["image"]).to_pylist() == [
        {"key": f"../{i}", "shard": "a.tfrecord", "index": i, "label": i, "source_image": "i", "image/text": "t"}
        for i in kept
    ]
    loaded = load(tmp_path / "out/a.parquet", tmp_path)
    for row, i in zip(loaded, kept, strict=True):
        assert (row["key"], row["shard"], row["index"], row["label"]) == (f"../{i}", "a.tfrecord", i, i)
        assert np.array_equal(np.asarray(row["image"]), digits[i])


def test_anew_without_records(tmp_path: Path) -> None:
    some = write(tmp_path / "a.tfrecord", [example(image=b"i", label=1)])
    columns = FORMATS["tfrecord"].reader.settle(some, ColumnSelection())
    (tmp_path / "b.tfrecord").write_bytes(b"")
    empty = shard_of(tmp_path / "b.tfrecord")
    rewrite("tfrecord", empty, columns, tmp_path / "out", made, to="parquet")
    found = pq.read_table(tmp_path / "out/b.parquet")
    assert (found.num_rows, found.column_names) == (0, ["key", "shard", "index", "image", "label"])


def test_a_bad_image_costs_its_row(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [b"a", None, b"b"], [0, 1, 2])
    assert again(tmp_path / "a.parquet").rows == 2
    found = pq.read_table(tmp_path / "out/a.parquet").to_pylist()
    assert [(row["label"], row["image"]["path"]) for row in found] == [(0, "00000.png"), (2, "00002.png")]
