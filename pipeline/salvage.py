"""What is kept of a damaged shard, and whether a shard holds what its source says."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.errors import ShardError, UnreadableError
from pipeline.readers import Columns
from pipeline.records import Fault, RawBatch, Reason, Records, Stage, Unit


def salvaged(batches: Iterator[RawBatch], unit: Unit, columns: Columns) -> Iterator[RawBatch]:
    """The batches of a unit; where its shard is damaged, at last one record that stands for all that is lost.

    Raises:
      UnreadableError: as it comes: what could not be read is not lost.
    """
    at = unit.start
    try:
        for batch in batches:
            at += len(batch)
            yield batch
    except UnreadableError:
        raise
    except ShardError as error:
        yield _Lost(error=error, at=at, columns=columns)


def counted(batches: Iterator[RawBatch], unit: Unit) -> Iterator[RawBatch]:
    """The batches of a unit, whose shard must hold as many records as are expected; a file of a group is always one.

    Raises:
      ShardError: they do not.
    """
    found = 0
    for batch in batches:
        found += len(batch)
        yield batch
    if unit.expected not in (None, found):
        problem = f"{found} records, and {unit.expected} are expected (--expect-records)"
        raise ShardError(unit.shards[0].path, problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost:
    """One record for the rest of a shard."""

    error: ShardError
    at: int
    columns: Columns

    def __len__(self) -> int:
        return 1

    def records(self) -> Records:
        detail = f"{self.error}; what follows in the shard is lost"
        return Records(
            shard=self.error.shard,
            index=np.array([self.at]),
            key=pa.array([""]),
            payload=pa.nulls(1, pa.binary()),
            carried={field.name: pa.nulls(1, field.type) for field in self.columns.carry},
            faults={0: Fault(stage=Stage.READ, reason=Reason.DAMAGED_SHARD, detail=detail)},
        )
