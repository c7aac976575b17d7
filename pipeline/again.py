"""A unit whose rejected records are tried once more: only these are decoded, and what succeeds joins the others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import JobConfig
from pipeline.layout import Layout, rejects_name
from pipeline.records import Array, RawBatch, Reason, Records, Unit, pick
from pipeline.storage import store_for
from pipeline.writers.table import TableWriter

_ROWS = 4096  # of a finished table that are held
_INDEX_BITS = 48  # of a record in its shard; the other bits number a unit's shards


def joins(unit: Unit, config: JobConfig) -> bool:
    """Whether only the rejected records of a unit are done: images are laid out one after another, all of them."""
    return unit.again and config.images is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The records of a unit that were rejected, by shard.

    lost: shard -> index from which on all was lost, and must be looked at again.
    """

    indices: Mapping[str, Array]
    lost: Mapping[str, int]

    def among(self, records: Records) -> Array:
        """Positions of those in a batch, int64 ``[m]``, ascending."""
        shards = [records.shard] * len(records) if isinstance(records.shard, str) else records.shard
        found = np.zeros(len(records), bool)
        for shard in set(shards):
            own = np.array([name == shard for name in shards])
            wanted = np.isin(records.index, self.indices.get(shard, np.empty(0, np.int64)))
            found |= own & (wanted | (records.index >= self.lost.get(shard, np.iinfo(np.int64).max)))
        positions: Array = np.flatnonzero(found)
        return positions


def read_rejected(unit: Unit, output: str) -> Rejected:
    """What ``rejects/`` says of a unit.

    Raises:
      OSError: it has no rejects, or the store failed.
    """
    uri = Layout(output).at(rejects_name(unit.id))
    with store_for(uri).open(uri) as file:
        table = pq.read_table(file, columns=["shard", "index", "reason"], page_checksum_verification=True)
    shards, indices, reasons = (np.array(column.to_pylist(), object) for column in table.columns)
    lost = reasons == str(Reason.DAMAGED_SHARD)
    by_shard = {shard: indices[shards == shard].astype(np.int64) for shard in set(shards.tolist())}
    first = {shard: int(index) for shard, index in zip(shards[lost], indices[lost], strict=True)}
    return Rejected(indices=by_shard, lost=first)


def only_rejected(batches: Iterator[RawBatch], rejected: Rejected) -> Iterator[RawBatch]:
    """The batches with those records alone."""
    return (_Chosen(batch, rejected) for batch in batches)


@dataclass(frozen=True, slots=True)
class _Chosen:
    batch: RawBatch
    rejected: Rejected

    def __len__(self) -> int:
        return len(self.batch)

    def records(self) -> Records:
        records = self.batch.records()
        return records.take(self.rejected.among(records))


class Joined:
    """A table that takes the rows of a finished one in where they belong, by the order of the source."""

    def __init__(self, table: TableWriter, schema: pa.Schema, unit: Unit, uri: str) -> None:
        self._table, self._schema, self._file = table, schema, store_for(uri).open(uri)
        old = pq.ParquetFile(self._file, page_checksum_verification=True)
        self.before: int = old.metadata.num_rows
        self._order = {shard.path: number for number, shard in enumerate(unit.shards)}
        self._old: Iterator[pa.RecordBatch] = old.iter_batches(_ROWS)
        self._held: pa.RecordBatch | None = None

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows, and before each the finished ones that precede it."""
        if rows.num_rows:
            last = int(self._places(rows)[-1])
            self._put([*self._until(last), rows])

    def finish(self) -> None:
        """Append what is left of the finished rows."""
        while (batch := self._next()) is not None:
            self._put([batch])
        self._file.close()

    def close(self) -> None:
        """Let go of the finished table."""
        self._file.close()

    def _until(self, last: int) -> Iterator[pa.RecordBatch]:
        """Finished rows up to a place."""
        while (batch := self._next()) is not None:
            count = int(np.searchsorted(self._places(batch), last, side="right"))
            yield batch.slice(0, count)
            if count < batch.num_rows:
                self._held = batch.slice(count)
                return

    def _next(self) -> pa.RecordBatch | None:
        held, self._held = self._held, None
        return held if held is not None else next(self._old, None)

    def _places(self, rows: pa.RecordBatch) -> Array:
        """Where rows stand in the source, as numbers that ascend with it, int64 ``[n]``."""
        names = rows.column("shard").cast(pa.string()).to_pylist()
        shards = np.array([self._order[name] for name in names], np.int64)
        places: Array = (shards << _INDEX_BITS) + rows.column("index").to_numpy()
        return places

    def _put(self, parts: Sequence[pa.RecordBatch]) -> None:
        table = pa.Table.from_batches([part.cast(self._schema) for part in parts]).unify_dictionaries().combine_chunks()
        if table.num_rows:
            (rows,) = table.to_batches()
            order = np.argsort(self._places(rows), kind="stable")
            columns = [pick(column, order) for column in rows.columns]
            self._table.write(pa.RecordBatch.from_arrays(columns, schema=self._schema))
