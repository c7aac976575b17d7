"""Rows that are sorted into groups, of which it is not known how many there are until the last row has come."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import pyarrow as pa

from lake.core.records import Array, pick
from lake.core.temporary import temporary_space

_ROOM = 64 << 20  # bytes of rows that wait in memory


@dataclass(slots=True)
class SortedRows:
    """Sorts rows into groups, in memory and beyond 64 MiB in a temporary file. Within a group they keep their order.

    Attributes:
      schema: of the rows.
    """

    schema: pa.Schema
    _batches: list[pa.RecordBatch] = field(default_factory=list)
    _groups: list[Array] = field(default_factory=list)  # of the rows of each batch
    _bytes: int = 0
    _sorted: list[dict[int, pa.RecordBatch]] = field(default_factory=list)
    _spilled: list[dict[int, int]] = field(default_factory=list)  # where in the file rows of each group are
    _file: IO[bytes] | None = None

    def add(self, rows: pa.RecordBatch, groups: Array) -> None:
        """Append rows.

        Args:
          rows: ``n`` rows.
          groups: the group of each, int64 ``[n]``.
        """
        self._batches.append(rows)
        self._groups.append(groups)
        self._bytes += rows.nbytes
        if self._bytes >= _ROOM:
            self._spill()

    def of(self, group: int) -> Iterator[pa.RecordBatch]:
        """The rows of a group. No more rows are added.

        Args:
          group: one that a row has.
        """
        yield from (self._read(places[group]) for places in self._spilled if group in places)
        if self._batches:
            self._sorted = [self._take_all()]
        yield from (parts[group] for parts in self._sorted if group in parts)

    def close(self) -> None:
        """Delete the temporary file."""
        if self._file is not None:
            self._file.close()

    def _take_all(self) -> dict[int, pa.RecordBatch]:
        """The rows that wait in memory, by group."""
        # Each batch has dictionaries of its own.
        table = pa.Table.from_batches(self._batches, self.schema).unify_dictionaries().combine_chunks()
        groups = np.concatenate(self._groups)
        self._batches, self._groups, self._bytes = [], [], 0
        if not table.num_rows:
            return {}
        order = np.argsort(groups, kind="stable")
        (rows,) = table.to_batches()
        rows = pa.RecordBatch.from_arrays([pick(column, order) for column in rows.columns], schema=self.schema)
        found, starts = np.unique(groups[order], return_index=True)
        stops = [*starts[1:].tolist(), rows.num_rows]
        return {
            group: rows.slice(start, stop - start)
            for group, start, stop in zip(found.tolist(), starts.tolist(), stops, strict=True)
        }

    def _spill(self) -> None:
        with temporary_space():
            if self._file is None:
                self._file = TemporaryFile()  # noqa: SIM115
            self._spilled.append({group: _written(self._file, rows) for group, rows in self._take_all().items()})

    def _read(self, start: int) -> pa.RecordBatch:
        assert self._file is not None
        self._file.seek(start)
        return pa.ipc.open_stream(self._file).read_next_batch()


def _written(file: IO[bytes], rows: pa.RecordBatch) -> int:
    """Write rows at the end of a file, and say where they begin."""
    start = file.seek(0, 2)
    with pa.ipc.new_stream(file, rows.schema) as stream:
        stream.write_batch(rows)
    return start
