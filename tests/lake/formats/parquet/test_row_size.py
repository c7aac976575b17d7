"""Rows that are much larger than a file, by dictionaries: they are read a few at a time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lake.core.errors import ShardError
from lake.core.records import Unit
from lake.formats.parquet.footer import opened
from lake.formats.parquet.row_size import RowSizes
from lake.formats.reader import ColumnSelection
from tests.lake.formats.parquet.tables import READER, batches, faults_of, image_table, rows_of, written

LONG = bytes(1 << 16)


@pytest.mark.parametrize(
    ("column", "longest"),
    [
        (pa.array([b"a", LONG, b"bc"]), 1 << 16),
        (pa.array([None, b"ab", None]), 2),
        (pa.array([None, None, None], pa.binary()), 0),
        (pa.array(["ä", "b", "c"]), 2),
        (pa.array([{"bytes": LONG, "path": "abc"}] * 3), (1 << 16) + 3),
        (pa.array([["a", "abc"], ["abcd"], []]), 8),
        (pa.array([[("k", "value")]] * 3, pa.map_(pa.string(), pa.string())), 6),
        (pa.array([b"abc"] * 3, pa.binary(3)), 3),
        (pa.array(["abc", "a", "b"]).dictionary_encode(), 3),
        (pa.array([1, 2, 3]), 0),
    ],
    ids=str,
)
def test_the_longest_row_is_that_of_the_dictionaries(tmp_path: Path, column: pa.Array, longest: int) -> None:
    table = pa.table({"x": column, "y": ["not asked for"] * 3})
    with opened(written(tmp_path / "a.parquet", table, dictionary_pagesize_limit=1 << 20)) as file:
        assert file.row_sizes.longest(0, ["x"]) == longest
        assert file.row_sizes.longest(0, None) == longest + len("not asked for")


def test_rows_of_a_dictionary_are_decoded_a_few_at_a_time(tmp_path: Path) -> None:
    """1,000 rows of 1 MiB in a file of 50 kB; in memory is what a batch has room for, and one read of it."""
    row, room = bytes(1 << 20), 8 << 20
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), pa.array([row]))
    table = pa.table({"image": dictionary, "label": pa.array(range(1_000))})
    shard = written(tmp_path / "a.parquet", table, dictionary_pagesize_limit=2 << 20, compression="zstd")
    assert shard.size < 100_000
    columns, pool, seen = READER.settle(shard, ColumnSelection()), pa.default_memory_pool(), 0
    before = pool.bytes_allocated()
    for records in READER.read(Unit(id="u", format="parquet", shards=(shard,)), columns, 1_000, room):
        assert records.payload.nbytes < 2 * room
        assert pool.bytes_allocated() - before < 8 * room
        seen += len(records)
    assert seen == 1_000


def test_a_row_group_that_would_unpack_for_hours_is_damage(tmp_path: Path) -> None:
    """100,000 rows of 1 MiB in a file of less than a kilobyte."""
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array([bytes(1 << 20)]))
    table = pa.table({"image": dictionary})
    shard = written(tmp_path / "a.parquet", table, dictionary_pagesize_limit=2 << 20, compression="zstd")
    columns, says = (
        READER.settle(shard, ColumnSelection()),
        "row group 0 unpacks to 104,857,600,000 bytes, from a file of",
    )
    with pytest.raises(ShardError, match=rf"a\.parquet: .*{says}"):
        list(batches(shard, columns, 16))
    lost = faults_of(batches(shard, replace(columns, salvage=True), 10_000))
    assert len(lost) == 100_000
    assert says in lost[99_999].detail


def test_small_rows_are_read_as_before(tmp_path: Path) -> None:
    shard = written(tmp_path / "a.parquet", image_table(50), row_group_size=20)
    columns = READER.settle(shard, ColumnSelection())
    assert [len(part) for part in batches(shard, columns, 16)] == [16, 16, 16, 2]
    assert len(rows_of(batches(shard, columns, 16, room=200))) == 50


def test_dictionaries_of_a_row_group_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = written(tmp_path / "a.parquet", image_table(60), row_group_size=20)
    columns, read = READER.settle(shard, ColumnSelection(salvage=True)), list[int]()
    longest = RowSizes._longest

    def noted(sizes: RowSizes, group: int, columns: Sequence[str] | None) -> int:
        read.append(group)
        return longest(sizes, group, columns)

    monkeypatch.setattr(RowSizes, "_longest", noted)
    assert len(rows_of(batches(shard, columns, 16, room=200))) == 60
    assert read == [0, 1, 2]


@pytest.mark.parametrize("packing", ["none", "zstd"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_a_bound_is_no_less_than_the_longest_row(tmp_path: Path, packing: str, dictionary: bool) -> None:
    """By the header of the dictionary, which has all values here; other pages say nothing of those after them."""
    rng = np.random.default_rng(0)
    names = ["a" * int(size) + str(at) for at, size in enumerate(rng.integers(1, 900, 40))]
    table = pa.table({"x": names, "y": pa.array([b"abc"] * 40, pa.binary(3)), "z": range(40)})
    shard = written(tmp_path / "a.parquet", table, compression=packing, use_dictionary=dictionary)
    with opened(shard) as file:
        exact = file.row_sizes.longest(0, None)
        bound = file.row_sizes.longest(0, None, enough=1 << 20)
        assert exact <= bound <= sum(map(len, names)) + 3 + 8 * 40  # bytes, their lengths, repetition levels
        assert (bound > exact) == dictionary  # so nothing was unpacked
        assert file.row_sizes.longest(0, None, enough=bound - 1) == exact
        assert file.row_sizes.longest(0, ["y", "z"], enough=1) == 3


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
@pytest.mark.parametrize("size", [1, 1_000])
def test_values_that_are_written_as_differences_are_read(tmp_path: Path, encoding: str, size: int) -> None:
    """In lists as well. Arrow makes no dictionaries of them."""
    names = [f"{at:05d}" * (at % 3) for at in range(3_000)]
    table = pa.table(
        {"image": pa.array([name.encode() * size for name in names]), "tags": [[name, "x"] for name in names]}
    )
    encodings = {"image": encoding, "tags.list.element": encoding}
    shard = written(tmp_path / "a.parquet", table, use_dictionary=False, column_encoding=encodings)
    columns = READER.settle(shard, ColumnSelection(carry=("tags",)))
    rows = rows_of(batches(shard, columns, 256))
    assert [row[2:] for row in rows] == list(zip(table["image"].to_pylist(), table["tags"].to_pylist(), strict=True))
    with opened(shard) as file:
        assert file.row_sizes.longest(0, ["image"]) >= 10 * size


def test_values_that_repeat_the_one_before_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    """100 rows of 256 KiB in a file of little more than one of them, whose first page has short ones."""
    long, room = np.random.default_rng(0).bytes(1 << 18), 2 << 20
    table = pa.table({"image": [b"x"] * 100 + [long + at.to_bytes(2, "big") for at in range(100)]})
    options = {"column_encoding": {"image": "DELTA_BYTE_ARRAY"}, "write_batch_size": 100, "data_page_size": 4}
    shard = written(tmp_path / "a.parquet", table, use_dictionary=False, **options)
    assert shard.size < 1 << 20
    parts = batches(shard, READER.settle(shard, ColumnSelection()), 200, room=room)
    assert sum(map(len, parts)) == 200
    assert max(part.payload.nbytes for part in parts) < 2 * room


def test_lists_have_no_bound(tmp_path: Path) -> None:
    """A row may have any number of the dictionary's values."""
    with opened(written(tmp_path / "a.parquet", pa.table({"x": [["abc"] * 1_000] * 3}))) as file:
        assert file.row_sizes.longest(0, None, enough=1 << 20) == 3_000


def test_small_pages_are_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = written(tmp_path / "a.parquet", image_table(50), row_group_size=20)
    columns = READER.settle(shard, ColumnSelection())
    monkeypatch.delattr(RowSizes, "_longest")
    assert [len(part) for part in batches(shard, columns, 16)] == [16, 16, 16, 2]
