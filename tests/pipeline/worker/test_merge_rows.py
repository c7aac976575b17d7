"""A retry's rows join the finished ones where they belong, by the order of the source."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.retry import TRANSIENT, backoff_for
from pipeline.output.units.latent_columns import LatentColumns
from pipeline.output.units.tables import latent_schema
from pipeline.worker import merge_rows
from pipeline.worker.merge_rows import MergedTable
from tests.pipeline.values import make_unit

SCHEMA = latent_schema(LatentColumns(dimension=2), False, pa.schema([("label", pa.int64())]))
UNIT = make_unit("part-0", "b.png", "a.png", "c.png")  # not in the order of their names: the unit's order counts
Row = tuple[str, int]


class Kept:
    """A table that keeps its batches."""

    def __init__(self) -> None:
        self.batches: list[pa.RecordBatch] = []

    def write(self, batch: pa.RecordBatch) -> None:
        self.batches.append(batch)

    @property
    def table(self) -> pa.Table:
        return pa.Table.from_batches(self.batches, SCHEMA)

    @property
    def rows(self) -> list[Row]:
        columns = (self.table.column(name).to_pylist() for name in ("shard", "index"))
        return [*zip(*columns, strict=True)]


def batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows whose values are told by who they are."""
    values: list[dict[str, Any]] = [
        {
            "key": f"{shard}-{index}",
            "shard": shard,
            "index": index,
            "latent": [index % 97, -(index % 89)],
            "label": index,
        }
        for shard, index in rows
    ]
    return pa.RecordBatch.from_pylist(values, schema=SCHEMA)


def merge(path: Path, finished: Sequence[Row], *more: Sequence[Row]) -> tuple[MergedTable, Kept]:
    uri, kept = str(path / "old.parquet"), Kept()
    pq.write_table(pa.Table.from_batches([batch(finished)]), uri, write_page_checksum=True)
    merged = MergedTable(kept, SCHEMA, UNIT, uri)  # type: ignore[arg-type]
    for rows in more:
        merged.write(batch(rows))
    merged.finish()
    return merged, kept


def test_rows_of_one_shard(tmp_path: Path) -> None:
    merged, kept = merge(tmp_path, [("b.png", i) for i in (0, 3, 4, 9)], [("b.png", 1), ("b.png", 5)], [("b.png", 12)])
    assert kept.rows == [("b.png", i) for i in (0, 1, 3, 4, 5, 9, 12)]
    assert merged.before == 4


def test_rows_of_several_shards_stand_in_the_order_of_the_unit(tmp_path: Path) -> None:
    finished = [("b.png", 0), ("b.png", 7), ("a.png", 1), ("c.png", 0), ("c.png", 2)]
    _, kept = merge(tmp_path, finished, [("b.png", 8), ("a.png", 0)], [("a.png", 2), ("c.png", 1)])
    assert kept.rows == [
        *(("b.png", 0), ("b.png", 7), ("b.png", 8)),
        *(("a.png", 0), ("a.png", 1), ("a.png", 2)),
        *(("c.png", 0), ("c.png", 1), ("c.png", 2)),
    ]


def test_rows_that_an_earlier_attempt_has_inserted_are_not_there_twice(tmp_path: Path) -> None:
    finished = [("b.png", 0), ("b.png", 3), ("a.png", 1), ("a.png", 2), ("c.png", 9)]
    merged, kept = merge(tmp_path, finished, [("b.png", 3)], [("a.png", 1), ("c.png", 2), ("c.png", 9)])
    assert kept.rows == [*finished[:4], ("c.png", 2), ("c.png", 9)]
    assert merged.before == 2, "three are written anew"


def test_a_table_that_is_replaced_while_it_is_read_is_no_ground(tmp_path: Path) -> None:
    """The rejects that were read meanwhile may be those that the new one leaves."""
    uri = tmp_path / "old.parquet"
    pq.write_table(pa.Table.from_batches([batch([("b.png", 0)])]), uri)
    merged = MergedTable(Kept(), SCHEMA, UNIT, str(uri))  # type: ignore[arg-type]
    pq.write_table(pa.Table.from_batches([batch([("b.png", 0), ("b.png", 1)])]), tmp_path / "new")
    (tmp_path / "new").replace(uri)
    with pytest.raises(OSError, match="another worker replaced it") as found:
        merged.finish()
    assert backoff_for(found.value) == TRANSIENT


