"""What a unit reads: its number of records, and what stands for the rest of a damaged shard."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Reason, Records, Reject, Stage
from pipeline.output.units.tables import reject_rows
from pipeline.worker.unit_input import check_count, merges_rejects, only_rejected, read_rejected, salvage
from tests.pipeline.values import COLUMNS, make_config, make_unit


@dataclass
class Batch:
    """Records of one shard."""

    index: Sequence[int]
    shard: str | Sequence[str] = "a.tfrecord"

    def __len__(self) -> int:
        return len(self.index)

    def records(self) -> Records:
        return Records(
            shard=self.shard,
            index=np.array(self.index),
            key=pa.array([f"k{i}" for i in self.index]),
            payload=pa.array([b"%d" % i for i in self.index]),
            carried={"label": pa.array(self.index)},
        )


def batches(*sizes: int, then: Exception | None = None) -> Iterator[Batch]:
    at = 0
    for size in sizes:
        yield Batch(range(at, at + size))
        at += size
    if then is not None:
        raise then


@pytest.mark.parametrize("expected", [None, 5])
def test_as_many_records_as_are_expected(expected: int | None) -> None:
    unit = make_unit("a", expected=expected)
    assert [len(batch) for batch in check_count(batches(3, 2), unit)] == [3, 2]


@pytest.mark.parametrize("expected", [0, 4, 6, 99])
def test_more_or_fewer_records_than_expected_fail_the_unit(expected: int) -> None:
    read = check_count(batches(3, 2), make_unit("a", expected=expected))
    assert [len(next(read)) for _ in range(2)] == [3, 2], "what is intact comes first"
    with pytest.raises(ShardError, match=rf"a\.tfrecord: 5 records, and {expected} are expected"):
        next(read)


def test_none_where_none_are_expected() -> None:
    assert [*check_count(batches(), make_unit("a", expected=0))] == []
    with pytest.raises(ShardError, match="0 records, and 1 are expected"):
        [*check_count(batches(), make_unit("a", expected=1))]


def test_one_record_stands_for_what_is_lost() -> None:
    error = ShardError("a.tfrecord", "checksum of a length is wrong", 77)
    read = [*salvage(batches(3, 2, then=error), make_unit("a", start=100), COLUMNS)]
    assert [len(batch) for batch in read] == [3, 2, 1]
    records = read[-1].records()
    assert (records.shard, records.index.tolist(), records.key.to_pylist()) == ("a.tfrecord", [105], [""])
    assert records.payload.to_pylist() == [None]
    assert records.carried["label"] == pa.nulls(1, pa.int64())
    (fault,) = records.faults.values()
    assert (fault.stage, fault.reason) == (Stage.READ, Reason.DAMAGED_SHARD)
    assert fault.detail == "a.tfrecord: checksum of a length is wrong at byte 77; what follows in the shard is lost"


def test_an_intact_shard_is_as_it_is() -> None:
    assert [len(batch) for batch in salvage(batches(3, 2), make_unit("a"), COLUMNS)] == [3, 2]


def test_what_could_not_be_read_is_not_lost() -> None:
    read = salvage(batches(3, then=UnreadableError("a", "the store failed")), make_unit("a"), COLUMNS)
    assert len(next(read)) == 3
    with pytest.raises(UnreadableError):
        next(read)


def test_records_that_are_missing_are_lost_too() -> None:
    """A shard that was cut on an edge between records looks intact, but for their number."""
    read = [*salvage(check_count(batches(3), make_unit("a", expected=5)), make_unit("a"), COLUMNS)]
    assert [len(batch) for batch in read] == [3, 1]
    assert read[-1].records().faults[0].reason is Reason.DAMAGED_SHARD


def test_a_damaged_shard_is_not_asked_for_its_number() -> None:
    """What is lost is said once: by the damage."""
    damaged = check_count(batches(3, then=ShardError("a", "damaged")), make_unit("a", expected=5))
    read = [*salvage(damaged, make_unit("a"), COLUMNS)]
    assert [len(batch) for batch in read] == [3, 1]
    assert "damaged" in read[-1].records().faults[0].detail


def write_rejects(output: Path, unit: str, *rows: tuple[str, int, Reason]) -> None:
    rejects = [
        Reject(shard=shard, index=index, key="", stage=Stage.READ, reason=reason, detail="", data=None)
        for shard, index, reason in rows
    ]
    path = output / f"rejects/{unit}.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_batches([reject_rows(rejects, 0)]), path, write_page_checksum=True)


def test_only_what_was_rejected_is_read_again(tmp_path: Path) -> None:
    write_rejects(
        tmp_path,
        "u",
        ("a", 1, Reason.WRONG_SIZE),
        ("b", 3, Reason.CORRUPT_IMAGE),
        ("a", 6, Reason.DAMAGED_SHARD),
    )
    rejected = read_rejected(make_unit("u"), str(tmp_path))
    assert rejected.lost == {"a": 6}
    several = Batch([0, 1, 3, 3, 5, 6, 9, 9], ["a", "a", "a", "b", "a", "a", "a", "b"])
    chosen = [
        batch.records()
        for batch in only_rejected(iter([Batch(range(8), "a"), Batch(range(8), "b"), several]), rejected)
    ]
    assert [records.index.tolist() for records in chosen] == [[1, 6, 7], [3], [1, 3, 6, 9]]
    assert [len(batch) for batch in only_rejected(batches(8), rejected)] == [8]
    assert chosen[0].key.to_pylist() == ["k1", "k6", "k7"]


def test_where_images_are_written_the_whole_unit_is_done(tmp_path: Path) -> None:
    config, again = make_config(tmp_path), make_unit("a", retry_rejects=True)
    images: Any = object()
    assert merges_rejects(again, config)
    assert not merges_rejects(make_unit("a"), config)
    assert not merges_rejects(again, replace(config, images=images))
