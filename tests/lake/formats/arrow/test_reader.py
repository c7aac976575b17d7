"""Arrow streams and files, written by PyArrow, Polars, pandas and Hugging Face, and read as Parquet is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lake.core.errors import InputError, ShardError
from lake.core.records import Reason, Unit
from lake.formats.reader import ColumnSelection
from lake.images.decoder import Decoder
from lake.images.types import Target
from lake.inputs.columns import settle
from lake.inputs.discover import find_shards
from tests.lake.formats.arrow.streams import KINDS, PACKINGS, READER, batches, read, settled, stream
from tests.lake.formats.parquet import tables
from tests.lake.formats.parquet.tables import STRUCT, expected, faults_of, image_table, rows_of

Write = Callable[..., bytes]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("write", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_rows_are_those_of_the_table(tmp_path: Path, write: Write, packing: str | None, size: int) -> None:
    table = image_table(30)
    parts = read(tmp_path / "a.arrow", write(table, packing=packing), size)
    assert rows_of(parts) == expected(table)
    assert [len(part) for part in parts[:-1]] == [min(size, 30)] * (len(parts) - 1)
    assert faults_of(parts) == {}


def test_batches_end_where_they_are_full(tmp_path: Path) -> None:
    table = pa.table({"image": [bytes(10)] * 3 + [bytes(100)] + [bytes(10)] * 3})
    shard, columns = settled(tmp_path / "a.arrow", stream(table, 7))
    assert [len(part) for part in batches(shard, columns, 100, room=100)] == [4, 3]


COLUMNS: dict[str, Callable[[], pa.Array]] = {
    "binary": lambda: pa.array([b"a", None, b"", b"ddd"]),
    "large": lambda: pa.array([b"a", None, b"", b"ddd"], pa.large_binary()),
    "view": lambda: pa.array([b"a", None, b"", b"d" * 40], pa.binary_view()),
    "dictionary": lambda: pa.array([b"a", None, b"ddd", b"a"]).dictionary_encode(),
    "struct": lambda: pa.array([{"bytes": b"a", "path": "x"}, {"bytes": b"", "path": None}, None], STRUCT),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_images_and_labels_of_any_layout_are_as_in_parquet(tmp_path: Path, name: str) -> None:
    image = COLUMNS[name]()
    labels = pa.array(["cat", "dog", None, "cat"][: len(image)]).dictionary_encode()
    table = pa.table({"image": image, "label": labels, "n_label": range(len(image))})
    found = read(tmp_path / "a.arrow", stream(table.slice(1), 2))
    shard = tables.written(tmp_path / "a.parquet", table.slice(1))
    truth = tables.batches(shard, tables.READER.settle(shard, ColumnSelection()))
    assert rows_of(found) == rows_of(truth)
    assert faults_of(found) == faults_of(truth)
    assert {key: column.type for key, column in found[0].carried.items()} == {
        "label": pa.string(),
        "n_label": pa.int64(),
    }


def test_dictionaries_that_grow_or_change(tmp_path: Path) -> None:
    schema = pa.schema({"image": pa.binary(), "label": pa.dictionary(pa.int32(), pa.string())})
    for deltas in (True, False):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(emit_dictionary_deltas=deltas)) as writer:
            for words in (["a"], ["a", "b"], ["c"]):
                label = pa.DictionaryArray.from_arrays(pa.array([len(words) - 1], pa.int32()), pa.array(words))
                writer.write_batch(pa.record_batch([pa.array([b"x"]), label], schema=schema))
        parts = read(tmp_path / "a.arrow", sink.getvalue().to_pybytes())
        assert [label for part in parts for label in part.carried["label"].to_pylist()] == ["a", "b", "c"]


def test_vectors(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).random((9, 5), np.float32)
    for column in (
        pa.array(vectors.tolist(), pa.list_(pa.float32())),
        pa.FixedSizeListArray.from_arrays(vectors.ravel(), 5),
    ):
        parts = read(tmp_path / "a.arrow", stream(pa.table({"x": column})), numeric=True, length=5)
        np.testing.assert_array_equal(np.concatenate([part.payload for part in parts]), vectors)


def test_columns_of_pixels(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 2, 3, 1), np.uint8)
    columns = {f"pixel{at}": images.reshape(9, 6)[:, at] for at in range(6)}
    parts = read(tmp_path / "a.arrow", stream(pa.table({"label": range(9)} | columns)), shape=(2, 3, 1))
    found = [group.pixels for part in parts for group in Decoder(Target(shape=(2, 3, 1))).decode(part).groups]
    np.testing.assert_array_equal(np.concatenate(found), images)


@pytest.mark.filterwarnings("ignore")  # of Hugging Face, while it is imported
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_what_hugging_face_saves_to_disk(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Read where ``datasets`` is imported, whose types Arrow then knows."""
    from datasets import Array2D, Array3D, ClassLabel, Dataset, Features, load_from_disk

    kind = Array2D if len(shape) == 2 else Array3D
    features = Features({"image": kind(shape, "uint8"), "label": ClassLabel(names=["a", "b"])})
    images = np.random.default_rng(0).integers(0, 256, (30, *shape), np.uint8)
    rows = {"image": images.tolist(), "label": [at % 2 for at in range(30)]}
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "in", num_shards=2)
    found = find_shards([str(tmp_path / "in")])
    assert (found.format, [shard.path for shard in found.shards]) == (
        "arrow",
        ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"],
    )
    columns = settle(found, ColumnSelection())
    truth = load_from_disk(str(tmp_path / "in")).with_format("numpy")
    parts = [part for shard in found.shards for part in batches(shard, columns, 8)]
    target = Target(shape=(*shape, 1)[:3])
    pixels = [group.pixels for part in parts for group in Decoder(target).decode(part).groups]
    np.testing.assert_array_equal(np.concatenate(pixels).reshape(30, *shape), truth["image"])
    labels = [label for part in parts for label in part.carried["label"].to_pylist()]
    assert labels == list(truth["label"])


