"""Files that are cut, changed or contradict themselves."""

import random
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import InputError, ShardError, UnreadableError
from lake.core.records import Shard, Unit
from lake.formats.parquet.footer import chosen_groups, row_counts
from lake.formats.parquet.reader import ParquetReader, schema_of
from lake.formats.reader import ColumnSelection, RecordSchema
from tests.lake.formats.parquet.tables import (
    READER,
    batches,
    deep_file,
    expected,
    files,
    image_table,
    rows_of,
    shard_of,
    written,
)


def test_shards_without_rows_give_nothing(tmp_path: Path) -> None:
    shard = written(tmp_path / "a.parquet", image_table(5).slice(0, 0))
    assert batches(shard, READER.settle(shard, ColumnSelection())) == []


def outcome(shard: Shard, columns: RecordSchema) -> list[tuple[Any, ...]] | None:
    """What is read, or None where the damage is reported."""
    try:
        return rows_of(batches(shard, columns, 16))
    except ShardError as error:
        assert str(error).startswith(shard.path)
        return None


def test_truncation_anywhere_is_reported(tmp_path: Path) -> None:
    shard = written(tmp_path / "a.parquet", image_table(40), row_group_size=15)
    columns, whole = READER.settle(shard, ColumnSelection()), (tmp_path / "a.parquet").read_bytes()
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
    columns, whole = READER.settle(shard, ColumnSelection()), path.read_bytes()
    bodies = {
        at for data in files(40) if len(data) > 20 for at in range(whole.find(data), whole.find(data) + len(data))
    }
    for at in random.Random(1).sample(sorted(bodies), 150):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        assert outcome(shard, columns) is None, at


def test_a_flipped_bit_never_changes_the_records_read(tmp_path: Path) -> None:
    table, path = image_table(40), tmp_path / "a.parquet"
    shard = written(path, table, compression="zstd")
    columns, whole = READER.settle(shard, ColumnSelection()), path.read_bytes()
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        assert outcome(shard, columns) in (None, expected(table)), at


def test_row_counts_that_disagree_are_reported(tmp_path: Path) -> None:
    """The footer counts the rows of the file first, then of each column chunk, and of the row group last."""
    path = tmp_path / "a.parquet"
    shard = written(path, image_table(40))
    columns, whole = READER.settle(shard, ColumnSelection()), path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    counts = [at for at in range(footer, len(whole) - 8) if whole[at - 1 : at + 1] == b"\x16\x50"]  # an i64, zigzag 40
    assert len(counts) == 5
    for at in (counts[0], counts[-1]):
        path.write_bytes(whole[:at] + b"\x30" + whole[at + 1 :])  # zigzag 24
        assert outcome(shard, columns) is None
        with pytest.raises(ShardError, match="rows in its row groups and"):
            READER.rows(shard)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([b"a"]), pa.array([b"b"])], ["image", "image"])
    with pytest.raises(InputError, match="2 columns 'image'"):
        READER.settle(written(tmp_path / "a.parquet", table), ColumnSelection())


GROUPS = (300, 211)
COLUMNS = RecordSchema(image="image", key=None, carry=pa.schema([]), numeric=False, max_record_bytes=1 << 20)


def varint(number: int) -> bytes:
    """As Thrift's compact protocol has an integer."""
    value, data = number << 1, b""
    while value > 127:
        data, value = data + bytes([value & 127 | 128]), value >> 7
    return data + bytes([value])


def write(path: Path, total: int) -> Shard:
    """A shard of two row groups whose footer says that it has ``total`` rows in all."""
    schema = pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(path, schema) as writer:
        for rows in GROUPS:
            writer.write_table(pa.table({"image": [b"x"] * rows}, schema))
    data = path.read_bytes()
    said, (start,) = varint(sum(GROUPS)), (len(data) - 8 - int.from_bytes(data[-8:-4], "little"),)
    assert data.count(said, start) == 1
    path.write_bytes(data[:start] + data[start:].replace(said, varint(total)))
    return Shard(uri=str(path), path="x.parquet", size=len(data), identity=f"{len(data)}-{path.stat().st_mtime_ns}")


def unit(shard: Shard, start: int = 0, stop: int | None = None) -> Unit:
    return Unit(id="x", format="parquet", shards=(shard,), start=start, stop=stop)


@pytest.mark.parametrize("total", [510, 512, 300, 211])
def test_a_total_that_is_not_that_of_the_row_groups_is_damage(tmp_path: Path, total: int) -> None:
    shard = write(tmp_path / "x.parquet", total)
    assert pq.read_metadata(shard.uri).num_rows == total
    with pytest.raises(ShardError, match=rf"511 rows in its row groups and {total} in all; it is damaged"):
        row_counts(shard, pq.read_metadata(shard.uri))
    with pytest.raises(ShardError, match="in all; it is damaged"):
        [*ParquetReader().read(unit(shard), COLUMNS, 100)]


def test_a_total_that_is_right(tmp_path: Path) -> None:
    shard = write(tmp_path / "x.parquet", 511)
    assert row_counts(shard, pq.read_metadata(shard.uri)) == GROUPS
    assert sum(map(len, ParquetReader().read(unit(shard), COLUMNS, 100))) == 511


@pytest.mark.parametrize(
    ("start", "stop", "groups", "end"),
    [(0, None, [0, 1], 511), (0, 511, [0, 1], 511), (0, 300, [0], 300), (300, 511, [1], 511), (300, None, [1], 511)],
)
def test_the_row_groups_of_a_slice(tmp_path: Path, start: int, stop: int | None, groups: list[int], end: int) -> None:
    shard = write(tmp_path / "x.parquet", 511)
    assert chosen_groups(shard, pq.read_metadata(shard.uri), unit(shard, start, stop)) == (groups, end)


@pytest.mark.parametrize(("start", "stop"), [(1, None), (0, 299), (0, 512), (211, 511)])
def test_a_slice_that_does_not_fit_any_more_is_of_another_shard(tmp_path: Path, start: int, stop: int | None) -> None:
    shard = write(tmp_path / "x.parquet", 511)
    with pytest.raises(UnreadableError, match="it changed since it was planned"):
        chosen_groups(shard, pq.read_metadata(shard.uri), unit(shard, start, stop))


def test_a_schema_that_is_too_deep_is_damage_wherever_the_shard_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(deep_file(20_000))
    shard, columns = (
        shard_of(tmp_path / "a.parquet"),
        READER.settle(written(tmp_path / "b.parquet", image_table(1)), ColumnSelection()),
    )
    for look in (
        lambda: READER.settle(shard, ColumnSelection()),
        lambda: READER.rows(shard),
        lambda: batches(shard, columns),
        lambda: schema_of(shard),
    ):
        with pytest.raises(ShardError, match=r"a\.parquet: its schema has more than 100 levels"):
            look()


def test_a_table_of_many_columns_is_read_in_linear_time(tmp_path: Path) -> None:
    """Each column was searched among all of them: 18 s for 8,000."""
    table = image_table(3)
    numbers = {f"c{number}": [1, 2, 3] for number in range(8_000)}
    wide = pa.table({**numbers, **{name: table[name] for name in table.schema.names}})
    shard, began = written(tmp_path / "a.parquet", wide), time.process_time()
    columns = READER.settle(shard, ColumnSelection(whole=True))
    assert rows_of(batches(shard, columns)) == expected(table)
    assert time.process_time() - began < 8