def test_values_stay_with_their_rows(tmp_path: Path) -> None:
    finished, more = [("b.png", 1), ("a.png", 5), ("c.png", 4)], [("b.png", 3), ("a.png", 2), ("c.png", 9)]
    _, kept = merge(tmp_path, finished, more)
    assert kept.table.schema == SCHEMA
    assert kept.table.to_pylist() == batch(kept.rows).to_pylist()
    assert len(kept.rows) == 6


@pytest.mark.parametrize(
    ("finished", "more"),
    [
        ([], [[("b.png", 0), ("c.png", 0)]]),
        ([("b.png", 0), ("c.png", 0)], []),
        ([("b.png", 0)], [[]]),
        ([], []),
        ([("c.png", 9)], [[("b.png", 0)], [], [("a.png", 3)]]),
        ([("b.png", 0)], [[("a.png", 3)], [("c.png", 3)]]),
    ],
)
def test_where_there_is_nothing_of_one_side(
    tmp_path: Path, finished: Sequence[Row], more: Sequence[Sequence[Row]]
) -> None:
    merged, kept = merge(tmp_path, finished, *more)
    order = {shard.path: number for number, shard in enumerate(UNIT.shards)}
    rows = [*finished, *(row for part in more for row in part)]
    assert kept.rows == sorted(rows, key=lambda row: (order[row[0]], row[1]))
    assert merged.before == len(finished)
    assert all(batch.num_rows for batch in kept.batches), "a table takes no empty batch"


def test_any_share_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_rows, "_ROWS", 7)
    dice = Random(3)
    everything = [(shard.path, index) for shard in UNIT.shards for index in range(40)]
    for share in (0.1, 0.5, 0.9):
        late = {row for row in everything if dice.random() < share}
        more = [row for row in everything if row in late]
        parts = [more[at : at + 5] for at in range(0, len(more), 5)]
        _, kept = merge(tmp_path, [row for row in everything if row not in late], *parts)
        assert kept.rows == everything


def test_rows_come_in_few_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the finished table only so many rows are held; none is written before its turn."""
    monkeypatch.setattr(merge_rows, "_ROWS", 10)
    finished = [("b.png", index) for index in range(100) if index != 14]
    _, kept = merge(tmp_path, finished, [("b.png", 200)])
    assert kept.rows == [*finished, ("b.png", 200)]
    uri, early = str(tmp_path / "old.parquet"), Kept()
    merged = MergedTable(early, SCHEMA, UNIT, uri)  # type: ignore[arg-type]
    merged.write(batch([("b.png", 14)]))
    assert early.rows == [*finished[:14], ("b.png", 14)]
    merged.close()
    merged.close()


def test_large_indices_do_not_reach_into_the_next_shard(tmp_path: Path) -> None:
    last = (1 << 48) - 1
    _, kept = merge(tmp_path, [("b.png", last), ("a.png", last)], [("b.png", last - 1), ("a.png", 0), ("c.png", 0)])
    assert kept.rows == [("b.png", last - 1), ("b.png", last), ("a.png", 0), ("a.png", last), ("c.png", 0)]


def test_a_finished_table_that_is_damaged_is_found(tmp_path: Path) -> None:
    merge(tmp_path, [("b.png", index) for index in range(1000)])
    path = tmp_path / "old.parquet"
    data = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(0)
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(data)
    merged = MergedTable(Kept(), SCHEMA, UNIT, str(path))  # type: ignore[arg-type]
    with pytest.raises(OSError, match=r"(?i)checksum|crc"):
        merged.finish()
    merged.close()


def test_the_finished_table_is_let_go_of(tmp_path: Path) -> None:
    merged, _ = merge(tmp_path, [("b.png", 0)])
    assert merged._file.closed