@pytest.mark.filterwarnings("ignore")
def test_what_others_write(tmp_path: Path) -> None:
    import pandas as pd
    import polars as pl

    rows = {"image": [b"a", b"bb", None], "label": ["x", None, "z"]}
    pd.DataFrame(rows).to_feather(tmp_path / "pandas.feather")
    pl.DataFrame(rows).write_ipc(tmp_path / "polars.ipc", compression="zstd")
    pl.DataFrame(rows).write_ipc_stream(tmp_path / "polars.arrows")
    for name in ("pandas.feather", "polars.ipc", "polars.arrows"):
        parts = read(tmp_path / name, (tmp_path / name).read_bytes())
        assert rows_of(parts) == [(0, "0", b"a", "x"), (1, "1", b"bb", None), (2, "2", None, "z")], name


def test_shards_of_several_writers_are_one_dataset(tmp_path: Path) -> None:
    kinds = (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()))
    for number, kind in enumerate(kinds):
        table = pa.table({"image": [b"x"], "n_label": pa.array([1], [pa.int32(), pa.int64(), pa.int8()][number])})
        table = table.append_column("label", pa.array(["a"]).cast(kind))
        (tmp_path / f"{number}.arrow").write_bytes(stream(table))
    found = find_shards([str(tmp_path)])
    columns = settle(found, ColumnSelection())
    assert columns.carry == pa.schema({"n_label": pa.int64(), "label": pa.string()})
    assert [rows_of(batches(shard, columns)) for shard in found.shards] == [[(0, "0", b"x", 1, "a")]] * 3


def test_text_that_is_not_utf8_costs_its_record(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"caf\xe9", b"fine"])
    text = pa.StringArray.from_buffers(3, *raw.buffers()[1:])
    parts = read(tmp_path / "a.arrow", stream(pa.table({"image": [b"x"] * 3, "label": text})))
    assert {at: fault.reason for at, fault in faults_of(parts).items()} == {1: Reason.WRONG_TYPE}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"text": ["a"]}, "0 columns are binary or struct"),
        ({"jpg": [b"a"], "png": [b"b"]}, "choose one with --image"),
        ({"image": [b"a"], "label": pa.array([(1, 2, 3)], pa.month_day_nano_interval())}, "which tables cannot hold"),
    ],
    ids=["no image", "several", "label"],
)
def test_what_is_refused_at_launch(tmp_path: Path, table: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        settled(tmp_path / "a.arrow", stream(pa.table(table)))


def test_another_schema_later(tmp_path: Path) -> None:
    _, columns = settled(tmp_path / "a.arrow", stream(image_table(3)))
    (tmp_path / "b.arrow").write_bytes(stream(pa.table({"image": ["text"], "label": [1]})))
    (shard,) = find_shards([str(tmp_path / "b.arrow")]).shards
    with pytest.raises(ShardError, match="column 'image' is string"):
        batches(shard, columns)


def test_a_format_is_told_by_content(tmp_path: Path) -> None:
    for number, write in enumerate(KINDS.values()):
        path = tmp_path / f"{number}"
        path.write_bytes(write(image_table(50)))
        assert find_shards([str(path)]).format == "arrow"
    wide = pa.table({"image": [b"x"]} | {f"a column with a long name {at}": [at] for at in range(500)})
    (tmp_path / "wide").write_bytes(stream(wide))
    assert find_shards([str(tmp_path / "wide")]).format == "arrow"


def test_no_rows(tmp_path: Path) -> None:
    for write in KINDS.values():
        assert read(tmp_path / "a.arrow", write(image_table(0))) == []


def test_a_shard_is_not_sliced(tmp_path: Path) -> None:
    shard, columns = settled(tmp_path / "a.arrow", stream(image_table(3)))
    assert READER.rows(shard) is None
    unit = Unit(id="u", format="arrow", shards=(shard,))
    assert sum(len(raw) for raw in READER.read(unit, columns, 2)) == 3
