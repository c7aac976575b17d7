"""Merge the rows of retried records into a unit's finished table.

A retry decodes only the rejected records. Those that succeed are inserted among the rows that the table already has.

A unit may be run once more in its run, or by two workers at once. So the table may have the new rows already, beside
the rejects of before; and another worker may replace both while they are read, first the table.
"""

import errno
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from lake.core.records import (
    Array,
    Unit,
    pick,
)
from lake.formats.common.parquet_file import open_parquet
from lake.formats.common.parquet_table import TableWriter
from lake.storage import store_for

_ROWS = 4096  # of the finished table that are in memory at once
_INDEX_BITS = 48  # of a position: the record's index in its shard; the bits above hold the shard's number


class MergedTable:
    """A table that is rewritten with new rows among its finished ones, in the order of the source. Constant memory.

    Args:
      table: writer of the new version of the table.
      schema: its schema.
      unit: the unit; the order of its shards is the order of the rows.
      uri: URI of the finished table.

    Attributes:
      before: number of rows of the finished table without those that are written anew, of which as many are known as
        were met.
    """

    def __init__(self, table: TableWriter, schema: pa.Schema, unit: Unit, uri: str) -> None:
        self._uri, self._seen = uri, store_for(uri).stat(uri)
        self._table, self._schema, self._file = table, schema, store_for(uri).open(uri)
        old = open_parquet(self._file)
        self.before: int = old.metadata.num_rows
        self._order = {shard.path: number for number, shard in enumerate(unit.shards)}
        self._old: Iterator[pa.RecordBatch] = old.iter_batches(_ROWS, use_threads=False)
        self._rest: pa.RecordBatch | None = None

    def write(self, rows: pa.RecordBatch) -> None:
        """Append new rows, each after the finished rows that precede it.

        Args:
          rows: new rows, in the order of the source.

        Raises:
          OSError: the finished table is damaged.
        """
        if rows.num_rows:
            last = int(self._positions(rows)[-1])
            self._put([*self._until(last), rows])

    def finish(self) -> None:
        """Append the remaining finished rows.

        Raises:
          OSError: ESTALE, if the finished table was replaced: the rejects may be those that its successor left.
        """
        while (batch := self._next()) is not None:
            self._put([batch])
        self._file.close()
        if store_for(self._uri).stat(self._uri) != self._seen:
            raise OSError(errno.ESTALE, "another worker replaced it while its rejects were tried again", self._uri)

    def close(self) -> None:
        """Close the finished table."""
        self._file.close()

    def _until(self, last: int) -> Iterator[pa.RecordBatch]:
        """Yield the finished rows up to a position of the source."""
        while (batch := self._next()) is not None:
            count = int(np.searchsorted(self._positions(batch), last, side="right"))
            yield batch.slice(0, count)
            if count < batch.num_rows:
                self._rest = batch.slice(count)
                return

    def _next(self) -> pa.RecordBatch | None:
        rest, self._rest = self._rest, None
        return rest if rest is not None else next(self._old, None)

    def _positions(self, rows: pa.RecordBatch) -> Array:
        """Return the rows' positions in the source as int64 ``[n]``: numbers that ascend with shard and index."""
        names = rows.column("shard").cast(pa.string()).to_pylist()
        shards = np.array([self._order[name] for name in names], np.int64)
        places: Array = (shards << _INDEX_BITS) + rows.column("index").to_numpy()
        return places

    def _put(self, parts: Sequence[pa.RecordBatch]) -> None:
        # Each batch has dictionaries of its own; one batch of the output needs a common one.
        table = pa.Table.from_batches([part.cast(self._schema) for part in parts]).unify_dictionaries().combine_chunks()
        if table.num_rows:
            (rows,) = table.to_batches()
            order = self._order_of(rows)
            columns = [pick(column, order) for column in rows.columns]
            self._table.write(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def _order_of(self, rows: pa.RecordBatch) -> Array:
        """Which rows to write, in order: of two of one record the later one, which is new."""
        positions = self._positions(rows)
        order = np.argsort(positions, kind="stable")
        kept = np.append(np.diff(positions[order]) > 0, True)
        self.before -= int(np.count_nonzero(~kept))
        found: Array = order[kept]
        return found
