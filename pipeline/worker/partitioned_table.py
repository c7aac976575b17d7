"""A unit's table as one file for each value of a column, in the directories that Hive would make."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from lake.core.choices import quoted
from lake.core.errors import ShardError
from lake.core.records import OutputFile
from lake.formats.common.hive import partition_name, texts_of
from lake.formats.common.parquet_table import TableWriter
from lake.formats.writer import UnitWriter
from pipeline.worker.sorted_rows import SortedRows

MOST_PARTITIONS = 1000  # of a unit: each is a file
_WRITTEN = 1 << 20  # bytes that are handed to a table at a time, after which it looks whether a row group is full


class PartitionedTable(UnitWriter):
    """Writes one file for each value of a column, without the column. Rows keep the order of the source.

    Rows wait until all are there, so only one file is open at a time, however many there are. The bytes of a file
    depend on its rows alone.

    Args:
      unit: id of the unit, for errors.
      schema: of the rows.
      column: name of the column in it.
      open: opens the file of a partition, given its name and the schema of its rows.
    """

    def __init__(
        self, unit: str, schema: pa.Schema, column: str, open: Callable[[str, pa.Schema], TableWriter]
    ) -> None:
        self._unit, self._column, self._open = unit, column, open
        self._at = schema.get_field_index(column)
        # Of an input whose first shards have no records, no columns are known.
        self._rest = schema if self._at < 0 else schema.remove(self._at)
        self._numbers = dict[str, int]()  # of the partitions, in the order in which they came
        self._rows = SortedRows(self._rest)
        self._table: TableWriter | None = None

    def write(self, rendered: pa.RecordBatch) -> None:
        """Append rows.

        Raises:
          ShardError: the unit has no such column, or too many values of it, or one that is too long.
        """
        if not rendered.num_rows:
            return
        if self._at < 0:
            raise ShardError(self._unit, f"no column {self._column!r} is known (--partition-by); run the job again")
        texts = texts_of(rendered.column(self._at)).dictionary_encode(null_encoding="encode")
        names = [self._name(text) for text in texts.dictionary.to_pylist()]
        numbers = np.array([self._numbers.setdefault(name, len(self._numbers)) for name in names], np.int64)
        self._rows.add(rendered.remove_column(self._at), numbers[texts.indices.to_numpy()])
        if len(self._numbers) > MOST_PARTITIONS:
            raise ShardError(
                self._unit,
                f"more than {MOST_PARTITIONS:,} values of {self._column!r}, each of which would be a file; name a "
                "column with fewer as --partition-by, or leave it out",
            )

    def publish(self) -> tuple[OutputFile, ...]:
        """Write each partition and make it visible; none if there are no rows."""
        published = []
        for name in sorted(self._numbers):
            self._table = self._open(name, self._rest)
            for rows in _in_steps(self._rows.of(self._numbers[name])):
                self._table.write(rows)
            published.append(self._table.publish())
        self._rows.close()
        return tuple(published)

    def abort(self) -> None:
        """Discard all rows, and the file that is being written."""
        self._rows.close()
        if self._table is not None:
            self._table.abort()

    def _name(self, text: str | None) -> str:
        try:
            return partition_name(self._column, text)
        except ValueError as error:
            problem = f"the value {quoted(text)} of {self._column!r} takes {error}; name another --partition-by"
            raise ShardError(self._unit, problem) from error


def _in_steps(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        step = max(1, batch.num_rows * _WRITTEN // max(1, batch.nbytes))
        yield from (batch.slice(start, step) for start in range(0, batch.num_rows, step))
