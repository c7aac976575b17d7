"""What ``--on-damage reject`` keeps of a damaged Parquet file: all but the rows of damaged pages, each in its place."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.records import Reason
from lake.formats.reader import ColumnSelection, RecordSchema
from tests.conftest import png
from tests.lake.formats.parquet.tables import (
    READER,
    STRUCT,
    batches,
    faults_of,
    files,
    harmed,
    pages,
    rows_of,
    shard_of,
)

COUNT, GROUP, PAGE = 40, 16, 4  # rows: of all, of a row group, of a page


def table_of(images: Sequence[bytes | None]) -> pa.Table:
    structs = [None if data is None else {"bytes": data, "path": f"{at}.bin"} for at, data in enumerate(images)]
    columns = {"image": pa.array(structs, STRUCT), "label": pa.array([at % 7 for at in range(len(images))])}
    return pa.table({**columns, "class": pa.array([f"c{at % 3}" for at in range(len(images))])})


def written(path: Path, table: pa.Table, **options: Any) -> bytes:
    chosen = {"row_group_size": GROUP, "write_batch_size": PAGE, "data_page_size": 1, "use_dictionary": False}
    pq.write_table(table, path, write_page_checksum=True, write_statistics=False, **{**chosen, **options})
    return path.read_bytes()


def read(path: Path, columns: RecordSchema, size: int = 7) -> tuple[dict[int, Any], dict[int, Any]]:
    """Rows that are there by their number, and the faults of others."""
    parts = batches(shard_of(path), columns, size)
    rows, lost = {row[0]: row for row in rows_of(parts)}, faults_of(parts)
    assert [*rows] == list(range(COUNT))
    return {at: row for at, row in rows.items() if at not in lost}, lost


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.parquet"


@pytest.mark.parametrize("packing", ["none", "zstd", "snappy"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("column", ["image.bytes", "image.path", "label", "class"])
def test_a_page_costs_its_rows(path: Path, column: str, version: str, packing: str) -> None:
    data = written(path, table_of(files(COUNT)), compression=packing, data_page_version=version)
    columns = READER.settle(shard_of(path), ColumnSelection(salvage=True))
    truth, _ = read(path, columns)
    for group, some in enumerate(pages(path, column)):
        for number, page in enumerate(some):
            harmed(path, data, page)
            there, lost = read(path, columns)
            first = group * GROUP + number * PAGE
            assert [*lost] == list(range(first, first + PAGE))
            assert there == {at: row for at, row in truth.items() if at not in lost}
            assert {fault.reason for fault in lost.values()} == {Reason.CORRUPT_RECORD}
            says = f"the row is lost: the page of column {column!r} at byte {page.start} does not match its checksum"
            assert {fault.detail for fault in lost.values()} == {says}


def test_a_lost_row_has_its_key_where_that_is_there(path: Path) -> None:
    data = written(path, table_of(files(COUNT)))
    columns = READER.settle(shard_of(path), ColumnSelection(salvage=True))
    for column, keys in (("image.bytes", [f"{at}.bin" for at in range(4, 8)]), ("image.path", [""] * 4)):
        harmed(path, data, pages(path, column)[0][1])
        found = [row for row in rows_of(batches(shard_of(path), columns, 5)) if 4 <= row[0] < 8]
        assert [(row[1], row[2]) for row in found] == [(key, None) for key in keys]


def test_what_is_lost_does_not_depend_on_batches_or_slices(path: Path) -> None:
    data = written(path, table_of(files(COUNT)))
    columns = READER.settle(shard_of(path), ColumnSelection(salvage=True))
    harmed(path, data, pages(path, "label")[1][2])
    whole = rows_of(batches(shard_of(path), columns, 1))
    assert len(whole) == COUNT
    for size in (3, 16, 100):
        assert rows_of(batches(shard_of(path), columns, size)) == whole
    cut = [batches(shard_of(path), columns, 5, start, stop) for start, stop in ((0, 16), (16, 32), (32, None))]
    assert [row for parts in cut for row in rows_of(parts)] == whole
    assert [*faults_of(cut[1])] == list(range(24, 28))


def test_several_damaged_pages_cost_their_rows(path: Path) -> None:
    data = written(path, table_of(files(COUNT)))
    columns = READER.settle(shard_of(path), ColumnSelection(salvage=True))
    truth, _ = read(path, columns)
    for column, group, number in (("label", 1, 0), ("image.bytes", 1, 3), ("image.path", 1, 3), ("class", 2, 1)):
        harmed(path, path.read_bytes(), pages(path, column)[group][number])
    there, lost = read(path, columns)
    assert [*lost] == [*range(16, 20), *range(28, 32), *range(36, 40)]
    assert there == {at: row for at, row in truth.items() if at not in lost}
    assert data != path.read_bytes()


def test_a_dictionary_costs_the_rows_that_refer_to_it(path: Path) -> None:
    data = written(path, table_of(files(COUNT)), use_dictionary=["class"])
    columns = READER.settle(shard_of(path), ColumnSelection(carry=["class"], salvage=True))
    truth, _ = read(path, columns)
    dictionary, *others = pages(path, "class")[1]
    assert dictionary.is_dictionary
    harmed(path, data, dictionary)
    there, lost = read(path, columns)
    assert (there, [*lost]) == ({at: row for at, row in truth.items() if not 16 <= at < 32}, list(range(16, 32)))
    assert "the dictionary of column 'class'" in lost[20].detail
    harmed(path, data, others[3])
    assert [*read(path, columns)[1]] == list(range(28, 32))


def images(count: int, seed: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [png(rng.integers(0, 256, (6, 6), np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("packing", ["none", "snappy"])
def test_images_with_checksums_cost_themselves_alone(path: Path, packing: str, dictionary: bool) -> None:
    """Bits all over a page: of images, of their lengths and of what says that none is null."""
    some = images(COUNT)
    data = written(path, table_of(some), compression=packing, use_dictionary=dictionary)
    columns = READER.settle(shard_of(path), ColumnSelection(salvage=True))
    truth, _ = read(path, columns)
    page = pages(path, "image.bytes")[1][0]
    assert page.is_dictionary == dictionary
    reach = GROUP if dictionary else PAGE
    costs = list[int]()
    for at in (*range(12), *random.Random(1).sample(range(12, page.header.packed), 12)):
        harmed(path, data, page, at)
        there, lost = read(path, columns)
        assert there.items() <= truth.items()
        assert lost.keys() <= set(range(16, 16 + reach)), at
        costs.append(len(lost))
    assert costs.count(1) >= 6


def test_a_page_with_a_null_proves_no_image(path: Path) -> None:
    """That an image is null may be the damage, and then those after it stand in wrong rows."""
    some: list[bytes | None] = [*images(COUNT)]
    some[18] = None
    data = written(path, table_of(some), compression="none")
    columns = READER.settle(shard_of(path), ColumnSelection(salvage=True))
    page = pages(path, "image.bytes")[1][0]
    harmed(path, data, page, page.header.packed - 30)
    assert [at for at, fault in read(path, columns)[1].items() if fault.reason == Reason.CORRUPT_RECORD] == [
        *range(16, 20)
    ]


def test_a_wrong_length_shifts_nothing(path: Path) -> None:
    """A length that takes in the whole next image: all after it would be images, each of another row."""
    some = [images(1, seed)[0] for seed in range(COUNT)]
    data = written(path, table_of(some), compression="none")
    columns = READER.settle(shard_of(path), ColumnSelection(salvage=True))
    at, sizes = data.index(some[17]) - 4, [len(some[17]), len(some[18])]
    assert data[at : at + 4] == sizes[0].to_bytes(4, "little")
    path.write_bytes(data[:at] + (sum(sizes) + 4).to_bytes(4, "little") + data[at + 4 :])
    assert [*read(path, columns)[1]] == list(range(16, 20))


def test_a_rewritten_shard_has_all_columns_of_what_is_left(path: Path) -> None:
    table = table_of(files(COUNT))
    data = written(path, table)
    columns = READER.settle(shard_of(path), ColumnSelection(salvage=True, whole=True))
    harmed(path, data, pages(path, "class")[0][3])
    parts = [part for part in batches(shard_of(path), columns, 6) if not part.faults]
    kept = pa.concat_tables([pa.Table.from_batches([part.source]) for part in parts])
    there = np.delete(np.arange(COUNT), range(12, 16))
    for name in ("label", "class"):
        assert kept[name].to_pylist() == table[name].take(there).to_pylist()
    assert kept.schema.names == table.schema.names
    payload = [row[2] for row in rows_of(parts)]
    assert payload == [table["image"][int(at)].as_py()["bytes"] for at in there]


def _vectors(kind: Callable[[pa.DataType], pa.DataType]) -> pa.Table:
    numbers = np.random.default_rng(0).normal(size=(COUNT, 3)).astype(np.float32)
    return pa.table({"latent": pa.array(numbers.tolist(), kind(pa.float32())), "label": pa.array(range(COUNT))})


KINDS: list[Callable[[pa.DataType], pa.DataType]] = [pa.list_, lambda item: pa.list_(item, 3)]


@pytest.mark.parametrize("kind", KINDS, ids=["list", "fixed"])
@pytest.mark.parametrize(("version", "rows"), [("1.0", range(16, 32)), ("2.0", range(18, 20))])
def test_lists_tell_their_rows_in_pages_of_the_second_version(
    path: Path, version: str, rows: range, kind: Callable[[pa.DataType], pa.DataType]
) -> None:
    """A page of the first version may begin within a list, so that the whole row group is lost."""
    data = written(path, _vectors(kind), data_page_version=version)
    columns = READER.settle(shard_of(path), ColumnSelection(numeric=True, length=3, salvage=True))
    truth, _ = read(path, columns)
    harmed(path, data, pages(path, "latent.list.element")[1][1])
    there, lost = read(path, columns)
    assert (there, [*lost]) == ({at: row for at, row in truth.items() if at not in rows}, [*rows])
    harmed(path, data, pages(path, "label")[1][1])
    there, lost = read(path, columns)
    assert (there, [*lost]) == ({at: row for at, row in truth.items() if not 20 <= at < 24}, [*range(20, 24)])


def test_columns_that_may_not_be_null_are_read_around_too(path: Path) -> None:
    table = table_of(files(COUNT))
    fields = [field.with_nullable(False) for field in table.schema]
    data = written(path, table.cast(pa.schema(fields)))
    columns = READER.settle(shard_of(path), ColumnSelection(salvage=True))
    truth, _ = read(path, columns)
    harmed(path, data, pages(path, "label")[2][0])
    there, lost = read(path, columns)
    assert (there, [*lost]) == ({at: row for at, row in truth.items() if not 32 <= at < 36}, [*range(32, 36)])


def test_without_checksums_what_cannot_be_read_costs_its_row_group(path: Path) -> None:
    table = table_of(files(COUNT))
    pq.write_table(table, path, row_group_size=GROUP, compression="zstd", use_dictionary=False)
    data = path.read_bytes()
    columns = READER.settle(shard_of(path), ColumnSelection(salvage=True))
    truth, _ = read(path, columns)
    (page,) = pages(path, "image.bytes")[1]
    assert page.header.crc is None
    harmed(path, data, page)  # the magic number of zstd
    there, lost = read(path, columns)
    assert (there, [*lost]) == ({at: row for at, row in truth.items() if not 16 <= at < 32}, [*range(16, 32)])
    assert lost[16].detail.startswith("the row is lost: rows 16 to 31 (row group 1) cannot be read: ")
