"""Read a unit: all records of its shards, the intact ones of a damaged shard, or only those rejected before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Array, Fault, RawBatch, Reason, Records, Stage, Unit
from lake.formats import FORMATS
from lake.formats.common.parquet_file import read_table
from lake.formats.reader import RecordSchema
from lake.inputs.columns import check_there
from lake.inputs.mixed import conformed
from lake.inputs.reference import paired
from lake.inputs.sampled import read_sampled
from lake.storage import store_for
from pipeline.config import JobConfig
from pipeline.output.layout import Layout, rejects_name
from pipeline.worker.verbs.verb import Verb


def read_unit(unit: Unit, config: JobConfig, verb: Verb, dimension: int, attempt: int) -> Iterator[RawBatch]:
    """Yield the batches of a unit, in order.

    Args:
      unit: the unit.
      config: the job.
      verb: gives the size of a batch.
      dimension: length D of the model's latents.
      attempt: 0 for the first attempt, which reads every shard as if it were intact. Only later attempts salvage, so
        that damage which was only on the way from the store costs no record.

    Raises:
      ShardError: the shard is damaged, or does not hold what is expected.
      UnreadableError: the store failed, or the shard is not the one that was planned.
    """
    if config.sampling is not None:
        return read_sampled(unit, config.sampling, dimension, verb.size)
    for shard in (*unit.shards, *unit.clean):
        check_there(shard, FORMATS[unit.format].reader)
    columns = _columns(config, salvage=config.columns.salvage and attempt > 0)
    own = _columns(config, salvage=columns.salvage, format=unit.format)
    read = check_count(FORMATS[unit.format].reader.read(unit, own, verb.size, verb.room), unit)
    read = conformed(read, own, columns)
    if columns.salvage:
        read = salvage(read, unit, columns)
    if merges_rejects(unit, config):
        read = only_rejected(read, read_rejected(unit, config.output))
    return read if config.reference is None else paired(read, unit, config.reference)


def _columns(config: JobConfig, *, salvage: bool, format: str | None = None) -> RecordSchema:
    most = config.columns.max_record_bytes if config.retry is None else config.retry.largest
    columns = config.columns if format is None else config.columns.of(format)
    return replace(columns, salvage=salvage, max_record_bytes=most)


def merges_rejects(unit: Unit, config: JobConfig) -> bool:
    """Whether a run processes only the rejected records of a unit.

    Args:
      unit: the unit.
      config: the job.
    """
    return unit.retry_rejects and config.merges_rejects


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRecords:
    """The rejected records of a unit, by shard.

    Attributes:
      indices: shard -> indices of its rejected records, int64.
      lost: damaged shard -> index of the first record that could not be read; all that follow are to be read again.
    """

    indices: Mapping[str, Array]
    lost: Mapping[str, int]

    def among(self, records: Records) -> Array:
        """Return the positions of the rejected records in a batch, int64 ``[m]``, ascending."""
        shards = [records.shard] * len(records) if isinstance(records.shard, str) else records.shard
        found = np.zeros(len(records), bool)
        for shard in set(shards):
            own = np.array([name == shard for name in shards])
            wanted = np.isin(records.index, self.indices.get(shard, np.empty(0, np.int64)))
            found |= own & (wanted | (records.index >= self.lost.get(shard, np.iinfo(np.int64).max)))
        positions: Array = np.flatnonzero(found)
        return positions


def read_rejected(unit: Unit, output: str) -> RejectedRecords:
    """Read the rejected records of a unit from ``rejects/``.

    Args:
      unit: a finished unit with rejects.
      output: URI of the output.

    Raises:
      OSError: the unit has no file of rejects, or the store failed.
    """
    uri = Layout(output).at(rejects_name(unit.id))
    with store_for(uri).open(uri) as file:
        table = read_table(file, ["shard", "index", "reason"])
    shards, indices, reasons = (np.array(column.to_pylist(), object) for column in table.columns)
    lost = reasons == str(Reason.DAMAGED_SHARD)
    by_shard = {shard: indices[shards == shard].astype(np.int64) for shard in set(shards.tolist())}
    first = {shard: int(index) for shard, index in zip(shards[lost], indices[lost], strict=True)}
    return RejectedRecords(indices=by_shard, lost=first)


def only_rejected(batches: Iterator[RawBatch], rejected: RejectedRecords) -> Iterator[RawBatch]:
    """Reduce batches to the rejected records."""
    return (_RejectedOnly(batch, rejected) for batch in batches)


@dataclass(frozen=True, slots=True)
class _RejectedOnly:
    batch: RawBatch
    rejected: RejectedRecords

    def __len__(self) -> int:
        return len(self.batch)

    def records(self) -> Records:
        records = self.batch.records()
        return records.take(self.rejected.among(records))


def salvage(batches: Iterator[RawBatch], unit: Unit, columns: RecordSchema) -> Iterator[RawBatch]:
    """Yield the batches of a unit up to the damage of its shard, then one faulty record for all that is lost.

    Args:
      batches: the batches of the unit.
      unit: the unit.
      columns: what is read of each record.

    Raises:
      UnreadableError: the store failed. What could not be read is not lost, so the unit fails instead.
    """
    at = unit.start
    try:
        for batch in batches:
            at += len(batch)
            yield batch
    # A subclass of ShardError that says nothing about the content of the shard.
    except UnreadableError:
        raise
    except ShardError as error:
        yield _Lost(error=error, at=at, columns=columns)


def check_count(batches: Iterator[RawBatch], unit: Unit) -> Iterator[RawBatch]:
    """Yield the batches of a unit and compare the number of records with the expected one at the end.

    Args:
      batches: the batches of the unit.
      unit: the unit; without an expected number nothing is compared.

    Raises:
      ShardError: the numbers differ.
    """
    # A unit of several files is a group of images with one record each, so naming the first shard is enough.
    found = 0
    for batch in batches:
        found += len(batch)
        yield batch
    if unit.expected not in (None, found):
        problem = f"{found} records, and {unit.expected} are expected (--expect-records)"
        raise ShardError(unit.shards[0].path, problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost:
    """A batch of one faulty record, which stands for the lost rest of a shard."""

    error: ShardError
    at: int
    columns: RecordSchema

    def __len__(self) -> int:
        return 1

    def records(self) -> Records:
        # The record has no image and no columns; its reason and detail are what the user sees of the loss.
        detail = f"{self.error}; what follows in the shard is lost"
        return Records(
            shard=self.error.shard,
            index=np.array([self.at]),
            key=pa.array([""]),
            payload=pa.nulls(1, pa.binary()),
            carried={field.name: pa.nulls(1, field.type) for field in self.columns.carry},
            faults={0: Fault(stage=Stage.READ, reason=Reason.DAMAGED_SHARD, detail=detail)},
        )
